"""What a caller can catch: the rejection, and the ways in which a retried append gives up."""

from __future__ import annotations

from typing import Any

from .events import Reason


class StaleSessionError(ValueError):
    """Raised when a store rejects an append because it moved on since the session was loaded.

    Nothing was stored. For stores that have no such error of their own; any other store's is recognised by
    `is_stale_session_error`.
    """


class _GaveUp(Exception):
    """What every error of giving up tells."""

    in_doubt = False

    def __init__(
        self, message: str, *, attempts: int, elapsed: float, last_error: BaseException, reason: Reason = "aborted"
    ) -> None:
        super().__init__(message)
        self.attempts = attempts
        self.elapsed = elapsed
        self.last_error = last_error
        self.reason: Reason = reason

    def __reduce__(self) -> tuple[Any, ...]:
        facts = {
            "attempts": self.attempts,
            "elapsed": self.elapsed,
            "last_error": _that_can_be_pickled(self.last_error),
            "reason": self.reason,
        }
        return _rebuild, (type(self), self.args, facts)


class StaleSessionRetryError(_GaveUp, StaleSessionError):
    """Raised when a retried append gives up. No attempt was acknowledged or left in doubt: the event is not stored.

    It never counts as stale itself, so an outer decorated call does not retry what an inner one gave up on.

    Attributes:
        attempts: calls of the append that were made, the first included.
        elapsed: seconds from the call's entry until it gave up.
        last_error: the error of the last failed attempt.
        reason: why, as `RetryEvent.reason` has it.
        in_doubt: False.
    """


class AttemptsExhaustedError(StaleSessionRetryError):
    """Raised when `max_attempts` attempts were made, or `stop` said so, and the last one was stale."""


class DeadlineExceededError(StaleSessionRetryError):
    """Raised when the deadline leaves no time for another attempt, or refresh and conflict hooks outlasted it."""


class SessionGoneError(StaleSessionRetryError):
    """Raised when the refresh hook returned None: the session no longer exists in the store."""


class SessionRefreshError(StaleSessionRetryError):
    """Raised from the refresh hook's error when the session could not be reloaded."""


class InDoubtError(_GaveUp):
    """Raised when a retried append gives up and the event may be stored: an attempt ended without an answer, or
    `find_stored` could not look after the last one.

    It is not a `StaleSessionError`, so that no handler of "not stored" catches it: look into the store before you
    send the event again. Its attributes are those of `StaleSessionRetryError`, and `in_doubt` is True.
    """

    in_doubt = True


def _rebuild(kind: type[Any], args: tuple[Any, ...], facts: dict[str, Any]) -> BaseException:
    error: BaseException = kind(*args, **facts)
    error.__cause__ = facts["last_error"]
    return error


def _that_can_be_pickled(error: BaseException) -> BaseException:
    import pickle
    import traceback

    try:
        pickle.loads(pickle.dumps(error))  # noqa: S301  # our own bytes
    except Exception:
        # An exception class with an __init__ of its own often cannot be, and would take the whole answer with it.
        return RuntimeError("".join(traceback.format_exception_only(error)).strip())
    return error
