"""`state_conflicts` holds for every write of a key: of events that wait with it, and of a whole invocation."""

import asyncio

import pytest

from stale_retry.adk import RetryingSessionService, StateConflictError
from stale_retry.testing import no_waiting

from .app import event, interrupt, load, texts
from .test_state import add, write

pytestmark = pytest.mark.asyncio


async def prepared(storage, values, *, state_conflicts=add, into_state=True):
    """Events that each write the key "k", made before the first of them is appended; others store 10 more meanwhile."""
    service = RetryingSessionService(storage, state_conflicts=state_conflicts)
    await interrupt(storage, state={"k": 0})
    session = await load(service)
    events = []
    for value in values:
        mine = event(f"{value}", author="agent", state={} if into_state else {"k": value})
        if into_state:
            write(session, mine, "k", value)
        events.append(mine)
    await interrupt(storage, state={"k": 10})
    return service, session, events


@pytest.mark.parametrize("into_state", [True, False])
@pytest.mark.parametrize(("values", "becomes"), [([1, 1], 11), ([1, 2], 12), ([1, 2, 3], 13), ([1, 1, 1], 11)], ids=str)
async def test_every_event_that_waits_with_the_key_is_merged(storage, values, becomes, into_state):
    service, session, events = await prepared(storage, values, into_state=into_state)
    with no_waiting():
        for mine in events:
            await service.append_event(session, mine)
    assert (await load(storage)).state == {"k": becomes} == session.state


async def test_the_context_works_on_the_merged_value_between_them(storage):
    service, session, (first, second) = await prepared(storage, [1, 2])
    with no_waiting():
        await service.append_event(session, first)
    assert session.state == {"k": 11} or session.state == {"k": 12}
    await service.append_event(session, second)
    third = event("third", author="agent")
    write(session, third, "k", session.state["k"] + 1)
    await service.append_event(session, third)
    assert (await load(storage)).state == {"k": 13}


async def test_a_write_made_after_the_merge_is_stored_as_it_is(storage):
    service, session, (mine,) = await prepared(storage, [1])
    with no_waiting():
        await service.append_event(session, mine)
    for late in ({}, {"k": 1}):
        later = event("later", author="agent", state=late)
        if not late:
            write(session, later, "k", 1)
        await service.append_event(session, later)
        assert (await load(storage)).state == {"k": 1}


async def test_two_events_in_front_of_a_third_one_that_meets_the_conflict_are_merged(storage):
    service, session, events = await prepared(storage, [1, 2])
    with no_waiting():
        for each in (event("no write", author="agent"), *events):
            await service.append_event(session, each)
    assert (await load(storage)).state == {"k": 12}


async def test_a_merge_that_changes_its_arguments_loses_nothing_when_it_is_beaten_again(storage):
    def add_items(key, base, theirs, mine):
        theirs.extend(item for item in mine if item not in (base or []))
        mine.clear()
        return theirs

    service = RetryingSessionService(storage, state_conflicts=add_items)
    await interrupt(storage, state={"cart": ["milk"]})
    session = await load(service)
    append, left = storage.append_event, [["milk", "eggs"], ["milk", "eggs", "bread"]]

    async def beaten(session, event):
        if left:
            storage.append_event = append
            await interrupt(storage, state={"cart": left.pop(0)})
            storage.append_event = beaten
        return await append(session, event)

    storage.append_event = beaten
    with no_waiting():
        await service.append_event(session, event("mine", state={"cart": ["milk", "tea"]}))
    assert (await load(storage)).state == {"cart": ["milk", "eggs", "bread", "tea"]} == session.state


async def test_a_merge_that_answers_with_an_awaitable_is_refused_and_nothing_is_stored(storage):
    async def later():
        return 1

    service, session, (mine,) = await prepared(storage, [1], state_conflicts=lambda *_: later())
    with no_waiting(), pytest.raises(TypeError, match="state_conflicts must return the value to store, but for 'k'"):
        await service.append_event(session, mine)
    assert len((await load(storage)).events) == 2


@pytest.mark.parametrize("into_state", [True, False])
async def test_after_a_refusal_nothing_more_of_the_invocation_is_stored(storage, into_state):
    service, session, (mine,) = await prepared(storage, [1], state_conflicts="raise", into_state=into_state)
    others = [event("answer", author="agent"), event(author="agent", state={"other": 1})]
    with no_waiting():
        for each in (mine, *others, mine):
            with pytest.raises(StateConflictError):
                await service.append_event(session, each)
    stored = await load(storage)
    assert (len(stored.events), stored.state) == (2, {"k": 10})


async def test_another_invocation_goes_on_after_a_refusal(storage):
    service, session, (mine,) = await prepared(storage, [1], state_conflicts="raise", into_state=False)
    with no_waiting():
        with pytest.raises(StateConflictError):
            await service.append_event(session, mine)
        await service.append_event(session, event("next", invocation="next"))
    assert texts(await load(storage))[-1] == "next"


async def test_a_refusal_keeps_no_session_alive(storage):
    import gc
    import weakref

    service, session, (mine,) = await prepared(storage, [1], state_conflicts="raise")
    with no_waiting(), pytest.raises(StateConflictError):
        await service.append_event(session, mine)
    held = weakref.ref(session)
    del session
    await asyncio.sleep(0)
    gc.collect()
    assert held() is None
