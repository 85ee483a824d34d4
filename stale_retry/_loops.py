"""The one layer over asyncio and trio: the running loop and task, and how to reach a loop from any thread.

A loop is the native object: asyncio's event loop, or trio's token. Asking anyio costs more than an append may, its
backend for asyncio takes the first call in a process many times longer to import than a backoff lasts, and importing
asyncio takes longer than all the rest of this package, so asyncio and trio are looked up where they run already.
"""

from __future__ import annotations

import contextvars
import sys
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import asyncio

_running_loop: Callable[[], Any] | None = None


def current_loop() -> Any:
    """The running event loop, asyncio's or trio's; None where there is none."""
    loop = _running_loop() if _running_loop is not None else _look_for_asyncio()
    if loop is None and "trio" in sys.modules:
        import trio

        try:
            return trio.lowlevel.current_trio_token()
        except RuntimeError:
            return None
    return loop


def _look_for_asyncio() -> Any:
    global _running_loop
    asyncio = sys.modules.get("asyncio")
    _running_loop = getattr(asyncio, "_get_running_loop", None)  # the public form raises where there is none
    return None if _running_loop is None else _running_loop()


def is_asyncio(loop: Any) -> bool:
    return hasattr(loop, "call_soon_threadsafe")


def now(loop: Any) -> float:
    """The time on the running loop's clock, in seconds."""
    return clock_of(loop)()


def clock_of(loop: Any) -> Callable[[], float]:
    """What tells the time on the running loop's clock, in seconds."""
    if is_asyncio(loop):
        return loop.time  # type: ignore[no-any-return]
    import trio

    return trio.current_time


def is_closed(loop: Any) -> bool:
    """Whether nothing will ever run in the loop again."""
    if is_asyncio(loop):
        return loop.is_closed()  # type: ignore[no-any-return]
    return not run_soon(loop, _nothing)


def run_in(loop: Any, function: Callable[..., object], *args: object) -> bool:
    """Run a plain function in a loop, from any thread: at once if it is the running one, else soon.

    Returns False if the loop is closed.
    """
    if current_loop() is loop:
        function(*args)
        return True
    return run_soon(loop, function, *args)


def run_soon(loop: Any, function: Callable[..., object], *args: object) -> bool:
    """Run a plain function in a loop soon, never at once. From any thread, from a garbage collection too.

    Returns False if the loop is closed.
    """
    call_soon = loop.call_soon_threadsafe if is_asyncio(loop) else loop.run_sync_soon
    try:
        call_soon(function, *args)
    except RuntimeError:
        return False
    return True


def current_task() -> Any:
    """The running task object; None where there is none."""
    loop = current_loop()
    if loop is None:
        return None
    if is_asyncio(loop):
        import asyncio

        return asyncio.current_task(loop)
    import trio

    return trio.lowlevel.current_task()


_spawned: set[asyncio.Task[None]] = set()


def spawn(work: Callable[[], Coroutine[Any, Any, None]]) -> Any:
    """Run a coroutine function, which must not raise, in a task of its own, in a copy of this context.

    Returns the native task.
    """
    loop = current_loop()
    if is_asyncio(loop):
        task = loop.create_task(work())
        _spawned.add(task)  # a loop keeps weak references only
        task.add_done_callback(_spawned.discard)
        return task
    import trio

    return trio.lowlevel.spawn_system_task(work, context=contextvars.copy_context())


async def sleep(seconds: float) -> None:
    if is_asyncio(current_loop()):
        import asyncio

        await asyncio.sleep(seconds)
    else:
        import trio

        await trio.sleep(seconds)


def cancelled_class() -> type[BaseException]:
    """The error that cancels a task of the running loop; asyncio's where none runs."""
    loop = current_loop()
    if loop is not None and not is_asyncio(loop):
        import trio

        return trio.Cancelled
    import asyncio

    return asyncio.CancelledError


def _nothing() -> None:
    pass


# Waiting to be woken, and being called later.


class _AsyncioSignal:
    __slots__ = ("_future",)

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._future: asyncio.Future[None] = loop.create_future()

    def set(self) -> None:
        if not self._future.done():
            self._future.set_result(None)

    def wait(self) -> asyncio.Future[None]:
        return self._future


def new_signal(loop: Any) -> Any:
    """What one task of the running loop waits for: `await signal.wait()` until `signal.set()`."""
    if is_asyncio(loop):
        return _AsyncioSignal(loop)
    import trio

    return trio.Event()


def call_at(loop: Any, when: float, function: Callable[[], object]) -> Callable[[], object]:
    """Call a plain function at a time on the running loop's clock. Returns what cancels that."""
    if is_asyncio(loop):
        return loop.call_at(when, function).cancel  # type: ignore[no-any-return]
    import trio

    scope = trio.CancelScope()

    async def later() -> None:
        with scope:
            await trio.sleep_until(when)
            function()

    trio.lowlevel.spawn_system_task(later)
    return scope.cancel
