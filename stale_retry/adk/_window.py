"""What is remembered of a session: which part of the history it was loaded with, and when it last saw storage."""

from __future__ import annotations

import math
import weakref
from collections.abc import Sequence
from dataclasses import dataclass

from google.adk.events import Event
from google.adk.sessions import Session
from google.adk.sessions.base_session_service import GetSessionConfig

WHOLE_HISTORY = -math.inf
TICK = 1e-6
"""Databases keep a timestamp to the microsecond, so two readings of one event may differ by less than this."""


@dataclass
class _Memory:
    session: weakref.ref[Session]
    floor: float | None
    seen_until: float


# Sessions are not hashable and refuse public attributes; their identity is all there is to remember them by.
_memories: dict[int, _Memory] = {}


def remember_loaded(session: Session, config: GetSessionConfig | None) -> None:
    """Note what a session was loaded with, for as long as that very object lives."""
    _remember(session, _floor_of(session, config))


def remember_seen(session: Session) -> None:
    """Note that a session is as storage has it."""
    memory = _memories.get(id(session))
    _remember(session, memory.floor if memory else None)


def _remember(session: Session, floor: float | None) -> None:
    key = id(session)
    forget = weakref.ref(session, lambda _: _memories.pop(key, None))
    _memories[key] = _Memory(forget, floor, newest(session))


def _floor_of(session: Session, config: GetSessionConfig | None) -> float:
    if config is None:
        return WHOLE_HISTORY
    limit = config.num_recent_events
    if limit is not None and len(session.events) >= limit:
        return session.events[0].timestamp if session.events else session.last_update_time + TICK
    return WHOLE_HISTORY if config.after_timestamp is None else config.after_timestamp


def newest(session: Session) -> float:
    """The date of the latest that a session knows of."""
    return max(session.last_update_time, session.events[-1].timestamp if session.events else 0.0)


def seen_until(session: Session) -> float:
    """The date of the latest that it knew of when it last saw storage.

    What it appended since does not count: a service that misses conflicts lets a stale session append.
    """
    memory = _memories.get(id(session))
    return newest(session) if memory is None else memory.seen_until


def within_window(session: Session, stored: Sequence[Event]) -> Sequence[Event]:
    """The part of storage's events, which are in storage order, that belongs to the session's window.

    A session of unknown origin begins at its first event; an empty one is taken for that of a new conversation.
    """
    memory = _memories.get(id(session))
    floor = memory.floor if memory else None
    if floor is None:
        if not session.events:
            return stored
        first = session.events[0]
        for index, event in enumerate(stored):
            if event.id == first.id:
                return stored[index:]
        floor = first.timestamp - TICK
    if floor == WHOLE_HISTORY:
        return stored
    return [event for event in stored if event.timestamp >= floor]
