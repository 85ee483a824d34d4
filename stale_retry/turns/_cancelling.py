"""The cancellation of one task by its queue, from the start of a turn to its end."""

from __future__ import annotations

import asyncio
import math
import sys
import weakref
from typing import Any, Protocol

import anyio

from .._loops import current_task


class Cancelling(Protocol):
    def cancel(self) -> bool:
        """In the task's event loop. Whether there is a task to cancel."""
        ...

    def leave(self, error: BaseException | None) -> bool:
        """Whether the error is this cancellation and nothing else. In the task's event loop, whatever runs there."""
        ...


def cancelling(task: Any) -> Cancelling:
    """Of the current task."""
    kind: Any = _NativeCancelling if isinstance(task, asyncio.Task) else _ScopeCancelling
    made: Cancelling = kind(task)
    return made


class _NativeCancelling:
    """As `asyncio.timeout` does it. A scope of anyio's would also cancel every await of a cleanup, which code
    written for asyncio does not expect, and could be left only in the task that entered it.
    """

    __slots__ = ("_before", "_task", "_times")

    def __init__(self, task: asyncio.Task[Any]) -> None:
        self._task = weakref.ref(task)
        self._before = _cancellations(task)
        self._times = 0

    def cancel(self) -> bool:
        task = self._task()
        is_cancelled = task is not None and task.cancel()
        self._times += is_cancelled
        return is_cancelled

    def leave(self, error: BaseException | None) -> bool:
        task = self._task()
        if not self._times or task is None:
            return False
        if sys.version_info >= (3, 11):
            for _ in range(self._times):
                task.uncancel()
        if not isinstance(error, asyncio.CancelledError):
            return False
        return _cancellations(task) <= self._before and anyio.current_effective_deadline() != -math.inf


def _cancellations(task: asyncio.Task[Any]) -> int:
    return task.cancelling() if sys.version_info >= (3, 11) else 0


class _ScopeCancelling:
    __slots__ = ("_scope", "_task")

    def __init__(self, task: Any) -> None:
        self._task = weakref.ref(task)
        self._scope = anyio.CancelScope()
        self._scope.__enter__()

    def cancel(self) -> bool:
        self._scope.cancel()
        return True

    def leave(self, error: BaseException | None) -> bool:
        if current_task() is not self._task():
            return False  # a scope is left in its own task only; this one ends with the task
        details = (None, None, None) if error is None else (type(error), error, error.__traceback__)
        return bool(self._scope.__exit__(*details))
