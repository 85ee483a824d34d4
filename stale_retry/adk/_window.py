"""Which part of the history a session was loaded with, so that a refresh brings back no more than that."""

from __future__ import annotations

import math
import weakref
from collections.abc import Sequence

from google.adk.events import Event
from google.adk.sessions import Session
from google.adk.sessions.base_session_service import GetSessionConfig

WHOLE_HISTORY = -math.inf
TICK = 1e-6
"""Databases keep a timestamp to the microsecond, so two readings of one event may differ by less than this."""

# Sessions are not hashable and refuse public attributes; their identity is all there is to remember them by.
_floors: dict[int, tuple[weakref.ref[Session], float]] = {}


def remember_window(session: Session, config: GetSessionConfig | None) -> None:
    """Note what a session was loaded with, for as long as that very object lives."""
    key = id(session)
    _floors[key] = (weakref.ref(session, lambda _: _floors.pop(key, None)), _floor_of(session, config))


def _floor_of(session: Session, config: GetSessionConfig | None) -> float:
    if config is None:
        return WHOLE_HISTORY
    limit = config.num_recent_events
    if limit is not None and len(session.events) >= limit:
        return session.events[0].timestamp if session.events else session.last_update_time + TICK
    return WHOLE_HISTORY if config.after_timestamp is None else config.after_timestamp


def within_window(session: Session, stored: Sequence[Event]) -> Sequence[Event]:
    """The part of storage's events, which are in storage order, that belongs to the session's window.

    A session of unknown origin begins at its first event; an empty one is taken for that of a new conversation.
    """
    known = _floors.get(id(session))
    if known is not None:
        floor = known[1]
    elif session.events:
        first = session.events[0]
        for index, event in enumerate(stored):
            if event.id == first.id:
                return stored[index:]
        floor = first.timestamp - TICK
    else:
        floor = WHOLE_HISTORY
    if floor == WHOLE_HISTORY:
        return stored
    return [event for event in stored if event.timestamp >= floor]
