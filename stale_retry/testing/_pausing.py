"""Races on demand: one operation is stopped at one of its awaits, and another one runs meanwhile.

A coroutine is driven by hand, through its `__await__`: whatever it waits for is passed on to the event loop, so it may
do real input and output.
"""

from __future__ import annotations

import asyncio
import contextlib
import types
from collections.abc import Awaitable, Callable, Coroutine, Generator
from typing import Any, Generic, Literal, TypeVar

T = TypeVar("T")
U = TypeVar("U")

Operation = Callable[[], Coroutine[Any, Any, T]]
When = Literal["waiting", "answered"]
"""Whether an operation is cancelled while it waits for an answer, or when the answer has arrived but is not read."""


class Hung(Exception):
    """Raised when an operation does not end, though nothing stands in its way."""


async def interleaved(
    first: Operation[T], second: Operation[U], at: int, *, patience: float, limit: float
) -> Interleaved[T, U]:
    """Run `first` up to its await number `at`, then `second` from beginning to end, then the rest of `first`.

    A `second` that does not end within `patience` seconds waits for a lock that `first` holds: then both run on. The
    await number `at` is over before `first` is stopped: what it asked for is done, and the answer is not read yet.

    Raises:
        Hung: one of the two did not end within `limit` seconds after both could run.
    """
    reached, go_on = asyncio.Event(), asyncio.Event()

    async def stop(step: int) -> None:
        if step == at:
            reached.set()
            await go_on.wait()

    one = asyncio.ensure_future(_driven(first(), after=stop))
    both: list[asyncio.Future[Any]] = [one]
    stopped = asyncio.ensure_future(reached.wait())
    try:
        await asyncio.wait({one, stopped}, return_when=asyncio.FIRST_COMPLETED)
        other = asyncio.ensure_future(second())
        both.append(other)
        await asyncio.wait({other}, timeout=patience)
        blocked = not other.done()
        was_stopped = reached.is_set()
        go_on.set()
        _, unfinished = await asyncio.wait(both, timeout=limit)
        if unfinished:
            raise Hung
        return Interleaved(one.result(), other.result(), was_stopped, blocked)
    finally:
        await ended(stopped, *both)


class Interleaved(Generic[T, U]):
    """What came of two interleaved operations.

    Attributes:
        first, second: what they returned.
        stopped: whether `first` has an await of that number.
        blocked: whether `second` waited for `first`.
    """

    def __init__(self, first: T, second: U, stopped: bool, blocked: bool) -> None:
        self.first, self.second, self.stopped, self.blocked = first, second, stopped, blocked


async def cancelled(operation: Operation[Any], at: int, when: When, *, limit: float) -> bool:
    """Run an operation and cancel it at its await number `at`. False: it has fewer awaits, and was not cancelled.

    Raises:
        Hung: it did not end within `limit` seconds.
    """
    struck = False

    def strike(step: int, moment: When) -> None:
        nonlocal struck
        if step == at and moment == when:
            struck = True
            task.cancel()

    def before(step: int) -> None:
        strike(step, "waiting")

    async def after(step: int) -> None:
        strike(step, "answered")
        if struck:
            await asyncio.sleep(0)  # where the cancellation arrives

    task = asyncio.ensure_future(_driven(operation(), before=before, after=after))
    try:
        _, unfinished = await asyncio.wait({task}, timeout=limit)
        if unfinished:
            raise Hung
        return struck
    finally:
        await ended(task)


async def ended(*tasks: asyncio.Future[Any]) -> None:
    """Cancel tasks that still run, and wait a little until they have ended.

    Their errors are taken out of them, the cancellations too: a task would keep them, and all that they refer to.
    """
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks, timeout=1)
    for task in tasks:
        with contextlib.suppress(BaseException):
            task.result()


def _never(step: int) -> None:
    pass


@types.coroutine
def _drive(
    coroutine: Coroutine[Any, Any, T], before: Callable[[int], None], after: Callable[[int], Awaitable[None]]
) -> Generator[Any, Any, T]:
    step = 0
    answer: Any = None
    error: BaseException | None = None
    try:
        while True:
            try:
                asked_for = coroutine.send(answer) if error is None else coroutine.throw(error)
            except StopIteration as returned:
                result: T = returned.value
                return result
            step += 1
            answer = error = None
            try:
                before(step)
                answer = yield asked_for
                asked_for = None
                yield from after(step).__await__()
            except BaseException as raised:
                answer, error = None, raised
    finally:
        # What a cancelled operation was answered is lost to it, and has to be freed at once, such as a cursor that
        # keeps a lock. So nothing of it may stay here, in a cycle of frame and error.
        asked_for = answer = error = None


async def _driven(
    coroutine: Coroutine[Any, Any, T],
    *,
    before: Callable[[int], None] = _never,
    after: Callable[[int], Awaitable[None]],
) -> T:
    return await _drive(coroutine, before, after)
