"""A caller that waited in the queue is brought up to date by what this process stored, and nothing is kept of that."""

import asyncio
import gc
import weakref

import pytest
from google.adk.sessions import DatabaseSessionService
from google.adk.sessions.sqlite_session_service import SqliteSessionService
from google.genai import types

from stale_retry.adk import RetryingSessionService
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


async def test_of_many_writers_of_one_process_none_reads_and_none_is_rejected(strict):
    service = RetryingSessionService(strict)
    before = [await load(service) for _ in range(6)]

    async def write(session):
        for number in range(3):
            await service.append_event(session, event(f"{number}"))

    with calls_of(strict, "append_event") as appends, calls_of(strict, "get_session") as readings:
        await asyncio.gather(*map(write, before))
    # A fake never makes anybody wait, so there a caller may find the slot free and its session stale.
    assert len(readings) == len(appends) - 18 <= 1
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


async def test_a_caller_that_is_cancelled_while_it_reads_harms_no_other(strict, monkeypatch):
    monkeypatch.setattr("stale_retry.adk._whole_calls.PATIENCE", 0.01)
    service = RetryingSessionService(strict)
    sessions = [await load(service) for _ in range(4)]
    await interrupt(strict)
    get_session, reading = strict.get_session, asyncio.Event()

    async def get_session_for_ever(**arguments):
        strict.get_session = get_session
        reading.set()
        await asyncio.Event().wait()

    strict.get_session = get_session_for_ever
    tasks = [asyncio.create_task(service.append_event(session, event(f"{n}"))) for n, session in enumerate(sessions)]
    await reading.wait()
    tasks[0].cancel()
    outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(outcome) for outcome in outcomes].count(asyncio.CancelledError) == 1
    assert texts(await load(strict)) == ["theirs", "1", "2", "3"]


async def test_what_a_caller_takes_is_its_own(strict):
    """No caller sees what another one does to its session, its events or its state."""
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


async def test_what_a_request_changes_in_a_call_is_not_seen_by_another_context(strict):
    """google-adk copies a part for each request, and not the arguments of a call and the response in it."""
    service = RetryingSessionService(strict)
    sessions = [await load(service) for _ in range(4)]
    call = types.Part(function_call=types.FunctionCall(name="pay", args={"card": {"number": "4711"}}))
    response = types.Part(function_response=types.FunctionResponse(name="pay", response={"paid": [1]}))
    pay = event("pay", custom_metadata={"a": 1})
    pay.content.parts += [call, response]
    await service.append_event(sessions[0], pay)
    await asyncio.gather(*(service.append_event(each, event("text")) for each in sessions[1:]))
    one, other = ([part for part in each.events[0].content.parts if not part.text] for each in sessions[2:])
    one[0].function_call.args["card"]["number"] = "****"
    one[1].function_response.response["paid"].append(2)
    sessions[2].events[0].actions.state_delta["b"] = 1
    sessions[2].events[0].custom_metadata["a"] = 2
    assert other[0].function_call.args == {"card": {"number": "4711"}}
    assert other[1].function_response.response == {"paid": [1]}
    assert sessions[3].events[0].actions.state_delta == {}
    assert sessions[3].events[0].custom_metadata["a"] == 1


async def test_what_the_caller_does_to_its_event_afterwards_is_not_taken_for_stored(strict):
    service = RetryingSessionService(strict)
    sessions = [await load(service) for _ in range(3)]
    events = [event(f"{number}", state={"list": [number]}) for number in range(3)]

    async def write(session, mine):
        await service.append_event(session, mine)
        mine.content.parts[0].text = "changed"
        mine.actions.state_delta["list"].append("changed")

    await asyncio.gather(*map(write, sessions, events))
    assert texts(sessions[2])[:2] == ["0", "1"]
    assert (await load(strict)).state == {"list": [2]}


async def test_a_caller_after_a_lost_answer_reads(strict):
    """What was known before it is forgotten, so the next caller is not rejected."""
    service = RetryingSessionService(strict)
    sessions = [await load(service) for _ in range(4)]
    append, calls, accepted = strict.append_event, [], []

    async def append_event(session, event):
        calls.append(event)
        stored = await append(session, event)
        accepted.append(event)
        if len(accepted) == 2:
            raise ConnectionError
        return stored

    strict.append_event = append_event
    with no_waiting():
        outcomes = await asyncio.gather(
            *(service.append_event(each, event(f"{n}")) for n, each in enumerate(sessions)), return_exceptions=True
        )
    assert [type(outcome) for outcome in outcomes].count(ConnectionError) == 1
    assert texts(sessions[3]) == ["0", "1", "2", "3"] == texts(await load(strict))
    if isinstance(strict, DatabaseSessionService):  # a fake never makes anybody wait
        assert len(calls) == 4


