"""The one layer over asyncio and trio: the running loop and task, and how to reach a loop from any thread.

A loop is the native object: asyncio's event loop, or trio's token. Asking anyio costs more than an append may.
"""

from __future__ import annotations

import asyncio
import contextvars
import sys
from collections.abc import Callable, Coroutine
from typing import Any


def current_loop() -> Any:
    """The running event loop, asyncio's or trio's; None where there is none."""
    loop = asyncio._get_running_loop()  # the public form raises where there is none
    if loop is None and "trio" in sys.modules:
        import trio

        try:
            return trio.lowlevel.current_trio_token()
        except RuntimeError:
            return None
    return loop


def now(loop: Any) -> float:
    """The loop's clock, in seconds. On trio the loop must be the running one."""
    if isinstance(loop, asyncio.AbstractEventLoop):
        return loop.time()
    import trio

    return trio.current_time()


def is_closed(loop: Any) -> bool:
    """Whether nothing will ever run in the loop again."""
    if isinstance(loop, asyncio.AbstractEventLoop):
        return loop.is_closed()
    return not _run_soon(loop, _nothing)


def run_in(loop: Any, function: Callable[..., object], *args: object) -> bool:
    """Run a plain function in a loop, from any thread: at once if it is the running one, else soon.

    Returns False if the loop is closed.
    """
    if current_loop() is loop:
        function(*args)
        return True
    return _run_soon(loop, function, *args)


def current_task() -> Any:
    """The running task object; None where there is none."""
    if asyncio._get_running_loop() is not None:
        return asyncio.current_task()
    import trio

    try:
        return trio.lowlevel.current_task()
    except RuntimeError:
        return None


_spawned: set[asyncio.Task[None]] = set()


def spawn(work: Callable[[], Coroutine[Any, Any, None]]) -> Any:
    """Run a coroutine function, which must not raise, in a task of its own, in a copy of this context.

    Returns the native task.
    """
    if asyncio._get_running_loop() is not None:
        task = asyncio.get_running_loop().create_task(work())
        _spawned.add(task)  # a loop keeps weak references only
        task.add_done_callback(_spawned.discard)
        return task
    import trio

    return trio.lowlevel.spawn_system_task(work, context=contextvars.copy_context())


def cancelled_class() -> type[BaseException]:
    """The error that cancels a task of the running loop; asyncio's where none runs."""
    if asyncio._get_running_loop() is None and current_loop() is not None:
        import trio

        return trio.Cancelled
    return asyncio.CancelledError


def _run_soon(loop: Any, function: Callable[..., object], *args: object) -> bool:
    call_soon = getattr(loop, "call_soon_threadsafe", None) or loop.run_sync_soon
    try:
        call_soon(function, *args)
    except RuntimeError:
        return False
    return True


def _nothing() -> None:
    pass
