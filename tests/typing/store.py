"""The store that the other files append to, as its author would write it. Checked by mypy and pyright, never run.

A line of these files that must be a type error says so with an ignore for each checker, and both are told to complain
of an ignore that is not needed.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

from stale_retry import retry_on_stale_session


@dataclass
class Event:
    text: str


@dataclass
class Receipt:
    position: int


@dataclass
class Session:
    id: str
    version: int = 0
    events: list[Event] = field(default_factory=list[Event])


async def load(session: Session) -> Session | None:
    """Read a session again; None where it is gone."""
    return Session(session.id, session.version + 1)


async def reload(store: Store, session: Session) -> Session | None:
    return await store.load(session.id)


class Store:
    async def load(self, session_id: str) -> Session | None:
        return Session(session_id)

    @retry_on_stale_session(reload, deadline=30)
    async def append(self, session: Session, event: Event, *, flush: bool = False) -> Receipt:
        """Store an event."""
        return Receipt(session.version + flush)

    async def append_once(self, session: Session, event: Event) -> Receipt:
        return Receipt(session.version)


class Appends(Protocol):
    """What an application asks of any store."""

    async def append(self, session: Session, event: Event) -> Receipt: ...


class AppendFunction(Protocol):
    async def __call__(self, session: Session, event: Event) -> Receipt: ...


store, session, event = Store(), Session("s"), Event("hello")
