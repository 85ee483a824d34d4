"""How a call gives up: what it says, and with which error; and how an outer call knows that an inner one did."""

from __future__ import annotations

import math
import sys
import time
from typing import NoReturn, cast

from ._chain import note
from ._failures import Failures
from ._loops import current_task
from ._policy import Policy
from .errors import (
    AttemptsExhaustedError,
    DeadlineExceededError,
    InDoubtError,
    SessionGoneError,
    SessionRefreshError,
    StaleSessionRetryError,
)
from .events import Reason

if sys.version_info < (3, 11):
    from exceptiongroup import BaseExceptionGroup

_WHY: dict[Reason, tuple[type[StaleSessionRetryError], str]] = {
    "max_attempts": (AttemptsExhaustedError, "max_attempts were made"),
    "stop": (AttemptsExhaustedError, "the stop strategy ended it"),
    "deadline": (DeadlineExceededError, "the deadline leaves no time for another attempt"),
    "session_gone": (
        SessionGoneError,
        "the refresh hook returned None, so the session is gone (if the hook updates it in place, return it)",
    ),
    "refresh_failed": (SessionRefreshError, "the refresh hook or find_stored could not reload the session"),
}

_GAVE_UP = "__stale_retry_gave_up__"
"""Where a store's own error remembers when a decorated call gave up with it, in which task, and whether the store has
raised this very object before: a shared object that another task's call gave up with says nothing of a call here."""


def give_up(
    policy: Policy,
    reason: Reason,
    cause: Exception,
    failures: Failures,
    *,
    name: str,
    attempts: int,
    elapsed: float,
    is_shared: bool,
) -> NoReturn:
    """Raise the error of the reason; `InDoubtError` where the event may be stored; the store's own with `reraise`."""
    kind, why = _WHY[reason]
    made = f"{attempts} attempt" if attempts == 1 else f"{attempts} attempts"
    facts = f"{name} gave up after {made} in {elapsed:.2f} s: {why}"
    last = failures.error
    try:
        # A rejection would say that the event is not stored, which a last look that failed does not know.
        would_deny = failures.in_doubt and failures.doubt is None and cause is last
        if policy.reraise and last is not None and not would_deny:
            _reraise(cause if failures.doubt is None else failures.doubt, facts, is_shared)
        ended: type[StaleSessionRetryError] | type[InDoubtError] = InDoubtError if failures.in_doubt else kind
        raise ended(
            f"{facts}. {_advice(policy, reason, failures.in_doubt)}",
            attempts=attempts,
            elapsed=elapsed,
            last_error=cause if last is None else last,
            reason=reason,
        ) from cause
    finally:
        del cause, last, failures


def _advice(policy: Policy, reason: Reason, in_doubt: bool) -> str:
    if in_doubt:
        return policy.WORDS.maybe_stored
    if reason == "session_gone":
        return "No attempt was acknowledged: the event has nowhere to go until the session is created again."
    return policy.WORDS.not_stored


def _reraise(error: Exception, facts: str, is_shared: bool) -> NoReturn:
    was_given_up = hasattr(error, _GAVE_UP)
    BaseException.__setattr__(error, _GAVE_UP, (time.monotonic(), id(current_task()), is_shared or was_given_up))
    note(error, facts)
    context = error.__context__
    try:
        raise error
    finally:  # not what the caller is handling, which is behind it anyway
        BaseException.__setattr__(error, "__context__", context)
        del error


def gave_up_since(began: float, error: BaseException, *, in_a_group: bool = False) -> bool:
    """Whether a decorated call inside the attempt that began then gave up with this error, or one in this group."""
    if isinstance(error, (StaleSessionRetryError, InDoubtError)):
        return True
    at, task, is_shared = getattr(error, _GAVE_UP, (-math.inf, 0, False))
    if at >= began and (in_a_group or not is_shared or task == id(current_task())):
        return True
    if isinstance(error, BaseExceptionGroup):
        group = cast("BaseExceptionGroup[BaseException]", error)
        return any(gave_up_since(began, inner, in_a_group=True) for inner in group.exceptions)
    return False
