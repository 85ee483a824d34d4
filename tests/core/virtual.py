"""Virtual time: a test that waits for minutes ends at once, and every instant in it is exact.

`VirtualLoop` can also be driven one step at a time, so that a test decides which task goes on next.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import trio.testing
from hypothesis import HealthCheck, settings

T = TypeVar("T")

EPSILON = 1e-6
"""Floating-point slack between a sum of waits and the clock."""

LONG = os.environ.get("STALE_RETRY_LONG") == "1"


def examples(count: int, **changes: Any) -> settings:
    """Settings of a property: so many examples, and twenty times as many when STALE_RETRY_LONG=1."""
    return settings(
        max_examples=count * (20 if LONG else 1), deadline=None, suppress_health_check=[HealthCheck.too_slow], **changes
    )


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop whose clock moves only when it is told to."""

    def __init__(self) -> None:
        self.now = 0.0
        super().__init__()
        self.complaints: list[dict[str, Any]] = []
        self.set_exception_handler(lambda _, context: self.complaints.append(context))

    def time(self) -> float:
        return self.now

    def step(self) -> None:
        """Run what is ready, once."""
        with _clock(self.time):
            self.call_soon(self.stop)
            self.run_forever()

    @property
    def idle(self) -> bool:
        return not self._ready  # type: ignore[attr-defined]

    def run_until_idle(self) -> None:
        for _ in range(10_000):
            if self.idle:
                return
            self.step()
        raise AssertionError("the tasks never come to rest")

    @property
    def timers(self) -> list[float]:
        """When the timers that are set go off."""
        return [handle.when() for handle in self._scheduled if not handle.cancelled()]  # type: ignore[attr-defined]

    def advance(self) -> bool:
        """Move the clock to the next timer. False when there is none."""
        if not self.timers:
            return False
        self.now = max(self.now, min(self.timers))
        self.step()
        return True

    def run_virtually(self, main: Awaitable[T]) -> T:
        task = asyncio.ensure_future(main, loop=self)
        while True:
            self.run_until_idle()
            if task.done():
                return task.result()
            assert self.advance(), "deadlock: every task waits and no timer is set"

    def finish(self) -> None:
        with _clock(self.time):
            self.run_until_complete(self.shutdown_asyncgens())
        self.close()


@contextmanager
def _clock(now: Callable[[], float]) -> Iterator[None]:
    # The entry of a call is read from time.monotonic, which on a real loop is the loop's own clock.
    real = time.monotonic
    time.monotonic = now  # type: ignore[assignment]
    try:
        yield
    finally:
        time.monotonic = real


def run(main: Callable[[], Awaitable[T]], backend: str = "asyncio") -> T:
    """Run an async function in virtual time."""
    if backend == "trio":
        clock = trio.testing.MockClock(autojump_threshold=0)
        with _clock(clock.current_time):
            return trio.run(main, clock=clock)
    loop = VirtualLoop()
    try:
        return loop.run_virtually(main())
    finally:
        loop.finish()
