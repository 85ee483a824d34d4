"""The event loop that a turn runs in, asyncio's or trio's, and how it is spoken to from any thread."""

from __future__ import annotations

import asyncio
import math
import sys
import weakref
from collections.abc import Callable, Coroutine
from typing import Any, Protocol

import anyio
from anyio.lowlevel import current_token


class Cancelling(Protocol):
    """One task's, from where it was made until it is left."""

    def cancel(self) -> None: ...

    def leave(self, error: BaseException | None) -> bool:
        """Whether the error is this cancellation and nothing else."""
        ...


class Loop(Protocol):
    """Equal to itself alone."""

    @property
    def closed(self) -> bool:
        """Whether nothing will ever run in it again."""
        ...

    def call(self, function: Callable[..., object], *args: object) -> bool:
        """Run a plain function in the loop: at once when this is the loop, else soon. False when the loop is gone."""
        ...

    def time(self) -> float: ...

    def current_task(self) -> object:
        """The task that is running now, of this loop, which must be the current one."""
        ...

    def cancelling(self) -> Cancelling:
        """Of the current task."""
        ...

    def spawn(self, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Run a coroutine function, which must not raise, in a task of its own; the loop must be the current one."""
        ...


def current_loop() -> Loop:
    native: Any = current_token().native_token
    return AsyncioLoop(native) if isinstance(native, asyncio.AbstractEventLoop) else TrioLoop(native)


class AsyncioLoop:
    _spawned: set[asyncio.Task[None]] = set()  # noqa: RUF012 - a loop itself keeps its tasks only weakly

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop

    @property
    def closed(self) -> bool:
        return self._loop.is_closed()

    def call(self, function: Callable[..., object], *args: object) -> bool:
        try:
            here: asyncio.AbstractEventLoop | None = asyncio.get_running_loop()
        except RuntimeError:
            here = None
        if here is self._loop:
            function(*args)
            return True
        try:
            self._loop.call_soon_threadsafe(function, *args)
        except RuntimeError:
            return False
        return True

    def time(self) -> float:
        return self._loop.time()

    def current_task(self) -> object:
        return asyncio.current_task(self._loop)

    def cancelling(self) -> Cancelling:
        return _NativeCancelling(asyncio.current_task(self._loop))

    def spawn(self, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        task = self._loop.create_task(work())
        self._spawned.add(task)
        task.add_done_callback(self._spawned.discard)


class _NativeCancelling:
    """As `asyncio.timeout` does it, once. A scope of anyio's would cancel every await of a cleanup as well, which code
    written for asyncio does not expect, and could only be left in the task that entered it.
    """

    def __init__(self, task: asyncio.Task[Any] | None) -> None:
        self._task = weakref.ref(task) if task is not None else lambda: None
        self._before = _cancellations(task)
        self._is_cancelled = False

    def cancel(self) -> None:
        task = self._task()
        if task is not None:
            self._is_cancelled = task.cancel()

    def leave(self, error: BaseException | None) -> bool:
        task = self._task()
        if not self._is_cancelled or task is None:
            return False
        if sys.version_info >= (3, 11):
            task.uncancel()
        is_cancelled_by_others = _cancellations(task) > self._before or anyio.current_effective_deadline() == -math.inf
        return isinstance(error, asyncio.CancelledError) and not is_cancelled_by_others


def _cancellations(task: asyncio.Task[Any] | None) -> int:
    return task.cancelling() if sys.version_info >= (3, 11) and task is not None else 0


class _ScopeCancelling:
    def __init__(self) -> None:
        self._scope = anyio.CancelScope()
        self._scope.__enter__()

    def cancel(self) -> None:
        self._scope.cancel()

    def leave(self, error: BaseException | None) -> bool:
        details = (None, None, None) if error is None else (type(error), error, error.__traceback__)
        return bool(self._scope.__exit__(*details)) and error is not None


class TrioLoop:
    def __init__(self, token: Any) -> None:
        self._token = token

    @property
    def closed(self) -> bool:
        return not self._run_soon(lambda: None)

    def call(self, function: Callable[..., object], *args: object) -> bool:
        import trio

        try:
            here = trio.lowlevel.current_trio_token() is self._token
        except RuntimeError:
            here = False
        if here:
            function(*args)
            return True
        return self._run_soon(function, *args)

    def _run_soon(self, function: Callable[..., object], *args: object) -> bool:
        import trio

        try:
            self._token.run_sync_soon(function, *args)
        except trio.RunFinishedError:
            return False
        return True

    def time(self) -> float:
        import trio

        return trio.current_time()

    def current_task(self) -> object:
        import trio

        return trio.lowlevel.current_task()

    def cancelling(self) -> Cancelling:
        return _ScopeCancelling()

    def spawn(self, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        import trio

        trio.lowlevel.spawn_system_task(work)
