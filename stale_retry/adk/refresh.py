"""The refresh hook: reads back what changed, and how it knows that nothing else did."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable
from typing import Literal

from google.adk.events import Event
from google.adk.sessions import BaseSessionService, Session
from google.adk.sessions.base_session_service import GetSessionConfig

from ._changes import Changes, tail_since
from ._releases import session_not_found
from ._window import TICK, seen_until, within_window

RefreshMode = Literal["incremental", "full"]

OVERLAP_SECONDS = 60.0
OVERLAP_EVENTS = 100
"""How far an incremental reading reaches back behind what the session knew when it last saw storage: that many
seconds, or that many events with the new ones, whichever is less. An event is dated when it is created and stored
later, so one that the session has not seen may be dated before those it has."""


async def refresh_session(
    service: BaseSessionService, session: Session, *, mode: RefreshMode = "incremental"
) -> Session | None:
    """Bring a session up to date in place and return it, or None when it is gone.

    The session, its `events` and its `state` stay the same objects. It gains the events that it lacks, in storage
    order, and keeps its window: a session that was loaded with the last n events gains nothing older. It takes the
    stored value of every key that is new to it, that those events wrote, or that is shared (`app:`, `user:`), and
    keeps the others: `temp:` state and writes that are not yet appended.

    "incremental" reads what was stored since, with an overlap, and falls back to reading everything whenever the
    answer does not prove itself complete. "full" reads everything.
    """
    fresh = await read_back(service, session, mode)
    if fresh is None:
        return None
    Changes(session, fresh).apply()
    return session


async def read_back(service: BaseSessionService, session: Session, mode: RefreshMode) -> Session | None:
    """The session as storage has it: all state and the version, and the events that may be new to `session`."""
    if mode == "full":
        return await _get(service, session, None)
    held = list(session.events)
    seen = seen_until(session)
    since = max(seen - OVERLAP_SECONDS, 0.0)
    fresh = await _get(service, session, GetSessionConfig(after_timestamp=since, num_recent_events=OVERLAP_EVENTS))
    if fresh is None:
        return None
    if len(fresh.events) == OVERLAP_EVENTS:
        reaches_back = _reaches_back(session, fresh, held, seen)
        complete_from = fresh.events[0].timestamp + TICK if reaches_back else math.inf
    else:
        complete_from = since
    if _is_complete(fresh, complete_from, held):
        return fresh
    since = max(min(since, fresh.last_update_time - OVERLAP_SECONDS), 0.0)
    fresh = await _get(service, session, GetSessionConfig(after_timestamp=since))
    if fresh is None or _is_complete(fresh, since, held):
        return fresh
    return await _get(service, session, None)


def _reaches_back(session: Session, fresh: Session, held: list[Event], seen: float) -> bool:
    """Whether the youngest events alone reach back to the beginning of the session's window, or well into it."""
    if len(within_window(session, fresh.events)) < len(fresh.events):
        return True
    known = {event.id for event in held[tail_since(held, fresh.events[0].timestamp - TICK) :]}
    overlap = [event for event in fresh.events if event.timestamp <= seen + TICK and event.id in known]
    return len(overlap) >= OVERLAP_EVENTS / 2


def _is_complete(fresh: Session, complete_from: float, held: list[Event]) -> bool:
    """Whether a reading of the events dated from then on shows all that it should.

    The event that moved the session last must be in it, and so must what the session had of that time.
    """
    if fresh.last_update_time < complete_from:
        return False
    read = {event.id for event in fresh.events}
    expected = held[tail_since(held, complete_from + TICK) :]
    return all(event.id in read for event in expected if event.timestamp > complete_from + TICK)


async def _get(service: BaseSessionService, session: Session, config: GetSessionConfig | None) -> Session | None:
    return await service.get_session(
        app_name=session.app_name, user_id=session.user_id, session_id=session.id, config=config
    )


def reader(mode: RefreshMode) -> Callable[[BaseSessionService, Session], Awaitable[Session]]:
    """The policy's own refresh hook: it only reads, so that whoever must not go on leaves the session as it was."""
    if mode not in ("incremental", "full"):
        raise ValueError(f"refresh must be 'incremental' or 'full', got {mode!r}")

    async def read(service: BaseSessionService, session: Session) -> Session:
        fresh = await read_back(service, session, mode)
        if fresh is None:
            raise session_not_found(session)
        return fresh

    return read
