"""`refresh_session`: what a session has afterwards, and how much was read for it."""

import time

import pytest
from google.adk.sessions import InMemorySessionService
from google.adk.sessions.base_session_service import GetSessionConfig
from google.adk.sessions.sqlite_session_service import SqliteSessionService

from stale_retry.adk import RetryingSessionService, refresh_session
from stale_retry.adk._reading import OVERLAP_SECONDS

from .app import APP, KEY, calls_of, event, ids, interrupt, load, texts
from .releases import EVENT_DATES_THE_SESSION

pytestmark = pytest.mark.asyncio

OVERLAP_EVENTS = 10


@pytest.fixture(autouse=True)
def short_overlap(monkeypatch):
    monkeypatch.setattr("stale_retry.adk._reading.OVERLAP_EVENTS", OVERLAP_EVENTS)


async def fill(service, count, *, seconds=0.001, until=None):
    """Store events that far apart, the last one `seconds` before `until`, which is now unless told otherwise."""
    until = until or time.time()
    writer = await load(service)
    for number in range(count):
        await service.append_event(writer, event(f"{number}", timestamp=until - seconds * (count - number)))
    return until


async def reads_of_refresh(service, session, **options):
    """The number of events in each answer of storage."""
    with calls_of(service, "get_session") as calls:
        await refresh_session(service, session, **options)
    return [len(answer.events) for answer in calls]


async def test_it_returns_the_very_session_and_leaves_nothing_stale(storage):
    session = await load(storage)
    await interrupt(storage)
    assert await refresh_session(storage, session) is session
    await storage.append_event(session, event("mine"))
    assert texts(session) == ["theirs", "mine"] == texts(await load(storage))


async def test_a_session_that_is_gone_is_none(storage):
    session = await load(storage)
    await storage.delete_session(**KEY)
    assert await refresh_session(storage, session) is None


async def test_the_sessions_own_event_objects_stay(storage):
    session = await load(storage)
    mine = await storage.append_event(session, event("mine"))
    await interrupt(storage)
    await refresh_session(storage, session)
    assert session.events[0] is mine


async def test_state_of_other_sessions_of_the_user_and_the_app_is_taken(storage):
    session = await load(storage)
    session.state["user:name"] = "stale"
    other = await storage.create_session(**APP, session_id="other")
    await storage.append_event(other, event(state={"user:name": "Ada", "app:theme": "dark"}))
    await refresh_session(storage, session)
    assert (session.state["user:name"], session.state["app:theme"]) == ("Ada", "dark")


async def test_a_write_not_yet_appended_to_a_stored_key_stays_unless_that_key_was_stored_anew(storage):
    await interrupt(storage, state={"mine": "old", "theirs": "old"})
    session = await load(storage)
    session.state["mine"] = session.state["theirs"] = "not yet appended"
    await interrupt(storage, state={"theirs": "new"})
    await refresh_session(storage, session)
    assert (session.state["mine"], session.state["theirs"]) == ("not yet appended", "new")


@pytest.mark.parametrize("mode", ["incremental", "full"])
async def test_a_session_with_the_last_events_keeps_its_window(storage, mode):
    await fill(storage, 10)
    session = await load(storage, config=GetSessionConfig(num_recent_events=3))
    await interrupt(storage)
    await refresh_session(storage, session, mode=mode)
    assert texts(session) == ["7", "8", "9", "theirs"]


@pytest.mark.parametrize("mode", ["incremental", "full"])
async def test_a_session_with_the_events_since_a_time_keeps_its_window(storage, mode):
    until = await fill(storage, 10)
    service = RetryingSessionService(storage)
    session = await load(service, config=GetSessionConfig(after_timestamp=until - 0.0035))
    await interrupt(storage, "late", timestamp=until - 0.0034)
    await interrupt(storage)
    await refresh_session(storage, session, mode=mode)
    assert texts(session) == ["late", "7", "8", "9", "theirs"]


async def test_a_session_without_events_of_a_long_history_gains_only_what_is_new(storage):
    service = RetryingSessionService(storage)
    await fill(storage, 10)
    # Everything is excluded by a time in the future: num_recent_events=0 means "all" to the older releases.
    session = await load(service, config=GetSessionConfig(after_timestamp=4e9))
    assert session.events == []
    await interrupt(storage, timestamp=5e9)
    await refresh_session(storage, session)
    assert texts(session) == ["theirs"]


async def test_a_late_event_is_put_where_storage_has_it(storage):
    until = await fill(storage, 4, seconds=1)
    session = await load(RetryingSessionService(storage))
    await interrupt(storage, "late", timestamp=until - 2.5)
    await interrupt(storage, "last")
    await refresh_session(storage, session)
    assert texts(session) == ["0", "1", "late", "2", "3", "last"]


async def test_a_whole_history_gains_even_an_event_dated_before_all_of_it(storage):
    service = RetryingSessionService(storage)
    session = await load(service)
    until = time.time()
    await service.append_event(session, event("mine", timestamp=until))
    await interrupt(storage, "late", timestamp=until - 1)
    await interrupt(storage, "last", timestamp=until + 1)
    await refresh_session(storage, session)
    assert texts(session) == ["late", "mine", "last"]


