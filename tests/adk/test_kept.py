"""Who waited for his place is brought up to date by what this process knows, which forgets it soon."""

import asyncio
import gc
import weakref

import pytest
from google.adk.sessions.sqlite_session_service import SqliteSessionService

from stale_retry.adk import RetryingSessionService
from stale_retry.adk import _kept as kept
from stale_retry.adk._kept import kept_sessions
from stale_retry.testing import no_waiting

from .app import APP, KEY, calls_of, event, ids, interrupt, load, texts

pytestmark = pytest.mark.asyncio


async def contend(service, writers, events, key=KEY):
    sessions = [await service.get_session(**key) for _ in range(writers)]

    async def write(session):
        for number in range(events):
            await service.append_event(session, event(f"{number}"))

    await asyncio.gather(*map(write, sessions))
    return sessions


async def test_of_many_writers_of_one_process_one_reads_and_nobody_is_rejected(strict):
    service = RetryingSessionService(strict)
    before = [await load(service) for _ in range(6)]

    async def write(session):
        for number in range(3):
            await service.append_event(session, event(f"{number}"))

    with calls_of(strict, "append_event") as appends, calls_of(strict, "get_session") as readings:
        await asyncio.gather(*map(write, before))
    assert len(readings) == 1
    assert len(appends) <= 18 + 1  # who finds the place free, because a fake never makes anybody wait, does not know
    stored = await load(strict)
    assert len(stored.events) == 18
    last = max(before, key=lambda session: session.events[-1].timestamp)
    assert ids(last) == ids(stored)


async def test_what_another_process_stored_in_between_is_read(strict):
    service = RetryingSessionService(strict)
    sessions = [await load(service) for _ in range(4)]
    append, foreign = strict.append_event, []

    async def append_event(session, event):
        if len(foreign) == 0 and len(session.events) == 2:
            foreign.append(event)
            strict.append_event = append
            await interrupt(strict, state={"theirs": 1})
        return await append(session, event)

    strict.append_event = append_event
    with no_waiting():
        await asyncio.gather(*(service.append_event(session, event("mine")) for session in sessions))
    stored = await load(strict)
    assert sorted(texts(stored)) == ["mine"] * 4 + ["theirs"]
    last = max(sessions, key=lambda session: len(session.events))
    assert (ids(last), last.state) == (ids(stored), stored.state)


async def test_once_storage_was_otherwise_it_is_read_until_it_is_not(strict):
    """Where other processes write all the time, what is kept would be wrong every time, and each append be rejected."""
    service = RetryingSessionService(strict)
    sessions = [await load(service) for _ in range(5)]
    append, seen = strict.append_event, []

    async def append_event(session, event):
        seen.append(event)
        if len(seen) in (2, 3, 4):
            strict.append_event = append
            await interrupt(strict)
            strict.append_event = append_event
        return await append(session, event)

    strict.append_event = append_event
    with no_waiting(), calls_of(strict, "get_session") as readings:
        await asyncio.gather(*(service.append_event(session, event("mine")) for session in sessions))
    assert len(texts(await load(strict))) == 8
    assert len(readings) <= 3 + 5  # theirs, and one for each that is stale or distrusts what is kept


async def test_who_is_cancelled_while_he_reads_harms_nobody(sqlite_database, monkeypatch):
    monkeypatch.setattr("stale_retry.adk._whole_calls.PATIENCE", 0.01)
    service = RetryingSessionService(sqlite_database)
    sessions = [await load(service) for _ in range(4)]
    get_session, reading = sqlite_database.get_session, asyncio.Event()

    async def get_session_for_ever(**arguments):
        sqlite_database.get_session = get_session
        reading.set()
        await asyncio.Event().wait()

    sqlite_database.get_session = get_session_for_ever
    tasks = [asyncio.create_task(service.append_event(session, event(f"{n}"))) for n, session in enumerate(sessions)]
    await reading.wait()
    tasks[1].cancel()
    outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(outcome) for outcome in outcomes].count(asyncio.CancelledError) == 1
    assert texts(await load(sqlite_database)) == ["0", "2", "3"]


async def test_what_one_takes_is_his_own(strict):
    """Nobody sees what another does to his session, its events or its state. Only an event's content is shared."""
    service = RetryingSessionService(strict)
    sessions = [await load(service) for _ in range(4)]
    for _ in range(2):
        await asyncio.gather(*(service.append_event(each, event("text", state={"a": [1]})) for each in sessions))
    *_, one, other = sorted(sessions, key=lambda session: len(session.events))
    for each in one.events:
        each.content, each.timestamp = None, 0.0
    one.state["a"].append(2)
    assert set(texts(other)) == {"text"}
    assert min(each.timestamp for each in other.events) > 0
    assert other.state["a"] == [1]
    await contend(service, 3, 1)
    assert (await load(strict)).state["a"] == [1]


async def test_nothing_is_kept_of_sessions_that_are_idle(tmp_path, monkeypatch):
    service = RetryingSessionService(SqliteSessionService(str(tmp_path / "sessions.db")))
    keys = [{**APP, "session_id": f"{number}"} for number in range(50)]
    for key in keys:
        await service.create_session(**key)
    await asyncio.gather(*(contend(service, 3, 1, key) for key in keys))
    assert len(kept_sessions()) == 50
    monkeypatch.setattr(kept, "LINGER", 0.0)
    kept_sessions()._sweep()
    assert len(kept_sessions()) == 0


async def test_nothing_is_kept_where_nobody_waits(storage):
    service = RetryingSessionService(storage)
    session = await load(service)
    with no_waiting():
        for _ in range(3):
            await interrupt(storage)
            await service.append_event(session, event("mine"))
    assert len(kept_sessions()) == 0


async def test_no_more_is_kept_than_so_many_events(sqlite_database, monkeypatch):
    monkeypatch.setattr(kept, "LONGEST", 5)
    service = RetryingSessionService(sqlite_database)
    with calls_of(sqlite_database, "append_event") as appends:
        await contend(service, 4, 5)
    assert len(appends) == 20
    held = kept_sessions()._kept.values()
    assert all(len(each.stored.events) <= 5 for each in held)


async def contend_in_a_loop_that_ends(service):
    await service.create_session(**KEY)
    await contend(service, 3, 2)
    assert len(kept_sessions()) == 1
    return weakref.ref(asyncio.get_running_loop())


async def test_an_event_loop_that_is_over_is_freed(tmp_path):
    """What is kept does not keep it alive, nor makes it last."""
    service = RetryingSessionService(SqliteSessionService(str(tmp_path / "sessions.db")))
    loop = await asyncio.to_thread(asyncio.run, contend_in_a_loop_that_ends(service))
    gc.collect()
    assert loop() is None


async def test_of_a_session_that_was_made_anew_meanwhile_nothing_kept_makes_a_success(strict):
    """Who waited is behind by what is kept, and that is of the conversation which is gone."""
    service = RetryingSessionService(strict, deadline=10)
    await contend(service, 3, 2)
    late = [await load(service) for _ in range(3)]
    await strict.delete_session(**KEY)
    await strict.create_session(**KEY)
    with no_waiting():
        outcomes = await asyncio.gather(
            *(service.append_event(each, event("late")) for each in late), return_exceptions=True
        )
    assert all(isinstance(outcome, ValueError) for outcome in outcomes)
    assert (await load(strict)).events == []
