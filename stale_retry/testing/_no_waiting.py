"""Waits that take no time, for the calls of one context."""

from __future__ import annotations

from contextvars import Token

from .._context import recorders
from .._types import Observer
from ..events import RetryEvent


class no_waiting:
    """Make every wait of a decorated call instant, and yield a list that fills with each `RetryEvent`::

        with no_waiting() as events:
            await append(session, event)

    Only for calls made in this context and in the tasks and `asyncio.to_thread` threads started from it: no other
    test, task or thread notices. A skipped wait still counts towards the deadline as if it had passed, so a
    call gives up after as many attempts as it would in production. Blocks nest; an outer one lists the events of an
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
        recorder.events = None
        recorders.reset(token)


class _Recorder:
    """Notes events; a call that outlives the block is no longer listened to."""

    def __init__(self, events: list[RetryEvent]) -> None:
        self.events: list[RetryEvent] | None = events

    def __call__(self, event: RetryEvent) -> None:
        if self.events is not None:
            self.events.append(event)
