"""How a call gives up: what it says, and with which error; and how an outer call knows that an inner one did."""

from __future__ import annotations

import math
import sys
import time
from typing import NoReturn, cast

from ._chain import being_handled, chain, note
from ._failures import Failures
from ._loops import current_task
from .errors import InDoubtError, StaleSessionRetryError
from .events import Reason

if sys.version_info < (3, 11):
    from exceptiongroup import BaseExceptionGroup

_WHY: dict[Reason, str] = {
    "max_attempts": "max_attempts were made",
    "stop": "the stop strategy said so",
    "deadline": "the deadline leaves no time for another attempt",
    "session_gone": "the refresh hook found no session",
    "refresh_failed": "the refresh hook could not reload the session",
}

_GAVE_UP = "__stale_retry_gave_up__"
"""Where a store's own error remembers in which task and when a decorated call gave up with it. No flag, because a store
may raise one and the same error object again, and to several calls at once."""


def cause_of(failures: Failures, refresh_error: Exception | None, *, reraise: bool) -> Exception:
    """What an error of giving up is raised from. From what will be raised, rejection and doubt are reachable."""
    cause = failures.error if refresh_error is None else refresh_error
    if cause is None:
        return TimeoutError("the place at the gate was not had in time")
    raised = failures.doubt if reraise and failures.doubt is not None else cause
    handled = being_handled()
    for error in (cause, failures.rejection, failures.doubt):
        if error is not None:
            chain(raised, error, handled)
    return cause


def give_up(
    kind: type[StaleSessionRetryError],
    reason: Reason,
    cause: Exception,
    failures: Failures,
    *,
    name: str,
    attempts: int,
    elapsed: float,
    reraise: bool,
) -> NoReturn:
    """Raise `kind`; `InDoubtError` where the event may be stored; the store's own error where `reraise` says so."""
    made = f"{attempts} attempt" if attempts == 1 else f"{attempts} attempts"
    facts = f"{name} gave up after {made} in {elapsed:.2f} s: {_WHY[reason]}"
    last = failures.error
    try:
        if reraise and last is not None:
            _reraise(cause if failures.doubt is None else failures.doubt, facts)
        ended: type[StaleSessionRetryError] | type[InDoubtError] = InDoubtError if failures.in_doubt else kind
        raise ended(
            f"{facts}. {_advice(reason, failures.in_doubt)}",
            attempts=attempts,
            elapsed=elapsed,
            last_error=cause if last is None else last,
            reason=reason,
        ) from cause
    finally:
        del cause, last, failures


def _reraise(error: Exception, facts: str) -> NoReturn:
    BaseException.__setattr__(error, _GAVE_UP, (id(current_task()), time.monotonic()))
    note(error, facts)
    context = error.__context__
    try:
        raise error
    finally:  # not what the caller is handling, which is behind it anyway
        BaseException.__setattr__(error, "__context__", context)
        del error


def _advice(reason: Reason, in_doubt: bool) -> str:
    if in_doubt:
        return "The event may be stored: look before you send it again."
    if reason == "session_gone":
        return "No attempt was acknowledged: the event has nowhere to go until the session is created again."
    return "No attempt was acknowledged: reload the session, and send the event again if it lacks it."


def gave_up_since(began: float, error: BaseException, *, in_a_child: bool = False) -> bool:
    """Whether a decorated call inside the attempt that began then gave up with this error, or one in this group."""
    if isinstance(error, BaseExceptionGroup):
        group = cast("BaseExceptionGroup[BaseException]", error)
        return any(gave_up_since(began, inner, in_a_child=True) for inner in group.exceptions)
    if isinstance(error, (StaleSessionRetryError, InDoubtError)):
        return True
    task, at = getattr(error, _GAVE_UP, (None, -math.inf))
    return bool(at >= began) and (in_a_child or task == id(current_task()))
