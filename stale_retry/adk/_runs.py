"""A run of somebody else's runner, seen from a plugin: when it is over, however it ends."""

from __future__ import annotations

import asyncio
import gc
import math
import time
import weakref
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from google.adk.agents.invocation_context import InvocationContext

LOOK_AFTER = 5.0
"""Seconds that a turn waits before it looks for runs that are over and not yet freed; then twice as long each time."""

_looked_at = -math.inf


class Run:
    """Calls `on_over`, once, when the run is over and `forget` was not called before.

    It is called in the run's event loop, and told whether the run was cancelled as far as that is known. Where the loop
    is closed it is called anyway, and told False.

    No release of google-adk tells its plugins of a run that was cancelled, and few of one that failed. But it is over
    when the task it ran in is, or when nobody has its context any more, which is at once or, where an exception and its
    frames refer to each other, after the next collection.
    """

    def __init__(self, context: InvocationContext, on_over: Callable[[bool], object]) -> None:
        task = asyncio.current_task()
        assert task is not None, "plugins are called in a task"  # noqa: S101
        self._loop = asyncio.get_running_loop()
        self._task = weakref.ref(task)
        self._on_over: Callable[[bool], object] | None = on_over
        self._freed = weakref.finalize(context, self._is_over)
        self._freed.atexit = False
        task.add_done_callback(self._is_over)

    def forget(self) -> None:
        self._on_over = None
        self._freed.detach()
        task = self._task()
        if task is not None:
            task.remove_done_callback(self._is_over)

    def _is_over(self, task: asyncio.Task[Any] | None = None) -> None:
        # A context may be freed anywhere, by a collection in another thread too.
        try:
            self._loop.call_soon_threadsafe(self._say_so, task is not None and task.cancelled())
        except RuntimeError:
            self._say_so(False)

    def _say_so(self, was_cancelled: bool) -> None:
        on_over = self._on_over
        if on_over is not None:
            self.forget()
            on_over(was_cancelled)


@asynccontextmanager
async def looking_for_runs_that_are_over() -> AsyncIterator[None]:
    """While somebody waits for one."""
    looking = asyncio.create_task(_look())
    try:
        yield
    finally:
        looking.cancel()


async def _look() -> None:
    global _looked_at
    pause = LOOK_AFTER
    while True:
        await asyncio.sleep(pause)
        if time.monotonic() - _looked_at >= LOOK_AFTER:
            gc.collect()
            _looked_at = time.monotonic()
        pause *= 2
