"""What goes wrong with the obvious loop, which loads the session again and appends again; and that it does not here."""

import time

import pytest
from google.adk.sessions import BaseSessionService
from google.adk.sessions.state import State

from stale_retry import is_stale_session_error
from stale_retry.adk import RetryingSessionService
from stale_retry.testing import no_waiting

from .app import KEY, calls_of, compaction, event, ids, interrupt, load
from .releases import EVENT_DATES_THE_SESSION

pytestmark = pytest.mark.asyncio


class ObviousLoop:
    """What people write. Returns the session it stored through, since the caller's own is of no use any more."""

    def __init__(self, service):
        self.service = service

    async def append_event(self, session, event):
        try:
            await self.service.append_event(session=session, event=event)
        except ValueError as error:
            if not is_stale_session_error(error):
                raise
            session = await load(self.service)
            await self.service.append_event(session=session, event=event)
        return session


class Ours:
    def __init__(self, service):
        self.service = RetryingSessionService(service)

    async def append_event(self, session, event):
        with no_waiting():
            await self.service.append_event(session=session, event=event)
        return session


async def write(session, key, value):
    """What `ctx.state[key] = value` does: at once to the session, and to the event that is yet to come."""
    coming = event(state={})
    State(session.state, coming.actions.state_delta)[key] = value
    return coming


async def after_a_conflict_with_temp_state(way, service):
    session = await load(service)
    await interrupt(service)
    return (await way(service).append_event(session, await write(session, "temp:found", 7))).state


async def test_temp_state_survives(storage):
    assert "temp:found" not in await after_a_conflict_with_temp_state(ObviousLoop, storage)
    assert (await after_a_conflict_with_temp_state(Ours, storage))["temp:found"] == 7


async def calls_of_three_appends_after_one_conflict(way, service):
    session = await load(service)
    await interrupt(service)
    appending = way(service)
    with calls_of(service, "append_event") as calls:
        for number in range(3):
            await appending.append_event(session, event(f"mine {number}"))
    return len(calls), ids(session) == ids(await load(service))


async def test_the_next_append_after_a_recovery_takes_one_call_and_the_history_is_whole(storage):
    assert await calls_of_three_appends_after_one_conflict(ObviousLoop, storage) == (6, False)
    assert await calls_of_three_appends_after_one_conflict(Ours, storage) == (4, True)


async def state_with_a_write_not_yet_appended(way, service):
    session = await load(service)
    await write(session, "draft", "not yet appended")
    await interrupt(service, state={"theirs": 1})
    return (await way(service).append_event(session, event("mine"))).state


async def test_writes_not_yet_appended_survive(storage):
    assert "draft" not in await state_with_a_write_not_yet_appended(ObviousLoop, storage)
    ours = await state_with_a_write_not_yet_appended(Ours, storage)
    assert (ours["draft"], ours["theirs"]) == ("not yet appended", 1)


async def what_contexts_hold(way, service):
    session = await load(service)
    events, state = session.events, State(session.state, {})
    await interrupt(service, state={"theirs": 1})
    stored_through = await way(service).append_event(session, event("mine"))
    return stored_through.events is events, state.get("theirs")


async def test_events_and_state_stay_the_same_objects_for_whoever_holds_them(storage):
    assert await what_contexts_hold(ObviousLoop, storage) == (False, None)
    assert await what_contexts_hold(Ours, storage) == (True, 1)


async def is_third_writer_rejected(way, service):
    """A and B load, B appends, C loads, A retries an event older than B's, C appends without having seen A's."""
    a, b = await load(service), await load(service)
    now = max(time.time(), a.last_update_time)
    await service.append_event(b, event("B", timestamp=now + 2))
    c = await load(service)
    await way(service).append_event(a, event("A", timestamp=now + 1))
    try:
        await service.append_event(c, event("C", timestamp=now + 3))
    except ValueError as error:
        return is_stale_session_error(error)
    return False


