"""An async generator that is read inside a turn, in a task of its own."""

from __future__ import annotations

import weakref
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import suppress
from typing import Any, Generic, TypeVar, cast

import anyio

from .._loops import cancelled_class
from ._turn import Inside, Turn, enter_inside
from ._worker import Worker
from .errors import TurnError

T = TypeVar("T")

LOOK_EVERY = 1.0
"""Seconds between two looks whether another turn waits, once the reader's patience is used up."""


class Stream(Generic[T]):
    """Hands the events on as they are asked for.

    An interruption, or a lost lease, must end the run and not the task that reads its events, which may be anywhere
    between two of them; and a generator, which is left in whatever task closes it, must hold nothing that has to be
    left in its own.

    Args:
        open_turn: makes the turn, of an abort hook.
        events: an async iterator, or a function of the turn that returns one.
        abort: ends the events gently; None: their task is cancelled.
        patience: seconds that the reader may ask for nothing while another turn waits; None for any time.
    """

    def __init__(
        self,
        open_turn: Callable[[Callable[[], object] | None], Turn],
        events: AsyncIterator[T] | Callable[[Turn], AsyncIterator[T]],
        abort: Callable[[], object] | None,
        patience: float | None,
    ) -> None:
        self._abort = abort
        self._turn = open_turn(None if abort is None else self._end_gently)
        self._turn.insists = True  # what ignores a cancellation is somebody else's code, and a turn waits for its end
        self._events = events
        self._patience = patience
        self._made: deque[T] = deque()
        self._changed: anyio.Event
        self._asked: anyio.Event
        self._is_closed = False
        self._runs_on = False
        self._reader = Inside(is_open=False)
        enter_inside(self._reader)  # in the context of the caller, which is the reader's as a rule

    async def read(self) -> AsyncGenerator[T, None]:
        self._changed, self._asked = anyio.Event(), anyio.Event()
        self._turn.adopt_current_task()
        worker = Worker(self._make, on_done=self._has_changed)
        try:
            while await self._is_one_made(worker):
                self._turn.adopt_current_task()
                enter_inside(self._reader)
                self._reader.is_open = True
                yield self._made.popleft()
                self._reader.is_open = False
                self._turn.adopt_current_task()
                self._asked.set()
            worker.result()
        except GeneratorExit:
            self._close()
            await worker.ended()
            with suppress(TurnError):
                worker.result()
            raise
        finally:
            self._reader.slot = self._reader.turn = None  # it stays in the reader's context
            del worker  # which has the error, which has this frame

    async def _is_one_made(self, worker: Worker[None]) -> bool:
        while not self._made and not worker.done.is_set():
            self._changed = anyio.Event()
            try:
                await self._changed.wait()
            except cancelled_class() as error:
                self._close()
                await worker.ended(error)
        return bool(self._made)

    def _has_changed(self) -> None:
        self._changed.set()

    def _close(self) -> None:
        """No event is asked for any more."""
        self._is_closed = True
        self._reader.is_open = False
        self._asked.set()

    def _end_gently(self) -> None:
        """Another turn waits for the end, so the run does not wait for its reader any more."""
        self._runs_on = True
        self._asked.set()
        cast("Callable[[], object]", self._abort)()

    async def _make(self) -> None:
        async with self._turn as turn:
            self._reader.slot, self._reader.turn = turn.slot, weakref.ref(turn)
            events: Any = self._events(turn) if callable(self._events) else self._events
            try:
                async for event in events:
                    self._made.append(event)
                    self._has_changed()
                    if not await self._is_wanted():
                        return
            finally:
                if hasattr(events, "aclose"):
                    await events.aclose()

    async def _is_wanted(self) -> bool:
        """Whether another event is asked for, or is kept for a reader that comes back."""
        if self._runs_on:
            return not self._is_closed
        with anyio.move_on_after(self._patience):
            await self._asked.wait()
        while not self._asked.is_set():
            if self._turn.is_waited_for:
                self._runs_on = True
                return True
            with anyio.move_on_after(LOOK_EVERY):
                await self._asked.wait()
        self._asked = anyio.Event()
        return not self._is_closed
