"""The running loop and task, without the cost of asking anyio: every attempt of a block asks."""

from __future__ import annotations

import asyncio
import contextvars
import inspect
import sys
from collections.abc import Callable, Coroutine
from typing import Any

from ._chain import behind


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


def run_in(loop: Any, function: Callable[..., object], *args: object) -> bool:
    """Run a plain function in a loop, from any thread: at once where it is the running one, else soon. False when the
    loop is over.
    """
    if current_loop() is loop:
        function(*args)
        return True
    call_soon = getattr(loop, "call_soon_threadsafe", None) or loop.run_sync_soon
    try:
        call_soon(function, *args)
    except RuntimeError:
        return False
    return True


_spawned: set[asyncio.Task[None]] = set()


def spawn(work: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Run a coroutine function, which must not raise, in a task of its own, in a copy of this context."""
    if asyncio._get_running_loop() is not None:
        task = asyncio.get_running_loop().create_task(work())
        _spawned.add(task)  # a loop keeps weak references only
        task.add_done_callback(_spawned.discard)
        return
    import trio

    trio.lowlevel.spawn_system_task(work, context=contextvars.copy_context())


def current_task() -> int:
    """The identity of the running task."""
    if asyncio._get_running_loop() is not None:
        return id(asyncio.current_task())
    import trio

    return id(trio.lowlevel.current_task())


def cancellations(loop: Any) -> int:
    """How many cancellations of this task are under way in its loop; 0 where nobody counts them (trio, Python 3.10)."""
    counted = getattr(asyncio.current_task(loop), "cancelling", None)
    return 0 if counted is None else int(counted())


def turned_a_cancellation(error: BaseException | None, before: int | None) -> bool:
    """Whether this task was cancelled since its cancellations were counted `before`: its error, or answer, is of that.

    None: nobody counted. An error that goes back to a cancellation which the caller was handling when he called, a
    cleanup's, stands for itself then.
    """
    now = cancellations(current_loop())
    if before is not None:
        return now > before
    return now > 0 and not _is_of_a_cleanup(error)


def _is_of_a_cleanup(error: BaseException | None) -> bool:
    frames: list[Any] = []
    frame: Any = inspect.currentframe()
    while frame is not None:
        frames.append(frame)
        frame = frame.f_back
    try:
        cancelled = [link for link in behind(error) if isinstance(link, asyncio.CancelledError)]
        return bool(cancelled) and all(
            link.__traceback__ is not None and link.__traceback__.tb_frame in frames for link in cancelled
        )
    finally:
        del frames, frame