async def test_of_a_busy_session_one_with_the_last_events_reads_no_more_than_the_overlap(storage):
    await fill(storage, 3 * OVERLAP_EVENTS)
    session = await load(storage, config=GetSessionConfig(num_recent_events=3))
    theirs = [(await interrupt(storage)).id for _ in range(2)]
    assert await reads_of_refresh(storage, session) == [OVERLAP_EVENTS]
    assert (len(session.events), ids(session)[-2:]) == (5, theirs)


async def test_the_last_event_is_found_however_late_it_is(storage):
    until = await fill(storage, 3, seconds=100 * OVERLAP_SECONDS)
    session = await load(RetryingSessionService(storage))
    await interrupt(storage, "late", timestamp=until - 150 * OVERLAP_SECONDS)
    await refresh_session(storage, session)
    # Where a session's update time is the clock's, it does not tell the date of the last event.
    found = EVENT_DATES_THE_SESSION or not isinstance(storage, SqliteSessionService)
    assert (texts(session) == texts(await load(storage))) is found


async def test_a_session_far_behind_a_busy_one_catches_up(storage):
    session = await load(RetryingSessionService(storage))
    await fill(storage, 2 * OVERLAP_EVENTS)
    await refresh_session(storage, session)
    assert ids(session) == ids(await load(storage))


async def test_no_more_events_are_read_than_the_overlap_holds(sqlite_service):
    await fill(sqlite_service, 3 * OVERLAP_EVENTS)
    session = await load(sqlite_service)
    await interrupt(sqlite_service)
    assert await reads_of_refresh(sqlite_service, session) == [OVERLAP_EVENTS]
    assert ids(session) == ids(await load(sqlite_service))


async def test_of_a_quiet_session_only_what_is_new_and_the_event_before_it_are_read(storage):
    until = await fill(storage, 5, seconds=2 * OVERLAP_SECONDS)
    session = await load(RetryingSessionService(storage))
    await interrupt(storage, timestamp=until)
    (count,) = await reads_of_refresh(storage, session)
    assert count <= 2
    assert ids(session) == ids(await load(storage))


async def test_a_session_that_was_refreshed_is_read_back_from_there_on(storage):
    service = RetryingSessionService(storage)
    session = await load(service)
    until = await fill(storage, 5, seconds=2 * OVERLAP_SECONDS, until=session.last_update_time + 11 * OVERLAP_SECONDS)
    await refresh_session(storage, session)
    await interrupt(storage, timestamp=until)
    counts = await reads_of_refresh(storage, session)
    assert sum(counts) <= 2 or not EVENT_DATES_THE_SESSION
    assert ids(session) == ids(await load(storage))


async def test_what_a_session_appended_late_itself_is_put_where_storage_has_it(storage):
    session = await load(storage)
    until = time.time()
    for text, earlier in (("1", 50), ("3", 30), ("2", 40), ("4", 0)):
        await storage.append_event(session, event(text, timestamp=until - earlier))
    assert texts(session) == ["1", "3", "2", "4"]
    await interrupt(storage, "5", timestamp=until + 1)
    await refresh_session(storage, session)
    assert texts(session) == ["1", "2", "3", "4", "5"] == texts(await load(storage))


async def test_full_reads_everything_once(storage):
    until = await fill(storage, 5, seconds=2 * OVERLAP_SECONDS)
    session = await load(storage)
    await interrupt(storage, timestamp=until)
    assert await reads_of_refresh(storage, session, mode="full") == [6]


async def test_what_is_appended_through_the_session_while_it_is_read_is_kept(storage):
    session = await load(storage)
    await interrupt(storage)
    read = storage.get_session

    async def read_slowly(**arguments):
        answer = await read(**arguments)
        # A parallel branch of the same turn got ahead meanwhile: refreshed, appended.
        storage.get_session = read
        await refresh_session(storage, session)
        await storage.append_event(session, event("parallel branch"))
        return answer

    storage.get_session = read_slowly
    await refresh_session(storage, session)
    assert texts(session) == ["theirs", "parallel branch"]


async def test_a_service_that_ignores_what_is_asked_is_refreshed_too(sqlite_service):
    read = sqlite_service.get_session
    until = await fill(sqlite_service, 5, seconds=2 * OVERLAP_SECONDS)
    session = await load(RetryingSessionService(sqlite_service))

    async def read_all(*, config=None, **arguments):
        return await read(**arguments)

    sqlite_service.get_session = read_all
    await interrupt(sqlite_service, timestamp=until)
    await refresh_session(sqlite_service, session)
    assert ids(session) == ids(await load(sqlite_service))


async def test_an_answer_without_what_the_session_knows_of_that_time_is_not_trusted():
    """InMemorySessionService stops at a late event and leaves out what was stored before it."""
    service = InMemorySessionService()
    await service.create_session(**KEY)
    until = time.time()
    await interrupt(service, "1", timestamp=until)
    session = await load(RetryingSessionService(service))
    for text, later in (("2", 1), ("late", -10 * OVERLAP_SECONDS), ("3", 2)):
        await interrupt(service, text, timestamp=until + later)
    await refresh_session(service, session)
    assert texts(session) == ["1", "2", "late", "3"]
