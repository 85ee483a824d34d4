"""A session that was deleted and made anew under its id is gone for whoever holds the old one.

Where the service can tell: those for Firestore and MongoDB compare how often a session was changed, and take a new one
that was changed as often as the old one for that.
"""

import asyncio

import pytest
from google.adk.agents import Agent
from google.adk.models import LlmResponse

import stale_retry
from stale_retry.adk import RetryingSessionService, refresh_session
from stale_retry.adk._releases import SessionNotFoundError
from stale_retry.testing import no_waiting

from .app import KEY, LocalLlm, compaction, content, event, ids, interrupt, load, runner_of, texts, turn

pytestmark = pytest.mark.asyncio

refresh_modes = pytest.mark.parametrize("refresh", ["incremental", "full"])


async def make_anew(storage, *messages):
    await storage.delete_session(**KEY)
    await storage.create_session(**KEY)
    session = await load(storage)
    for text in messages:
        await storage.append_event(session, event(text, invocation="new"))


@refresh_modes
@pytest.mark.parametrize("messages", [(), ("new", "newer"), ("new",) * 3])
async def test_the_old_conversation_does_not_go_on_in_the_new_one(storage, refresh, messages):
    service = RetryingSessionService(storage, refresh=refresh)
    await interrupt(storage, "old question")
    session = await load(service)
    await make_anew(storage, *messages)
    with no_waiting(), pytest.raises(SessionNotFoundError, match="Session session not found"):
        await service.append_event(session, event("old answer", author="agent"))
    assert texts(await load(storage)) == [*messages]
    assert texts(session) == ["old question"]


@refresh_modes
async def test_nor_does_one_that_was_begun_through_the_session_itself(storage, refresh):
    service = RetryingSessionService(storage, refresh=refresh)
    session = await load(service)
    await service.append_event(session, event("old question"))
    await make_anew(storage, "new", "newer")
    with no_waiting(), pytest.raises(SessionNotFoundError):
        await service.append_event(session, event("old answer", author="agent"))
    assert texts(await load(storage)) == ["new", "newer"]


async def test_a_copy_of_the_old_one_is_told_too(storage):
    service = RetryingSessionService(storage)
    await interrupt(storage, "old question")
    session = (await load(service)).model_copy(deep=True)
    await make_anew(storage, "new", "newer")
    with no_waiting(), pytest.raises(SessionNotFoundError):
        await service.append_event(session, event("old answer", author="agent"))
    assert texts(await load(storage)) == ["new", "newer"]


async def test_the_refresh_hook_alone_says_that_it_is_gone(storage):
    await interrupt(storage, "old question")
    session = await load(storage)
    append = stale_retry.retry_on_stale_session(refresh_session)(type(storage).append_event)
    await make_anew(storage, "new", "newer")
    with no_waiting(), pytest.raises(stale_retry.SessionGoneError):
        await append(storage, session, event("old answer"))
    assert await refresh_session(storage, session) is None


async def test_a_chat_that_is_cleared_while_a_turn_runs_stays_clear(storage):
    """Through a real runner: nothing of the deleted conversation reaches the new one."""

    class Slow(LocalLlm):
        async def generate_content_async(self, llm_request, stream=False):
            asked.set()
            await cleared.wait()
            yield LlmResponse(content=content("old answer", "model"))

    asked, cleared = asyncio.Event(), asyncio.Event()
    service = RetryingSessionService(storage)
    running = asyncio.create_task(turn(runner_of(service, Agent(name="agent", model=Slow())), "old question"))
    await asked.wait()
    await make_anew(storage)
    assert await turn(runner_of(service), "new question") == ["pong"]
    cleared.set()
    with pytest.raises(SessionNotFoundError):
        await running
    assert texts(await load(storage)) == ["new question", "pong"]


class Summarising:
    """A service's own filter: what a compaction stands for is not returned."""

    def __init__(self, storage):
        self.read = storage.get_session

    async def __call__(self, **arguments):
        session = await self.read(**arguments)
        summaries = [each for each in session.events if each.actions.compaction]
        if summaries:
            session.events = session.events[session.events.index(summaries[-1]) :]
        return session


async def test_a_session_whose_service_leaves_out_what_was_summarised_is_the_same_session(storage):
    service = RetryingSessionService(storage)
    first = await interrupt(storage, "1")
    session = await load(service)
    storage.get_session = Summarising(storage)
    await storage.append_event(await load(storage), compaction(1.0, first.timestamp))
    await interrupt(storage, "2")
    with no_waiting():
        await service.append_event(session, event("mine"))
    assert texts(session)[-2:] == ["2", "mine"]


async def test_a_session_that_only_lost_its_old_events_is_the_same_session(storage):
    """A purge of what is old leaves what the session knew last."""
    service = RetryingSessionService(storage)
    for text in ("1", "2"):
        await interrupt(storage, text)
    session = await load(service)
    await interrupt(storage, "3")
    read = storage.get_session

    async def purged(**arguments):
        answer = await read(**arguments)
        answer.events = [each for each in answer.events if each.content.parts[0].text != "1"]
        return answer

    storage.get_session = purged
    with no_waiting():
        await service.append_event(session, event("mine"))
    assert texts(session) == ["1", "2", "3", "mine"]
    del storage.get_session
    assert ids(session) == ids(await load(storage))
