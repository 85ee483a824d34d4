"""What storage has and the caller's session has not, and how the session comes to have it."""

from __future__ import annotations

import functools

from google.adk.events import Event
from google.adk.sessions import Session

from ._known import Known
from ._reading import Reading
from ._stored import own_copy
from .state_conflicts import StateChanges


class Changes:
    """The difference between a session and a reading of it.

    Good until the next await: what is appended through the session meanwhile is not in it.

    Attributes:
        new: what others stored since the session was loaded or last brought up to date, in storage order. What the
            caller took out is not new, and neither is what lies before the session's window.
        own: the event that is to be appended, as storage has it, if it is stored already.
    """

    def __init__(self, session: Session, known: Known, reading: Reading, event: Event | None = None) -> None:
        self._session = session
        self._reading = reading
        self._known = known
        self._held = {event.id: event for event in session.events}
        self._event = event
        events = reading.stored.events
        self.own = None if event is None else next((other for other in events if other.id == event.id), None)
        self._lacked = [
            own_copy(other) if reading.is_shared else other
            for other in events
            if other.id not in self._held
            and (other is self.own or (other.id not in known.ids and other.timestamp >= known.floor))
        ]
        own = None if event is None else event.id
        self.new = [other for other in self._lacked if other.id != own and other.id not in known.unanswered]

    @functools.cached_property
    def state(self) -> StateChanges:
        known, state, stored = self._known, self._session.state, self._reading.stored
        for other in stored.events:
            # Appended through this session, although nobody said so or not through this package.
            is_ours = other.id in self._held or other.id in known.unanswered
            if other is self.own or (is_ours and other.id not in known.ids):
                known.take_found(other, state)
        event = self._event if self.own is None else None
        return StateChanges(known, self._reading, state, self.new, event)

    def apply(self) -> None:
        """Update the session in place."""
        known, stored = self._known, self._reading.stored
        self.state.apply()
        self._merge_events()
        # The version too, by whatever name this release or a service's own session class keeps it.
        for name in (*type(stored).model_fields, *type(stored).__private_attributes__):
            if name not in ("events", "state"):
                setattr(self._session, name, getattr(stored, name))
        known.take_read(stored, self._reading.began, is_whole=self._reading.is_whole)

    def _merge_events(self) -> None:
        """Put what was read into storage order, and leave everything else where the caller has it.

        The session's own event objects stay, which contexts may hold.
        """
        events, known, began = self._session.events, self._known, self._reading.began
        ours = {**self._held, **{event.id: event for event in self._lacked}}
        order = [ours[event.id] for event in self._reading.stored.events if event.id in ours]
        read = {event.id for event in order}
        end = len(events)
        while end and events[end - 1].id not in read and not known.knew(events[end - 1], began):
            end -= 1  # appended through this very session while it was being read
        runs: list[list[Event]] = [[]]
        for event in order:
            runs[-1].append(event)
            if event.id in self._held:
                runs.append([])
        coming, merged = iter(runs[:-1]), list[Event]()
        for event in events[:end]:
            merged.extend(next(coming, ()) if event.id in read else (event,))
        events[:] = [*merged, *runs[-1], *events[end:]]
