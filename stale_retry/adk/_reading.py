"""The one reading: what changed in storage, from there or as this process knows it, and how it is known that nothing
else did.
"""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Iterable, Mapping
from typing import Any, Literal

from google.adk.events import Event
from google.adk.sessions import BaseSessionService, Session
from google.adk.sessions.base_session_service import GetSessionConfig

from ._known import TICK, Known, Mark, known_of
from ._releases import session_not_found, version_of
from ._services import checks_in_two_steps
from ._stored import Stored, StoredSessions
from ._whole_calls import whole_call

RefreshMode = Literal["incremental", "full"]

OVERLAP_SECONDS = 60.0
OVERLAP_EVENTS = 100
"""How far an incremental reading reaches back behind what the session knew when it last saw storage: that many
seconds, or that many events with the new ones, whichever is less. What is appended through this package is dated after
all that was stored before; what others append may be dated earlier."""


@dataclasses.dataclass(frozen=True)
class Reading:
    """A session as storage has it: all state and the version, and the events that may be new.

    Attributes:
        began: where the session stood when the reading began.
        complete_from: the date from which on no event is missing.
        is_shared: whether `stored` is kept for others too, so that only copies may be taken out of it.
    """

    stored: Session
    began: Mark
    complete_from: float
    is_shared: bool = False

    @property
    def is_whole(self) -> bool:
        """Whether there is no event that it lacks."""
        return self.complete_from == -math.inf


async def read_back(service: BaseSessionService, session: Session, mode: RefreshMode) -> Reading | None:
    """None where the session is gone, another one under its id included."""
    known = known_of(session)
    began, must_be_there = known.mark(), {**known.read, **known.acknowledged}
    if mode == "incremental":
        since = max(known.seen - OVERLAP_SECONDS, 0.0)
        stored = await _get(service, session, GetSessionConfig(after_timestamp=since, num_recent_events=OVERLAP_EVENTS))
        if stored is None:
            return None
        complete_from = since if len(stored.events) < OVERLAP_EVENTS else _completely_read(known, stored)
        if _is_complete(known, session, stored, complete_from, began):
            return Reading(stored, began, complete_from)
        since = max(min(since, stored.last_update_time - OVERLAP_SECONDS), 0.0)
        stored = await _get(service, session, GetSessionConfig(after_timestamp=since))
        if stored is None:
            return None
        if _is_complete(known, session, stored, since, began):
            return Reading(stored, began, since)
    stored = await _get(service, session, None)
    if stored is None or _is_another(stored, must_be_there, known):
        return None
    return Reading(stored, began, -math.inf)


def _completely_read(known: Known, stored: Session) -> float:
    """From when on the youngest events alone are all there are: they must reach well into what was known, or to the
    beginning of the session's window.
    """
    if not stored.events:
        return math.inf
    first = stored.events[0].timestamp
    held = sum(event.id in known.ids for event in stored.events)
    return first + TICK if first < known.floor or held >= OVERLAP_EVENTS / 2 else math.inf


def _is_complete(known: Known, session: Session, stored: Session, complete_from: float, began: Mark) -> bool:
    """Whether a reading of the events dated from then on shows all that it should: what the session had of that time,
    and what others appended.
    """
    read = {event.id for event in stored.events}
    expected = (event for event in session.events if event.timestamp > complete_from + TICK)
    if any(event.id not in read and known.knew(event, began) for event in expected):
        return False
    appends = _appends_between(session, stored)
    if appends is None:
        # A session is dated like the event that was appended last, which may be a late one.
        return stored.last_update_time >= complete_from
    return appends <= sum(event.id not in known.ids and event.timestamp >= known.floor for event in stored.events)


def _appends_between(session: Session, stored: Session) -> int | None:
    """How many there were, where a service counts them, as those for Firestore and MongoDB do."""
    before, after = (str(getattr(each, "_storage_update_marker", None)) for each in (session, stored))
    return int(after) - int(before) if before.isdecimal() and after.isdecimal() else None


def _is_another(stored: Session, must_be_there: Mapping[str, float], known: Known) -> bool:
    """Whether the session was deleted and recreated: nothing is there of what must be there."""
    if not must_be_there or any(event.id in must_be_there for event in stored.events):
        return False
    if known.is_guess:
        # What it holds may never have been stored; but is nothing as old as that either?
        return all(event.timestamp > known.seen for event in stored.events)
    return not any(_is_summarised(date, stored.events) for date in must_be_there.values())


def _is_summarised(date: float, events: Iterable[Event]) -> bool:
    # A service may leave out what a compaction stands for.
    summaries = [event.actions.compaction for event in events if event.actions and event.actions.compaction]
    return any((s.start_timestamp or 0.0) - TICK <= date <= (s.end_timestamp or math.inf) + TICK for s in summaries)


async def _get(service: BaseSessionService, session: Session, config: GetSessionConfig | None) -> Session | None:
    reading = service.get_session(
        app_name=session.app_name, user_id=session.user_id, session_id=session.id, config=config
    )
    return await whole_call(service, reading)


def checked(refresh: Any) -> RefreshMode:
    if refresh not in ("incremental", "full"):
        raise ValueError(f"refresh must be 'incremental' or 'full', got {refresh!r}")
    return refresh  # type: ignore[no-any-return]


class Refresh:
    """The policy's refresh hook. It reads and notes what it read; the conflict hook, which knows the event, brings the
    session up to date, so that a session through which nothing may be stored stays as it was.
    """

    def __init__(self, mode: RefreshMode, stored: StoredSessions) -> None:
        self._mode = mode
        self._stored = stored

    async def __call__(self, service: BaseSessionService, session: Session) -> Session:
        known = known_of(session)
        known.news = await self._read(service, session, known)
        return session

    async def _read(self, service: BaseSessionService, session: Session, known: Known) -> Reading:
        if not checks_in_two_steps(service):
            stored = self._stored.of(session)
            reading = None if stored is None else reading_of(stored, session, known, self._mode)
            if reading is not None:
                return reading
        began = time.monotonic()
        reading = await read_back(service, session, self._mode)
        if reading is None:
            raise session_not_found(session)
        if checks_in_two_steps(service) or not self._stored.keep(Stored(reading.stored, reading.complete_from, began)):
            return reading
        return dataclasses.replace(reading, is_shared=True)


def reading_of(stored: Stored, session: Session, known: Known, mode: RefreshMode) -> Reading | None:
    """What reading would show, if that is known: all appends since the session's version were seen, or the session is
    older than what was read.
    """
    began = known.mark()
    since = stored.since(version_of(session), known)
    if since is not None:
        return Reading(since, began, math.inf, is_shared=True)
    all_read, complete_from = stored.whole(known), stored.complete_from
    if all_read is None:
        return None
    if complete_from == -math.inf:
        is_another = _is_another(all_read, {**known.read, **known.acknowledged}, known)
        return None if is_another else Reading(all_read, began, complete_from, is_shared=True)
    if complete_from > known.seen - OVERLAP_SECONDS:  # where a reading for this session would have begun
        complete_from = max(complete_from, _completely_read(known, all_read))
    if mode == "full" or not _is_complete(known, session, all_read, complete_from, began):
        return None
    return Reading(all_read, began, complete_from, is_shared=True)
