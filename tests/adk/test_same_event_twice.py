"""An event that is appended twice is stored once."""

import asyncio

import pytest
from google.adk.sessions import InMemorySessionService

from stale_retry.adk import RetryingSessionService
from stale_retry.testing import no_waiting

from .app import KEY, event, ids, load, texts

pytestmark = pytest.mark.asyncio


async def in_memory():
    service = InMemorySessionService()
    await service.create_session(**KEY)
    return service


async def append_again(bare):
    service = RetryingSessionService(bare)
    session, mine = await load(service), event("mine", state={"k": 1})
    for each in (mine, mine, mine.model_copy(deep=True)):
        assert await service.append_event(session, each) is each
    assert texts(session) == ["mine"]
    await service.append_event(await load(service), mine.model_copy(deep=True))
    assert texts(await load(service)) == ["mine"]


async def test_through_one_session_or_one_that_was_loaded_afterwards(storage):
    await append_again(storage)


async def test_in_memory_too():
    await append_again(await in_memory())


async def test_through_a_session_that_was_loaded_before(storage):
    service = RetryingSessionService(storage)
    first, second = [await load(service) for _ in range(2)]
    mine = event("mine", state={"k": 1})
    await service.append_event(first, mine)
    with no_waiting():
        await service.append_event(second, mine.model_copy(deep=True))
        await service.append_event(second, event("next"))
    assert texts(await load(service)) == ["mine", "next"] == texts(second)


async def test_at_once(storage):
    service = RetryingSessionService(storage)
    sessions = [await load(service) for _ in range(4)]
    mine = event("mine")
    with no_waiting():
        await asyncio.gather(*(service.append_event(each, mine.model_copy(deep=True)) for each in sessions))
    assert texts(await load(service)) == ["mine"]
    assert all(texts(each) == ["mine"] for each in sessions)


async def test_through_a_copy_of_which_nothing_is_known(storage):
    """The store says that the event exists, and a look confirms it."""
    service = RetryingSessionService(storage)
    mine = event("mine")
    await service.append_event(await load(service), mine)
    unknown = (await load(service)).model_copy(deep=True)
    unknown.events.clear()
    again = mine.model_copy(deep=True)
    with no_waiting():
        assert await service.append_event(unknown, again) is again
        await service.append_event(unknown, event("next"))
    assert ids(await load(service))[0] == mine.id
    assert texts(await load(service)) == ["mine", "next"]
