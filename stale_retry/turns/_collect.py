"""Messages that arrive while a turn of their key runs, answered together by the next one."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Hashable
from typing import Any, TypeVar

import anyio

from .._checks import name_of
from .._loops import cancelled_class, current_loop
from ._turn import Turn
from ._worker import Worker

M = TypeVar("M")
T = TypeVar("T")


async def respond_to(messages: list[M], respond: Callable[[list[M]], Awaitable[T]]) -> T:
    """What the caller's function answers.

    Raises:
        TypeError: it is not async.
    """
    answer = respond(messages)
    if not inspect.isawaitable(answer):
        raise TypeError(
            f"respond must be a coroutine function (async def), but {name_of(respond)} returned a "
            f"{type(answer).__name__}"
        )
    return await answer


class _Batch:
    """Messages that one turn answers. It takes more until it begins.

    Attributes:
        messages: in the order of arrival, each with the identity of its caller.
        is_open: whether it takes more.
        waiting: how many callers wait for it.
    """

    def __init__(
        self,
        turn: Turn,
        group: Hashable,
        respond: Callable[[list[Any]], Awaitable[Any]],
        pause: float,
        pause_at_most: float,
        on_closed: Callable[[_Batch], object],
    ) -> None:
        self.messages: dict[object, Any] = {}
        self.is_open = True
        self.group = group
        self.turn = turn
        self._respond = respond
        self._pause = pause
        self._pause_at_most = pause_at_most
        self._on_closed = on_closed
        self._last = anyio.current_time()
        self.waiting = 0
        self.worker = Worker(self._run, on_done=self.close)

    def add(self, caller: object, message: Any) -> None:
        self.messages[caller] = message
        self.waiting += 1
        self._last = anyio.current_time()

    def leave(self, caller: object) -> None:
        """The caller does not wait any more. A message that is not being answered yet goes with it."""
        self.waiting -= 1
        if self.is_open:
            del self.messages[caller]
        if not self.waiting:
            self.close()

    def close(self) -> None:
        if self.is_open:
            self.is_open = False
            self._on_closed(self)

    async def _run(self) -> Any:
        async with self.turn as turn:
            if not turn.waited:
                await self._wait_for_more()
            self.close()
            return await respond_to(list(self.messages.values()), self._respond)

    async def _wait_for_more(self) -> None:
        end = anyio.current_time() + self._pause_at_most
        while (left := min(self._last + self._pause, end) - anyio.current_time()) > 0:  # noqa: ASYNC110
            await anyio.sleep(left)


class Batches:
    """The batches of one queue that take messages: one for each key and event loop."""

    def __init__(self) -> None:
        self._open: dict[Hashable, _Batch] = {}

    async def collect(
        self,
        key: Hashable,
        message: Any,
        respond: Callable[[list[Any]], Awaitable[Any]],
        *,
        group: Hashable,
        longest: float,
        pause: float,
        pause_at_most: float,
        open_turn: Callable[[], Turn],
        refuse: Callable[[], BaseException],
    ) -> Any:
        where = current_loop(), key
        batch = self._open.get(where)
        if batch is not None and batch.group == group and not batch.turn.is_followed:
            if len(batch.messages) >= longest:
                raise refuse()
        else:
            batch = _Batch(open_turn(), group, respond, pause, pause_at_most, lambda closed: self._close(where, closed))
            self._open[where] = batch
        caller = object()
        batch.add(caller, message)
        try:
            await batch.worker.done.wait()
        except cancelled_class() as error:
            batch.leave(caller)
            if not batch.waiting:
                await batch.worker.ended(error)
            raise
        return batch.worker.result()

    def _close(self, where: Hashable, batch: _Batch) -> None:
        if self._open.get(where) is batch:
            del self._open[where]
