"""What google-adk does, release by release, that the integration stands on. A release that changes it is seen here."""

import time

import pytest
from google.adk.sessions import DatabaseSessionService
from google.adk.sessions.base_session_service import GetSessionConfig
from google.adk.sessions.sqlite_session_service import SqliteSessionService

from stale_retry import is_stale_session_error
from stale_retry.adk._releases import AdkStaleSessionError

from .app import KEY, event, ids, interrupt, load, texts
from .releases import (
    APPLIES_TEMP_STATE,
    DATABASE_REJECTS_STALE,
    DATABASE_RELOADS_SILENTLY,
    EVENT_DATES_THE_SESSION,
    HAS_MARKER,
    HAS_STALE_ERROR,
    SERVICES_RAISE_NOT_FOUND,
    VERSION,
)

pytestmark = pytest.mark.asyncio


def words_of(service):
    if isinstance(service, SqliteSessionService) or VERSION < (1, 28):
        return "earlier than the update_time in"
    return "has been modified in storage since it was loaded"


async def rejection(service):
    session = await load(service)
    await interrupt(service)
    with pytest.raises(ValueError) as caught:
        await service.append_event(session, event("mine", state={"temp:mine": 1, "mine": 1}))
    return caught.value, session


async def test_how_a_stale_session_shows(storage):
    error, _ = await rejection(storage)
    assert words_of(storage) in str(error)
    assert type(error) is AdkStaleSessionError
    assert (AdkStaleSessionError is not ValueError) is HAS_STALE_ERROR
    assert is_stale_session_error(error)


async def test_releases_whose_database_service_rejects_nothing(sqlite_database):
    session = await load(sqlite_database)
    events = session.events
    await interrupt(sqlite_database)
    if DATABASE_REJECTS_STALE:
        with pytest.raises(ValueError):
            await sqlite_database.append_event(session, event("mine"))
    else:
        await sqlite_database.append_event(session, event("mine"))
        assert texts(await load(sqlite_database)) == ["theirs", "mine"]
        assert (session.events is not events) is DATABASE_RELOADS_SILENTLY


async def test_a_rejected_append_leaves_only_temp_state_behind(storage):
    before = await load(storage)
    _, session = await rejection(storage)
    assert session.state == ({"temp:mine": 1} if APPLIES_TEMP_STATE else {})
    assert (session.events, session.last_update_time) == ([], before.last_update_time)


async def test_an_append_strips_temp_state_from_the_callers_event_before_it_is_rejected(storage):
    session, mine = await load(storage), event("mine", state={"temp:mine": 1, "mine": 1})
    await interrupt(storage)
    with pytest.raises(ValueError):
        await storage.append_event(session, mine)
    assert mine.actions.state_delta == {"mine": 1}


async def test_the_version_of_a_session_is_the_time_of_its_last_event(storage):
    session = await load(storage)
    stored = await storage.append_event(session, event("mine", timestamp=time.time() + 5))
    assert (abs(session.last_update_time - stored.timestamp) < 1e-6) is EVENT_DATES_THE_SESSION
    if isinstance(storage, DatabaseSessionService) and HAS_MARKER:
        assert session._storage_update_marker == (await load(storage))._storage_update_marker is not None


async def test_refreshing_without_the_marker_leaves_the_session_stale(storage):
    session = await load(storage)
    await interrupt(storage)
    fresh = await load(storage)
    session.events[:], session.last_update_time = fresh.events, fresh.last_update_time
    stale = False
    try:
        await storage.append_event(session, event("mine"))
    except ValueError:
        stale = True
    assert stale is (HAS_MARKER and not isinstance(storage, SqliteSessionService))


async def test_a_time_after_every_event_reads_state_and_version_alone(storage):
    await interrupt(storage, state={"k": 1})
    everything, nothing = await load(storage), await load(storage, config=GetSessionConfig(after_timestamp=4e9))
    assert (nothing.events, nothing.state) == ([], {"k": 1})
    assert nothing.last_update_time == everything.last_update_time


async def test_of_a_time_and_a_number_both_hold_and_the_time_is_included(storage):
    now = time.time()
    for number in range(6):
        await interrupt(storage, f"{number}", timestamp=now + number)
    since = (await load(storage)).events[1].timestamp
    assert texts(await load(storage, config=GetSessionConfig(after_timestamp=since))) == ["1", "2", "3", "4", "5"]
    both = GetSessionConfig(after_timestamp=since, num_recent_events=3)
    assert texts(await load(storage, config=both)) == ["3", "4", "5"]


async def test_a_late_event_is_read_back_by_its_date(storage):
    now = time.time()
    for text, later in (("1", 1), ("3", 3), ("late", 2)):
        await interrupt(storage, text, timestamp=now + later)
    assert texts(await load(storage)) == ["1", "late", "3"]


async def test_an_id_that_is_stored_already_is_refused_or_overwritten(storage):
    session, mine = await load(storage), event("mine")
    await storage.append_event(session, mine)
    if type(storage).__name__ == "FirestoreSessionService":
        await storage.append_event(session, mine.model_copy(deep=True))
        assert ids(await load(storage)) == [mine.id]
        return
    with pytest.raises(Exception) as caught:
        await storage.append_event(session, mine.model_copy(deep=True))
    assert type(caught.value).__name__ in ("IntegrityError", "AlreadyExistsError")


async def test_a_session_that_is_deleted_is_not_found(storage):
    session = await load(storage)
    await storage.delete_session(**KEY)
    with pytest.raises((ValueError, AttributeError)) as caught:
        await storage.append_event(session, event("mine"))
    assert (type(caught.value).__name__ == "SessionNotFoundError") is SERVICES_RAISE_NOT_FOUND


async def test_each_reading_is_an_object_of_its_own(storage):
    await interrupt(storage)
    first, second = await load(storage), await load(storage)
    assert first is not second
    assert first.events[0] is not second.events[0]
    assert ids(first) == ids(second)
