"""The one reading: what changed in storage, from there or as this process knows it, and how it is known that nothing
else did.
"""

from __future__ import annotations

import dataclasses
import functools
import math
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Literal

from google.adk.events import Event
from google.adk.sessions import BaseSessionService, Session
from google.adk.sessions.base_session_service import GetSessionConfig

from ._kept import Kept, kept_sessions
from ._memory import TICK, Mark, Memory, memory_of
from ._releases import session_not_found, version_of
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
    memory = memory_of(session)
    began, must_be_there = memory.mark(), {**memory.read, **memory.acknowledged}
    if mode == "incremental":
        since = max(memory.seen - OVERLAP_SECONDS, 0.0)
        stored = await _get(service, session, GetSessionConfig(after_timestamp=since, num_recent_events=OVERLAP_EVENTS))
        if stored is None:
            return None
        complete_from = since if len(stored.events) < OVERLAP_EVENTS else _completely_read(memory, stored)
        if _is_complete(memory, session, stored, complete_from, began):
            return Reading(stored, began, complete_from)
        since = max(min(since, stored.last_update_time - OVERLAP_SECONDS), 0.0)
        stored = await _get(service, session, GetSessionConfig(after_timestamp=since))
        if stored is None:
            return None
        if _is_complete(memory, session, stored, since, began):
            return Reading(stored, began, since)
    stored = await _get(service, session, None)
    if stored is None or _is_another(stored, must_be_there, memory):
        return None
    return Reading(stored, began, -math.inf)


def _completely_read(memory: Memory, stored: Session) -> float:
    """From when on the youngest events alone are all there are: they must reach well into what was known, or to the
    beginning of the session's window.
    """
    if not stored.events:
        return math.inf
    first = stored.events[0].timestamp
    known = sum(event.id in memory.ids for event in stored.events)
    return first + TICK if first < memory.floor or known >= OVERLAP_EVENTS / 2 else math.inf


def _is_complete(memory: Memory, session: Session, stored: Session, complete_from: float, began: Mark) -> bool:
    """Whether a reading of the events dated from then on shows all that it should: what the session had of that time,
    and what others appended.
    """
    read = {event.id for event in stored.events}
    expected = (event for event in session.events if event.timestamp > complete_from + TICK)
    if any(event.id not in read and memory.knew(event, began) for event in expected):
        return False
    appends = _appends_between(session, stored)
    if appends is None:
        # A session is dated like the event that was appended last, which may be a late one.
        return stored.last_update_time >= complete_from
    return appends <= sum(event.id not in memory.ids and event.timestamp >= memory.floor for event in stored.events)


def _appends_between(session: Session, stored: Session) -> int | None:
    """How many there were, where a service counts them, as those for Firestore and MongoDB do."""
    before, after = (str(getattr(each, "_storage_update_marker", None)) for each in (session, stored))
    return int(after) - int(before) if before.isdecimal() and after.isdecimal() else None


def _is_another(stored: Session, must_be_there: Mapping[str, float], memory: Memory) -> bool:
    """Whether the session was deleted and made anew: nothing is there of what must be there."""
    if not must_be_there or any(event.id in must_be_there for event in stored.events):
        return False
    if memory.is_guess:
        # What it holds may never have been stored; but is nothing as old as that either?
        return all(event.timestamp > memory.seen for event in stored.events)
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


def reader(
    mode: RefreshMode, is_waited_for: Callable[[Session], bool]
) -> Callable[[BaseSessionService, Session], Awaitable[Reading]]:
    """The policy's own refresh hook: it only reads, so that whoever must not go on leaves the session as it was.

    What is kept is not read; what is read while others wait for the session is kept for them.
    """
    if mode not in ("incremental", "full"):
        raise ValueError(f"refresh must be 'incremental' or 'full', got {mode!r}")
    return functools.partial(_read, mode, is_waited_for)


async def _read(
    mode: RefreshMode, is_waited_for: Callable[[Session], bool], service: BaseSessionService, session: Session
) -> Reading:
    known = kept_reading(service, session, mode)
    if known is not None:
        return known
    began = time.monotonic()
    reading = await read_back(service, session, mode)
    if reading is None:
        raise session_not_found(session)
    if not is_waited_for(session):
        return reading
    kept_sessions().keep(service, Kept(reading.stored, reading.complete_from, began))
    return dataclasses.replace(reading, is_shared=True)


def kept_reading(service: BaseSessionService, session: Session, mode: RefreshMode) -> Reading | None:
    """What a reading would show, where that is known: the session has a version since which all appends were seen, or
    is older than what is kept.
    """
    kept = kept_sessions().of(service, session)
    if kept is None:
        return None
    memory, version = memory_of(session), version_of(session)
    began = memory.mark()
    if version in kept.versions:
        return Reading(kept.for_(memory, version), began, math.inf, is_shared=True)
    if max(memory.updated, memory.appended) >= kept.began:
        return None
    stored, complete_from = kept.for_(memory, None), kept.complete_from
    if complete_from == -math.inf:
        is_another = _is_another(stored, {**memory.read, **memory.acknowledged}, memory)
        return None if is_another else Reading(stored, began, complete_from, is_shared=True)
    if complete_from > memory.seen - OVERLAP_SECONDS:  # where a reading for this session would have begun
        complete_from = max(complete_from, _completely_read(memory, stored))
    if mode == "full" or not _is_complete(memory, session, stored, complete_from, began):
        return None
    return Reading(stored, began, complete_from, is_shared=True)
