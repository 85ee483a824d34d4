"""What storage has and the caller's session has not, and how the session comes to have it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from operator import attrgetter
from typing import Any

from google.adk.events import Event
from google.adk.sessions import Session
from google.adk.sessions.state import State

from ._window import TICK, remember_seen, within_window

_SHARED = (State.APP_PREFIX, State.USER_PREFIX)
_PATIENCE = 100
_date = attrgetter("timestamp")


class Changes:
    """The difference between a session and a fresh reading of it, which may begin in the middle of the history.

    Good until the next await: what is appended through the session meanwhile is not in it.

    Attributes:
        new: the events that the session does not have, in storage order; events before its window do not count.
    """

    def __init__(self, session: Session, fresh: Session) -> None:
        self._session = session
        self._fresh = fresh
        self._begins = fresh.events[0].timestamp if fresh.events else math.inf
        self._tail = tail_since(session.events, self._begins - TICK)
        self._held = {event.id: event for event in session.events[self._tail :]}
        self.new = [event for event in within_window(session, fresh.events) if event.id not in self._held]

    def holds(self, event: Event) -> bool:
        """Whether storage, or else the session, has an event of that id."""
        if event.timestamp < self._begins and any(event.id == other.id for other in self._session.events):
            return True
        return any(event.id == other.id for other in self._fresh.events)

    def apply(self) -> None:
        """Update the session in place."""
        if self._fresh.events:
            self._session.events[self._tail :] = self._merged_tail()
        if _is_by_date(self._fresh.events):
            # Late events that were appended through this session stand where they were appended.
            self._session.events.sort(key=_date)
        self._merge_state()
        # The version too, by whatever name this release or a service's own session class keeps it.
        for name in (*type(self._fresh).model_fields, *type(self._fresh).__private_attributes__):
            if name not in ("events", "state"):
                setattr(self._session, name, getattr(self._fresh, name))
        remember_seen(self._session)

    def _merged_tail(self) -> list[Event]:
        """In storage order, and made of the session's own event objects, which contexts may hold."""
        read = {event.id for event in self._fresh.events}
        unread = [event for event in self._held.values() if event.id not in read]
        known = {**self._held, **{event.id: event for event in self.new}}
        return [
            *(event for event in unread if event.timestamp <= self._begins + TICK),
            *(known[event.id] for event in self._fresh.events if event.id in known),
            # Appended through this very session while it was being read.
            *(event for event in unread if event.timestamp > self._begins + TICK),
        ]

    def _merge_state(self) -> None:
        """Take what storage has, except where only a write that is not yet appended can explain the difference."""
        state, stored = self._session.state, self._fresh.state
        written = self._written_by_new_events()
        for key, value in stored.items():
            if key not in state or key in written or key.startswith(_SHARED):
                state[key] = value
        for key, value in written.items():
            # Some releases of SqliteSessionService remove a key that is set to None.
            if value is None and key not in stored and not key.startswith(State.TEMP_PREFIX):
                state.pop(key, None)

    def _written_by_new_events(self) -> dict[str, Any]:
        written: dict[str, Any] = {}
        for event in self._fresh.events:
            if event.id not in self._held:
                written.update(event.actions.state_delta)
        return written


def _is_by_date(events: Sequence[Event]) -> bool:
    dates = [event.timestamp for event in events]
    return dates == sorted(dates)


def tail_since(events: Sequence[Event], timestamp: float) -> int:
    """Where the events dated from then on begin, without looking at all that came before.

    Events stand in the order in which they were stored, so a late one stands among younger ones. So many old ones in a
    row are the end of the search.
    """
    begins = len(events)
    older = 0
    for index in range(len(events) - 1, -1, -1):
        if events[index].timestamp >= timestamp:
            begins, older = index, 0
        else:
            older += 1
            if older == _PATIENCE:
                break
    return begins