async def test_state_that_the_store_writes_otherwise_is_read(sqlite_service):
    service = RetryingSessionService(sqlite_service)
    sessions = [await load(service) for _ in range(3)]
    states = [{"k": None, "d": {"a": 1}}, {"d": {"b": 1}}, {}]
    await asyncio.gather(
        *(service.append_event(each, event(state=s)) for each, s in zip(sessions, states, strict=True))
    )
    assert sessions[2].state == (await load(sqlite_service)).state


async def test_a_service_that_checks_in_two_steps_is_read(sqlite_service):
    """An append of another process that overlapped in time shows in no version, and is in the next session."""
    service = RetryingSessionService(sqlite_service)
    sessions = [await load(service) for _ in range(3)]
    append, overlapping = sqlite_service.append_event, event("overlapping")

    async def append_event(session, event):
        sqlite_service.append_event = append
        other = await load(sqlite_service)
        stored = await append(session, event)
        other.last_update_time = session.last_update_time
        overlapping.timestamp = event.timestamp - 1e-4
        await append(other, overlapping)
        return stored

    sqlite_service.append_event = append_event
    with no_waiting():
        await asyncio.gather(*(service.append_event(each, event(f"{n}")) for n, each in enumerate(sessions)))
    assert "overlapping" in texts(sessions[1])
    assert sorted(texts(sessions[2])) == sorted(texts(await load(sqlite_service)))


async def test_what_other_sessions_have_too_is_as_they_left_it():
    """A write of an `app:` key through another session makes no session stale, and is seen by the next caller."""
    database = DatabaseSessionService("sqlite+aiosqlite:///:memory:")
    service = RetryingSessionService(database)
    await service.create_session(**KEY)
    other = await service.create_session(**APP, session_id="other")
    sessions = [await load(service) for _ in range(4)]
    await service.append_event(other, event(state={"app:k": 1, "user:k": 1}))
    await asyncio.gather(*(service.append_event(each, event("text")) for each in sessions))
    assert sessions[3].state == {"app:k": 1, "user:k": 1}
    await database.close() if hasattr(database, "close") else await database.db_engine.dispose()


async def test_nothing_is_kept_of_sessions_that_are_idle():
    database = DatabaseSessionService("sqlite+aiosqlite:///:memory:")
    service = RetryingSessionService(database)
    keys = [{**APP, "session_id": f"{number}"} for number in range(5)]
    for key in keys:
        await service.create_session(**key)
    await asyncio.gather(*(contend(service, 3, 2, key) for key in keys))
    assert len(service.retrying.stored) == 0
    await database.db_engine.dispose()


async def test_nothing_is_kept_if_the_last_waiter_is_cancelled(sqlite_database):
    service = RetryingSessionService(sqlite_database)
    sessions = [await load(service) for _ in range(3)]
    tasks = [asyncio.create_task(service.append_event(each, event("text"))) for each in sessions]
    await tasks[0]
    tasks[2].cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    gc.collect()
    assert len(service.retrying.stored) == 0


async def test_after_so_many_appends_a_waiter_reads_again(sqlite_database, monkeypatch):
    """So that a queue which is never empty keeps no more than that."""
    monkeypatch.setattr("stale_retry.adk._stored.LONGEST", 15)
    service = RetryingSessionService(sqlite_database)
    with calls_of(sqlite_database, "append_event") as appends, calls_of(sqlite_database, "get_session") as readings:
        await contend(service, 4, 5)
    assert len(appends) == 20
    assert len(readings) > 4  # contend loads four


async def contend_in_a_loop_that_ends(service):
    await service.create_session(**KEY)
    await contend(service, 3, 2)
    return weakref.ref(asyncio.get_running_loop())


async def test_an_event_loop_that_is_over_is_freed(tmp_path):
    """What is kept does not keep it alive."""
    service = RetryingSessionService(SqliteSessionService(str(tmp_path / "sessions.db")))
    loop = await asyncio.to_thread(asyncio.run, contend_in_a_loop_that_ends(service))
    gc.collect()
    assert loop() is None


async def test_a_session_that_was_recreated_under_its_id_is_gone_for_all_that_wait(strict):
    """What is kept was read for a caller that has the new session, and tells the others of another conversation."""
    await interrupt(strict, "old")
    service = RetryingSessionService(strict, deadline=10, refresh="full")
    late = [await load(service) for _ in range(3)]
    await strict.delete_session(**KEY)
    await strict.create_session(**KEY)
    session = await load(service)
    for text in ("new", "newer"):
        await interrupt(strict, text)
    with no_waiting():
        outcome, *others = await asyncio.gather(
            *(service.append_event(each, event(f"{number}")) for number, each in enumerate([session, *late])),
            return_exceptions=True,
        )
    assert outcome.content.parts[0].text == "0"
    assert all(isinstance(each, ValueError) for each in others)
    assert texts(await load(strict)) == ["new", "newer", "0"]
