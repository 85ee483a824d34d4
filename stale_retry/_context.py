"""What one context (a task, a request, a test) changes for the calls made in it. Read only after a failure."""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar
from typing import Any, NamedTuple

from . import _checks
from ._types import Seconds


class _Limits(NamedTuple):
    max_attempts: int | None = None
    deadline: float | None = None
    outer: _Limits | None = None


_NO_LIMITS = _Limits()
_limits: ContextVar[_Limits] = ContextVar("stale_retry.limits", default=_NO_LIMITS)

recorders: ContextVar[tuple[Any, ...]] = ContextVar("stale_retry.recorders", default=())
"""The observers that are also told every event in this context, outermost first. Waits are instant if there is one."""

retry_checks: ContextVar[tuple[Callable[[], Any], ...]] = ContextVar("stale_retry.retry_checks", default=())
"""What is asked before each attempt on a refreshed session, async or plain; what one raises ends the call."""


class limits:
    """Use other limits for every decorated call made inside, in this context and in the tasks started from it.

    For a request that must answer sooner, or may take longer, than the policy says: `with limits(deadline=2.0): ...`.
    Each call's deadline still counts from that call's own entry. A limit that is left out stays as it is; inner
    blocks override outer ones; other tasks never see them. One object may be entered any number of times, by several
    tasks at once too.

    Args:
        max_attempts: attempts, the first call included.
        deadline: seconds or timedelta. A limit can be changed here but not lifted.

    Raises:
        TypeError, ValueError: a limit that `retry_on_stale_session` would refuse, or an infinite deadline.
    """

    # A class and not a generator: one made of a generator also decorates functions, and around a coroutine function
    # it would be left before the coroutine runs.

    def __init__(self, *, max_attempts: int | None = None, deadline: Seconds | None = None) -> None:
        self._max_attempts = _checks.is_count("max_attempts", max_attempts)
        self._deadline = _checks.as_seconds("deadline", deadline)
        if deadline is not None and self._deadline is None:
            raise ValueError("deadline must be finite: limits changes the policy's deadline, it cannot lift it")

    def __enter__(self) -> None:
        outer = _limits.get()
        _limits.set(_Limits(self._max_attempts or outer.max_attempts, self._deadline or outer.deadline, outer))

    def __exit__(self, *_: object) -> None:
        _limits.set(_limits.get().outer or _NO_LIMITS)


def limits_in_force(max_attempts: int | None, deadline: float | None) -> tuple[int | None, float | None]:
    """The policy's limits as this context changes them."""
    override = _limits.get()
    return override.max_attempts or max_attempts, override.deadline or deadline
