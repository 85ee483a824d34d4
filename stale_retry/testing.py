"""Helpers for testing a decorated append: waits that take no time, and a store that loses races on demand."""

from __future__ import annotations

from contextvars import Token
from dataclasses import dataclass, field
from typing import Any

import anyio

from ._context import recorders
from ._types import Observer
from .conflict import Conflict, Settled
from .errors import StaleSessionError
from .events import RetryEvent


class no_waiting:
    """Make every wait of a decorated call instant, and yield a list that fills with each `RetryEvent`::

        with no_waiting() as events:
            await append(session, event)

    Only for calls made in this context and in the tasks and `asyncio.to_thread` threads started from it: no other
    test, task or thread notices. A wait that is skipped still counts against the deadline as if it had passed, so a
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


@dataclass(eq=False)
class VersionedSession:
    """What a writer knows of a session in a `VersionedStore`.

    Attributes:
        id: the session's name in the store.
        version: the number of events that the store had when this was loaded or appended through.
        events: those events.
    """

    id: str
    version: int
    events: list[Any]


@dataclass
class Faults:
    """What goes wrong next in a `VersionedStore`; change it at any time. Counters count down as they strike.

    Attributes:
        stale: appends to reject, whatever version they come with.
        refresh: reloads that raise `ConnectionError`.
        lost_acknowledgements: appends that are stored and then raise `ConnectionError`.
        gone: whether the store has lost every session: appends are rejected, reloads find nothing.
        delay: seconds that each append and each reload takes.
    """

    stale: int = 0
    refresh: int = 0
    lost_acknowledgements: int = 0
    gone: bool = False
    delay: float = 0.0

    def strikes(self, counter: str) -> bool:
        left: int = getattr(self, counter)
        if left:
            setattr(self, counter, left - 1)
        return left > 0


@dataclass
class VersionedStore:
    """An in-memory event store with real optimistic concurrency, and faults on demand.

    An append is stored only through a session that knows the latest version; otherwise it raises `StaleSessionError`
    and stores nothing. `refresh` is a refresh hook and `settle_if_stored` a conflict hook, ready to be passed on.

    Attributes:
        faults: what goes wrong next.
        appends: calls of `append` so far.
        refreshes: calls of `refresh` so far.
    """

    faults: Faults = field(default_factory=Faults)
    appends: int = 0
    refreshes: int = 0
    _stored: dict[str, list[Any]] = field(default_factory=dict[str, list[Any]], repr=False)

    def open(self, session_id: str = "session") -> VersionedSession:
        """A session as it is now, created if there is none. Every call returns another object."""
        events = self._stored.setdefault(session_id, [])
        return VersionedSession(session_id, len(events), list(events))

    def events(self, session_id: str = "session") -> list[Any]:
        """What is stored, in order."""
        return list(self._stored.get(session_id, ()))

    async def append(self, session: VersionedSession, event: Any) -> Any:
        """Store the event and return it; the session then knows it too.

        Raises:
            StaleSessionError: something was stored since the session was loaded, or the session is gone. Nothing is
                stored.
            ConnectionError: a lost acknowledgement. The event is stored.
        """
        self.appends += 1
        await anyio.sleep(self.faults.delay)
        # No await from here on: an append is stored or rejected as one.
        stored = self._stored.get(session.id)
        if stored is None or self.faults.gone:
            raise StaleSessionError(f"the store has no session {session.id!r}")
        if self.faults.strikes("stale") or session.version != len(stored):
            raise StaleSessionError(f"version {session.version} is stale, the store has {len(stored)}")
        stored.append(event)
        if self.faults.strikes("lost_acknowledgements"):
            raise ConnectionError("the acknowledgement was lost")
        session.events.append(event)
        session.version = len(stored)
        return event

    async def refresh(self, session: VersionedSession) -> VersionedSession | None:
        """The session as it is now, or None when it is gone.

        Raises:
            ConnectionError: as `faults.refresh` asks.
        """
        self.refreshes += 1
        await anyio.sleep(self.faults.delay)
        if self.faults.strikes("refresh"):
            raise ConnectionError("the session could not be read")
        if self.faults.gone or session.id not in self._stored:
            return None
        return self.open(session.id)

    @staticmethod
    def settle_if_stored(conflict: Conflict[VersionedSession]) -> Settled | None:
        """Settle an event that the fresh session already has: its acknowledgement was lost.

        For an append whose parameter is called `event`.
        """
        event = conflict.arguments["event"]
        return conflict.settle(event) if event in conflict.fresh.events else None