async def test_after_a_retried_append_the_next_stale_writer_is_still_rejected(sqlite_service):
    assert await is_third_writer_rejected(ObviousLoop, sqlite_service) is not EVENT_DATES_THE_SESSION
    assert await is_third_writer_rejected(Ours, sqlite_service)


async def order_in_memory_and_in_storage(way, service):
    session = await load(service)
    theirs = await interrupt(service, timestamp=time.time() + 60)
    mine = event("mine", timestamp=theirs.timestamp - 30)
    session = await way(service).append_event(session, mine)
    return ids(session)[-2:] == [theirs.id, mine.id], ids(session) == ids(await load(service))


async def test_the_order_in_memory_is_the_order_in_storage(storage):
    assert await order_in_memory_and_in_storage(ObviousLoop, storage) == (True, False)
    assert await order_in_memory_and_in_storage(Ours, storage) == (True, True)


async def events_read_back_in_a_long_session(way, service):
    writer = await load(service)
    for age in range(101, 1, -1):
        await service.append_event(writer, event("past", timestamp=time.time() - 100 * age))
    session = await load(service)
    await interrupt(service)
    with calls_of(service, "get_session") as calls:
        await way(service).append_event(session, event("mine"))
    return [len(loaded.events) for loaded in calls]


async def test_what_is_read_back_does_not_grow_with_the_session(storage):
    assert all(count > 100 for count in await events_read_back_in_a_long_session(ObviousLoop, storage))
    assert all(count < 10 for count in await events_read_back_in_a_long_session(Ours, storage))


async def is_a_summary_of_what_has_changed_stored(way, service):
    session = await load(service)
    await interrupt(service)
    summary = compaction(end=4e9)
    await way(service).append_event(session, summary)
    return summary.id in ids(await load(service))


async def test_a_summary_that_is_not_true_any_longer_is_not_stored(storage):
    assert await is_a_summary_of_what_has_changed_stored(ObviousLoop, storage)
    assert not await is_a_summary_of_what_has_changed_stored(Ours, storage)


async def append_of_what_is_stored_already(way, service):
    """The acknowledgement was lost: the caller knows of nothing, but the event is stored."""
    session, mine = await load(service), event("mine", state={"mine": 1})
    await service.append_event(await load(service), mine.model_copy(deep=True))
    await way(service).append_event(session, mine)
    stored = await load(service)
    return session.events[-1] is mine, ids(stored) == ids(session), ids(stored).count(mine.id), session.state["mine"]


async def test_an_event_that_is_stored_already_is_settled(storage):
    with pytest.raises(Exception, match=r"(?i)unique|duplicate|already exists|out of range"):
        await append_of_what_is_stored_already(ObviousLoop, storage)
    assert await append_of_what_is_stored_already(Ours, storage) == (True, True, 1, 1)


async def test_a_partial_event_is_returned_and_never_stored(storage):
    session = await load(storage)
    await interrupt(storage)
    partial = event("par", partial=True)
    with calls_of(storage, "append_event") as calls:
        assert await RetryingSessionService(storage).append_event(session, partial) is partial
    assert (len(calls), ids(session)) == (1, [])


class FiveMethods(BaseSessionService):
    """A wrapper as people write it."""

    def __init__(self, service):
        self.service = service

    async def create_session(self, **arguments):
        return await self.service.create_session(**arguments)

    async def get_session(self, **arguments):
        return await self.service.get_session(**arguments)

    async def list_sessions(self, **arguments):
        return await self.service.list_sessions(**arguments)

    async def delete_session(self, **arguments):
        await self.service.delete_session(**arguments)

    async def append_event(self, session, event):
        return await ObviousLoop(self.service).append_event(session, event)


async def test_nothing_of_the_wrapped_service_is_hidden(sqlite_database):
    obvious, ours = FiveMethods(sqlite_database), RetryingSessionService(sqlite_database)
    assert not hasattr(obvious, "db_engine")
    assert not hasattr(obvious, "close")
    assert ours.db_engine is sqlite_database.db_engine
    async with ours as entered:
        assert entered is ours
        assert await entered.get_session(**KEY)
