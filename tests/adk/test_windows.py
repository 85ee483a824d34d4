"""What a session holds of the history is its caller's choice: windows, filters, copies. A refresh adds what is new."""

import copy
import gc
import pickle
import time

import pytest
from google.adk.sessions.base_session_service import GetSessionConfig

from stale_retry.adk import RetryingSessionService, refresh_session, retry_on_stale_session
from stale_retry.adk import _known as known_module
from stale_retry.testing import no_waiting

from .app import KEY, calls_of, compaction, event, ids, interrupt, load, texts

pytestmark = pytest.mark.asyncio


async def fill(storage, count, **fields):
    for number in range(count):
        await interrupt(storage, f"{number}", **fields)


async def append_after_a_conflict(service, storage, session):
    await interrupt(storage)
    with no_waiting():
        await service.append_event(session, event("mine"))
    return texts(session)


async def test_the_last_events_of_many_with_one_date_stay_the_last(storage):
    service = RetryingSessionService(storage)
    date = time.time() - 10
    writer = await load(storage)
    for number in range(10):
        writer = await load(storage)
        await storage.append_event(writer, event(f"{number}", timestamp=date))
    session = await load(service, config=GetSessionConfig(num_recent_events=3))
    held = texts(session)
    assert len(held) == 3
    assert await append_after_a_conflict(service, storage, session) == [*held, "theirs", "mine"]


async def test_a_session_without_events_of_a_long_history_gains_only_what_is_new(storage):
    service = RetryingSessionService(storage)
    await fill(storage, 5)
    session = await load(service, config=GetSessionConfig(after_timestamp=4e9))
    assert await append_after_a_conflict(service, storage, session) == ["theirs", "mine"]


def trimmed(session):
    del session.events[:3]
    return session


def filtered(session):
    """What deployed filters do: what a compaction stands for is replaced by it."""
    return session.model_copy(update={"events": [compaction(1.0, 2.0), *session.events[3:]]})


def without_the_tail(session):
    del session.events[3:]
    return session


def replaced(session):
    return session.model_copy(update={"events": [event("what happened so far", timestamp=1.0)]})


@pytest.mark.parametrize("filter", [trimmed, filtered, without_the_tail, replaced])
async def test_what_the_caller_took_out_stays_out(storage, filter):
    service = RetryingSessionService(storage)
    await fill(storage, 5)
    session = filter(await load(service))
    held = texts(session)
    for _ in range(2):
        held = [*held, "theirs", "mine"]
        assert await append_after_a_conflict(service, storage, session) == held
    assert texts(await load(storage)) == ["0", "1", "2", "3", "4", *["theirs", "mine"] * 2]


@pytest.mark.parametrize("filter", [trimmed, filtered, without_the_tail, replaced])
async def test_nor_does_a_full_reading_bring_it_back(storage, filter):
    service = RetryingSessionService(storage, refresh="full")
    await fill(storage, 5)
    session = filter(await load(service))
    held = texts(session)
    assert await append_after_a_conflict(service, storage, session) == [*held, "theirs", "mine"]


async def test_what_the_caller_put_in_stays_where_it_is_and_is_not_waited_for(storage):
    service = RetryingSessionService(storage)
    await fill(storage, 2)
    session = await load(service)
    session.events.insert(1, event("put in"))
    assert await append_after_a_conflict(service, storage, session) == ["0", "put in", "1", "theirs", "mine"]
    assert await append_after_a_conflict(service, storage, session) == ["0", "put in", "1", *["theirs", "mine"] * 2]


async def test_what_was_put_in_is_looked_for_in_storage_once(storage):
    await fill(storage, 2)
    session = (await load(RetryingSessionService(storage))).model_copy(deep=True)
    session.events.append(event("put in"))
    readings = []
    for _ in range(2):
        await interrupt(storage, timestamp=time.time() + 10 + len(readings))
        with calls_of(storage, "get_session") as calls:
            await refresh_session(storage, session)
        readings.append(len(calls))
    assert readings == [3, 1]
    assert texts(session) == ["0", "1", "put in", "theirs", "theirs"]


