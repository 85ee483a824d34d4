"""Bring a session up to date without appending to it: the refresh hook by itself."""

from __future__ import annotations

from google.adk.sessions import BaseSessionService, Session

from ._changes import Changes
from ._known import known_of
from ._reading import RefreshMode, read_back
from .state_conflicts import log_overwritten

__all__ = ["RefreshMode", "refresh_session"]


async def refresh_session(
    service: BaseSessionService, session: Session, *, mode: RefreshMode = "incremental"
) -> Session | None:
    """Bring a session up to date in place and return it, or None when it is gone or was recreated.

    The session, its `events` and its `state` stay the same objects. It gains the events that were stored since it was
    loaded or last brought up to date, in storage order: nothing before its window, and nothing that the caller took
    out. Every key of state takes the stored value, except those that the caller wrote and did not yet append, and
    `temp:` state.

    "incremental" reads what was stored since, with an overlap, and falls back to reading everything whenever the
    answer does not prove itself complete. "full" reads everything.
    """
    reading = await read_back(service, session, mode)
    if reading is None:
        return None
    changes = Changes(session, known_of(session), reading)
    changes.state.resolve("last_wins")
    if changes.state.clashes:
        log_overwritten("refresh_session", changes.state.clashes)
    changes.apply()
    return session
