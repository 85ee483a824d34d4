"""What an observer is told."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Kind = Literal["retrying", "recovered", "gave_up"]
Reason = Literal["max_attempts", "stop", "deadline", "session_gone", "refresh_failed", "aborted"]


@dataclass(frozen=True)
class RetryEvent:
    """One thing that happened to one append. Carries names, numbers and the error: never a session, an event or an
    argument.

    Attributes:
        kind: "retrying" when a retry is scheduled, "recovered" when an append that had failed is stored or settled,
            "gave_up" when it ends without. An append that succeeds at once, is cancelled, or raises an error that is
            not to be retried reports nothing at that point.
        name: the append's name.
        attempt: attempts made so far, the first included.
        wait: seconds until the next attempt, only for "retrying".
        elapsed: seconds since the call's entry.
        error: the last failed attempt's error, or what a hook raised.
        reason: why, only for "gave_up": "max_attempts", "stop", "deadline", "session_gone", "refresh_failed", or
            "aborted" (a conflict hook raised, or a second attempt would not have stored the event).
        in_doubt: whether the event may be stored by an attempt that was not answered.
        queued: seconds spent waiting in the queue so far.
    """

    kind: Kind
    name: str
    attempt: int
    wait: float | None
    elapsed: float
    error: BaseException | None
    reason: Reason | None = None
    in_doubt: bool = False
    queued: float = 0.0

    @property
    def error_type(self) -> str | None:
        """The error's class, qualified by its module. Logs and metrics tell no more of it, because its text is the
        store's and may quote what was to be stored.
        """
        if self.error is None:
            return None
        kind = type(self.error)
        return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