COPIES = [
    lambda session: session.model_copy(),
    lambda session: session.model_copy(deep=True),
    copy.deepcopy,
    lambda session: pickle.loads(pickle.dumps(session)),
]


@pytest.mark.parametrize("copied", COPIES)
@pytest.mark.parametrize("window", [0, 2, None])
async def test_a_copy_of_a_session_gains_what_is_new_and_nothing_else(storage, copied, window):
    service = RetryingSessionService(storage)
    await fill(storage, 5)
    config = GetSessionConfig(after_timestamp=4e9) if window == 0 else GetSessionConfig(num_recent_events=window)
    session = copied(await load(service, config=config))
    held = texts(session)
    assert await append_after_a_conflict(service, storage, session) == [*held, "theirs", "mine"]
    assert session.state == (await load(storage)).state


async def test_a_copy_of_a_session_whose_own_event_is_late_keeps_its_window(storage):
    service = RetryingSessionService(storage)
    await fill(storage, 3, timestamp=time.time())
    session = await load(storage, config=GetSessionConfig(num_recent_events=1))
    await storage.append_event(session, event("late", timestamp=1.0))
    session = session.model_copy(deep=True)
    held = texts(session)
    assert (await append_after_a_conflict(service, storage, session))[-2:] == ["theirs", "mine"]
    assert set(texts(session)) == {*held, "theirs", "mine"}


async def test_a_decorated_services_sessions_gain_what_is_new_and_nothing_else(tmp_path):
    from google.adk.sessions.sqlite_session_service import SqliteSessionService

    class Own(SqliteSessionService):
        @retry_on_stale_session()
        async def append_event(self, session, event):
            return await super().append_event(session, event)

    service = Own(str(tmp_path / "own.db"))
    await service.create_session(**KEY)
    await fill(service, 5)
    for window in (GetSessionConfig(after_timestamp=4e9), GetSessionConfig(num_recent_events=2)):
        session = await load(service, config=window)
        held = texts(session)
        assert await append_after_a_conflict(service, service, session) == [*held, "theirs", "mine"]


async def test_one_event_of_the_future_and_a_hundred_own_ones_are_in_the_session_once(storage):
    service = RetryingSessionService(storage)
    session = await load(service)
    await interrupt(storage, "future", timestamp=time.time() + 3600)
    await refresh_session(storage, session)
    for number in range(101):
        await service.append_event(session, event(f"{number}"))
    await interrupt(storage, timestamp=time.time() + 7200)
    with no_waiting():
        await service.append_event(session, event("mine"))
    assert len(ids(session)) == len(set(ids(session))) == 104
    assert ids(session) == ids(await load(storage))


async def test_an_event_that_a_refresh_found_before_its_append_came_back_is_there_once(storage):
    service = RetryingSessionService(storage)
    session, mine = await load(service), event("mine")
    append = storage.append_event

    async def append_while_another_refreshes(*, session, event):
        storage.append_event = append
        before = session.model_copy(deep=True)
        await append(session=before, event=event)
        await refresh_session(storage, session)
        session.events.append(event)
        return event

    storage.append_event = append_while_another_refreshes
    await service.append_event(session, mine)
    assert session.events == [mine]
    assert session.events[0] is mine


async def test_what_is_known_of_a_session_goes_with_it(sql):
    service = RetryingSessionService(sql)
    await fill(sql, 2)
    gc.collect()
    before = len(known_module._all_known)
    sessions = [await load(service) for _ in range(10)]
    await interrupt(sql)
    with no_waiting():
        for session in sessions:
            await service.append_event(session, event("mine"))
    assert len(known_module._all_known) == before + 10
    del sessions, session
    gc.collect()
    assert len(known_module._all_known) <= before


async def test_a_session_that_was_created_has_no_window(strict):
    """What others store in it is new, whatever its date."""
    service, key = RetryingSessionService(strict), {**KEY, "session_id": "created"}
    session = await service.create_session(**key)
    other = await strict.get_session(**key)
    await strict.append_event(other, event("theirs", timestamp=session.last_update_time - 10))
    with no_waiting():
        await service.append_event(session, event("mine"))
    assert texts(session) == ["theirs", "mine"]
