"""What a caller can catch: the rejection, and the four ways a retried append ends without being stored."""

from __future__ import annotations

import functools
import sys
from typing import Any

if sys.version_info < (3, 11):
    from exceptiongroup import BaseExceptionGroup


class StaleSessionError(ValueError):
    """Raised when a store rejects an append because it moved on since the session was loaded.

    Nothing was stored. For stores that have no such error of their own; any other store's is recognised by
    `is_stale_session_error`.
    """


class StaleSessionRetryError(StaleSessionError):
    """Raised when a decorated append gives up. The event was not stored by any attempt that was answered.

    It never counts as stale itself, so an outer decorated call does not retry what an inner one gave up on.

    Attributes:
        attempts: calls of the append that were made, the first included.
        elapsed: seconds from the call's entry until it gave up.
        last_error: the error of the last rejected attempt.
    """

    def __init__(self, message: str, *, attempts: int, elapsed: float, last_error: BaseException) -> None:
        super().__init__(message)
        self.attempts = attempts
        self.elapsed = elapsed
        self.last_error = last_error

    def __reduce__(self) -> tuple[Any, ...]:
        rebuild = functools.partial(
            type(self), attempts=self.attempts, elapsed=self.elapsed, last_error=self.last_error
        )
        return rebuild, self.args


class AttemptsExhaustedError(StaleSessionRetryError):
    """Raised when `max_attempts` attempts were made, or `stop` said so, and the last one was stale."""


class DeadlineExceededError(StaleSessionRetryError):
    """Raised when the next wait would end past the deadline, or gate, refresh and conflict hook did not finish
    before it.
    """


class SessionGoneError(StaleSessionRetryError):
    """Raised when the refresh hook returned None: the session no longer exists in the store."""


class SessionRefreshError(StaleSessionRetryError):
    """Raised from the refresh hook's error when the session could not be reloaded."""


def chain(raised: BaseException, stale: BaseException) -> None:
    """Make `stale` reachable from `raised`, at the end of whatever chain it already carries."""
    known = {id(error) for error in _chain_of(stale)}
    for tail in _chain_of(raised):
        if id(tail) in known:
            return
    tail.__cause__ = stale


def _chain_of(error: BaseException) -> list[BaseException]:
    links: list[BaseException] = []
    link: BaseException | None = error
    while link is not None and all(link is not seen for seen in links):
        links.append(link)
        link = link.__cause__ or (None if link.__suppress_context__ else link.__context__)
    return links


def apart_from(error: BaseException, *others: BaseException | None) -> BaseException:
    """`error`, which nobody else will see, cut off from `others` so that a log of it does not quote them."""
    for link in _chain_of(error):
        for other in others:
            if other is not None and link.__cause__ is other:
                link.__cause__ = None
            if link.__context__ is other:
                link.__context__ = None
    return error


_GAVE_UP_AT = "__stale_retry_gave_up_at__"


def mark_given_up(error: BaseException, at: float) -> None:
    """Remember on a store's own error that a decorated call gave up with it, at that time on the monotonic clock."""
    BaseException.__setattr__(error, _GAVE_UP_AT, at)  # an exception class may be frozen


def gave_up_since(began: float, error: BaseException | None) -> bool:
    """Whether a decorated call inside the attempt that began then gave up with this error, or with one in this group.

    A time and not a flag, because a store may raise one and the same error object again.
    """
    if isinstance(error, BaseExceptionGroup):
        return any(gave_up_since(began, inner) for inner in error.exceptions)
    if isinstance(error, StaleSessionRetryError):
        return True
    at: float | None = getattr(error, _GAVE_UP_AT, None)
    return at is not None and at >= began
