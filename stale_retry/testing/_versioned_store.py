"""An in-memory store that loses races by itself, and fails on demand."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, cast
from uuid import uuid4

import anyio

from ..errors import StaleSessionError


@dataclass(frozen=True)
class Event:
    """An event with an id of its own, so that two with the same body are two events.

    Attributes:
        body: what it says.
        id: what `VersionedStore.find_stored` finds it by; a new UUID by default.
    """

    body: Any
    id: Any = field(default_factory=lambda: uuid4().hex)


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
    and stores nothing. Any object can be an event; `find_stored` needs one with an id, such as `Event`. `refresh` and
    `find_stored` are ready to be passed to the option of the same name.

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

    def delete(self, session_id: str = "session") -> None:
        """Delete a session: appends through it are rejected, and a reload finds nothing."""
        self._stored.pop(session_id, None)

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
    def find_stored(session: VersionedSession, event: Any) -> Any:
        """The stored event with this event's id, or None. For an append whose parameters have these names.

        Raises:
            TypeError: the event has no id.
        """
        wanted = _id_of(event)
        if wanted is None:
            raise TypeError(
                f"find_stored finds events by their id, and this {type(event).__name__} has none: equal events of two "
                f"writers are two events. Append Event(...), or any object or mapping with an id"
            )
        return next((stored for stored in session.events if _id_of(stored) == wanted), None)


def _id_of(event: Any) -> Any:
    if isinstance(event, Mapping):
        return cast("Mapping[str, Any]", event).get("id")
    return getattr(event, "id", None)
