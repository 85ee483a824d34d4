"""A generator that is read in a task of its own, inside a turn."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing, suppress

from google.adk.events import Event

from ..turns import Turn, TurnError


class Relay:
    """Hands the events on as they are asked for.

    An interruption, or a lost lease, must end the run and not who reads its events, who may be anywhere between two of
    them; and a generator, which is left in whatever task closes it, must hold nothing that has to be left in its own.
    """

    def __init__(self) -> None:
        self._made: asyncio.Queue[Event] = asyncio.Queue()
        self._asked: asyncio.Queue[bool] = asyncio.Queue()
        self._changed = asyncio.Event()
        self._is_in_a_hurry = False

    def hurry(self) -> None:
        """Do not wait for the reader any more: the run is about to end, and somebody waits for that."""
        self._is_in_a_hurry = True
        self._asked.put_nowait(True)

    async def read(self, turn: Turn, events: AsyncGenerator[Event, None]) -> AsyncGenerator[Event, None]:
        turn.adopt_current_task()
        task = asyncio.create_task(self._make(turn, events))
        task.add_done_callback(lambda _: self._changed.set())
        try:
            while await self._is_one_made(task):
                turn.adopt_current_task()
                yield self._made.get_nowait()
                self._asked.put_nowait(True)
            task.result()
        except GeneratorExit:
            self._asked.put_nowait(False)
            with suppress(TurnError):
                await _end_of(task)
            raise
        except asyncio.CancelledError:
            if not task.done():
                task.cancel()
                await asyncio.wait({task})
            raise
        finally:
            del task  # which has the error, which has this frame

    async def _make(self, turn: Turn, events: AsyncGenerator[Event, None]) -> None:
        async with turn, aclosing(events):
            async for event in events:
                self._made.put_nowait(event)
                self._changed.set()
                if not self._is_in_a_hurry and not await self._asked.get():
                    return

    async def _is_one_made(self, task: asyncio.Task[None]) -> bool:
        while self._made.empty() and not task.done():
            self._changed.clear()
            await self._changed.wait()
        return not self._made.empty()


async def _end_of(task: asyncio.Task[None]) -> None:
    try:
        await asyncio.wait({task})
    except asyncio.CancelledError:
        task.cancel()
        raise
    if not task.cancelled():
        task.result()
