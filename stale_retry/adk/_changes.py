"""What storage has and the caller's session has not, and how the session comes to have it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from google.adk.events import Event
from google.adk.sessions import Session
from google.adk.sessions.state import State

from ._window import TICK, within_window

_SHARED = (State.APP_PREFIX, State.USER_PREFIX)


class Changes:
    """The difference between a session and a fresh reading of it, which may begin in the middle of the history.

    Attributes:
        new: the events that the session does not have, in storage order; events before its window do not count.
    """

    def __init__(self, session: Session, fresh: Session) -> None:
        self._session = session
        self._fresh = fresh
        self._stored = within_window(session, fresh.events)
        held = {event.id for event in session.events}
        self.new = [event for event in self._stored if event.id not in held]

    def apply(self) -> None:
        """Update the session in place. Nothing can come in between: there is no await from here on."""
        if self._stored:
            self._session.events[:] = self._merged_events()
        self._merge_state()
        # The version too, by whatever name this release or a service's own session class keeps it.
        for name in (*type(self._fresh).model_fields, *type(self._fresh).__private_attributes__):
            if name not in ("events", "state"):
                setattr(self._session, name, getattr(self._fresh, name))

    def _merged_events(self) -> list[Event]:
        """Storage's order from where the reading begins; contexts may hold the session's own event objects."""
        held = {event.id: event for event in self._session.events}
        read = {event.id for event in self._stored}
        begins = self._stored[0].timestamp + TICK
        unread = [event for event in self._session.events if event.id not in read]
        return [
            *(event for event in unread if event.timestamp <= begins),
            *(held.get(event.id, event) for event in self._stored),
            # Appended through this very session while it was being read.
            *(event for event in unread if event.timestamp > begins),
        ]

    def _merge_state(self) -> None:
        """Take what storage has, except where only a write that is not yet appended can explain the difference."""
        state, stored = self._session.state, self._fresh.state
        written = self._written_by_others()
        for key, value in stored.items():
            if key not in state or key in written or key.startswith(_SHARED):
                state[key] = value
        for key, value in written.items():
            # Some releases of SqliteSessionService remove a key that is set to None.
            if value is None and key not in stored and not key.startswith(State.TEMP_PREFIX):
                state.pop(key, None)

    def _written_by_others(self) -> Mapping[str, Any]:
        written: dict[str, Any] = {}
        for event in self.new:
            written.update(event.actions.state_delta)
        return written
