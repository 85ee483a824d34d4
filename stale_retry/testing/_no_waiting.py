"""Waits that take no time, for the calls of one context."""

from __future__ import annotations

import weakref
from contextvars import Token
from typing import TYPE_CHECKING

from .._context import recorders
from .._types import Observer
from ..events import RetryEvent

if TYPE_CHECKING:
    from .._run import Run


class no_waiting:
    """Make every wait of a decorated call instant, and yield a list that fills with each `RetryEvent`::

        with no_waiting() as events:
            await append(session, event)

    Only for calls made in this context and in the tasks and `asyncio.to_thread` threads started from it: no other
    test, task or thread notices. A skipped wait still counts towards the deadline as if it had passed, so a
    call gives up after as many attempts as it would in production; while n calls retry at once, one n-th of it counts,
    because calls that wait would not all meet again. Blocks nest; an outer one lists the events of an
    inner one too. Observers are told as ever. A fixture, sync or async, may yield from inside the block.
    """

    # A class and not a generator, and it lets go of its list: the frames of a generator and the timers of an event
    # loop outlive the block, and through the errors in the list they would keep session and event alive.

    def __init__(self) -> None:
        self._entered: list[tuple[_Recorder, Token[tuple[Observer, ...]]]] = []

    def __enter__(self) -> list[RetryEvent]:
        events: list[RetryEvent] = []
        recorder = _Recorder(events)
        self._entered.append((recorder, recorders.set((*recorders.get(), recorder))))
        return events

    def __exit__(self, *_: object) -> None:
        recorder, token = self._entered.pop()
        recorder.close()
        recorders.reset(token)


class _Recorder:
    """Notes events; a call that outlives the block is no longer listened to."""

    def __init__(self, events: list[RetryEvent]) -> None:
        self.events: list[RetryEvent] | None = events
        self._retrying: list[weakref.ref[Run]] = []

    def __call__(self, event: RetryEvent) -> None:
        if self.events is not None:
            self.events.append(event)

    def share_of(self, run: Run) -> float:
        """How much of a skipped wait counts: while n calls retry at once, one n-th.

        Where nobody waits, calls that meet once meet again in every round, and one of them gets through. In production
        their waits would have spread them.
        """
        retrying = [other for other in (reference() for reference in self._retrying) if other is not None]
        self._retrying = [weakref.ref(other) for other in retrying if not other.ended and other is not run]
        self._retrying.append(weakref.ref(run))
        return 1 / len(self._retrying)

    def close(self) -> None:
        self.events = None
        self._retrying.clear()
