"""A rewind is never retried, and a turn that was rewound while it ran is refused in every mode."""

import asyncio

import pytest
from google.adk.agents import Agent
from google.adk.models import LlmResponse
from google.genai import types

from stale_retry import is_stale_session_error
from stale_retry.adk import InterleavedTurnError, RetryingSessionService
from stale_retry.adk._releases import AdkStaleSessionError
from stale_retry.adk.interleaving import MODES
from stale_retry.testing import no_waiting

from .app import LocalLlm, calls_of, event, ids, interrupt, load, rewind, runner_of, texts, turn

pytestmark = pytest.mark.asyncio

modes = pytest.mark.parametrize("interleaving", MODES)


def turn_of(invocation, *messages):
    return [event(text, invocation=invocation, author="agent" if n else "user") for n, text in enumerate(messages)]


async def store(service, *events):
    session = await load(service)
    for each in events:
        await service.append_event(session, each)


@modes
async def test_a_turn_that_was_stored_meanwhile_is_not_annulled_by_a_rewind_which_lost(storage, interleaving):
    service = RetryingSessionService(storage, interleaving=interleaving)
    await store(storage, *turn_of("1", "question", "answer"))
    session = await load(service)
    await store(storage, *turn_of("2", "another question", "another answer"))
    with calls_of(storage, "append_event", "get_session") as calls, pytest.raises(ValueError) as caught:
        await service.append_event(session, rewind("1"))
    assert is_stale_session_error(caught.value)
    assert len(calls) == 1
    assert texts(await load(storage)) == ["question", "answer", "another question", "another answer"]


@modes
async def test_a_turn_that_was_rewound_while_it_ran_is_refused(storage, interleaving):
    service = RetryingSessionService(storage, interleaving=interleaving)
    await store(storage, *turn_of("1", "pay"))
    session = await load(service)
    await store(storage, rewind("1"))
    before = ids(await load(storage))
    for late in (event("paid", invocation="1", author="agent"), event(invocation="1", state={"paid": True})):
        with no_waiting(), pytest.raises(InterleavedTurnError, match="was rewound while it was running"):
            await service.append_event(session, late)
    assert ids(await load(storage)) == before


@modes
async def test_a_turn_that_began_after_the_one_that_was_rewound_went_with_it(storage, interleaving):
    service = RetryingSessionService(storage, interleaving=interleaving)
    await store(storage, *turn_of("1", "question", "answer"), *turn_of("2", "pay"))
    session = await load(service)
    await store(storage, rewind("1"))
    with no_waiting(), pytest.raises(InterleavedTurnError):
        await service.append_event(session, event("paid", invocation="2", author="agent"))


async def test_a_turn_from_before_the_one_that_was_rewound_goes_on(storage):
    service = RetryingSessionService(storage)
    await store(storage, *turn_of("1", "pay"))
    session = await load(service)
    await store(storage, *turn_of("2", "question", "answer"), rewind("2"))
    with no_waiting():
        await service.append_event(session, event("paid", invocation="1", author="agent"))
    assert texts(await load(storage)) == ["pay", "question", "answer", "paid"]


@modes
async def test_a_message_and_a_background_write_that_met_a_rewind_are_stored_after_it(storage, interleaving):
    service = RetryingSessionService(storage, interleaving=interleaving)
    await store(storage, *turn_of("1", "question", "answer"))
    message, background = await load(service), await load(service)
    await store(storage, rewind("1"))
    with no_waiting():
        await service.append_event(message, event("new question", invocation="2"))
        await service.append_event(background, event(invocation="background", state={"seen": True}))
    stored = await load(storage)
    assert texts(stored) == ["question", "answer", "new question"]
    assert stored.state["seen"]


async def test_a_rewind_whose_answer_was_lost_is_settled_if_it_is_stored(storage):
    service = RetryingSessionService(storage, in_doubt=ConnectionError)
    await store(storage, *turn_of("1", "question", "answer"))
    session, undo = await load(service), rewind("1")
    append = storage.append_event

    async def append_and_lose_the_answer(*, session, event):
        storage.append_event = append
        await append(session=session.model_copy(deep=True), event=event)
        raise ConnectionError

    storage.append_event = append_and_lose_the_answer
    with no_waiting():
        assert await service.append_event(session, undo) is undo
    assert ids(session)[-1] == undo.id == ids(await load(storage))[-1]


async def test_a_rewind_whose_request_was_lost_is_not_sent_again_behind_another_turn(storage):
    service = RetryingSessionService(storage, in_doubt=ConnectionError)
    await store(storage, *turn_of("1", "question", "answer"))
    session = await load(service)
    append = storage.append_event

    async def fail_after_another_turn(**_):
        storage.append_event = append
        await store(storage, *turn_of("2", "another question"))
        raise ConnectionError

    storage.append_event = fail_after_another_turn
    with no_waiting(), pytest.raises(AdkStaleSessionError):
        await service.append_event(session, rewind("1"))
    assert texts(await load(storage)) == ["question", "answer", "another question"]


async def test_an_undo_while_a_tool_is_asked_for_keeps_the_tool_from_running(storage):
    """Through a real runner: what the user took back is neither done nor stored."""
    paid = []

    async def pay() -> str:
        """Pay."""
        paid.append(1)
        return "paid"

    class AskedTooLate(LocalLlm):
        async def generate_content_async(self, llm_request, stream=False):
            asked.set()
            await undone.wait()
            call = types.FunctionCall(name="pay", args={})
            yield LlmResponse(content=types.Content(role="model", parts=[types.Part(function_call=call)]))

    asked, undone = asyncio.Event(), asyncio.Event()
    service = RetryingSessionService(storage)
    agent = Agent(name="agent", model=AskedTooLate(), tools=[pay])
    running = asyncio.create_task(turn(runner_of(service, agent), "pay"))
    await asked.wait()
    invocation = (await load(storage)).events[0].invocation_id
    await runner_of(service).rewind_async(user_id="user", session_id="session", rewind_before_invocation_id=invocation)
    undone.set()
    with pytest.raises(InterleavedTurnError):
        await running
    assert paid == []
    stored = await load(storage)
    assert [part.text for each in stored.events if each.content for part in each.content.parts] == ["pay"]


async def test_of_two_rewinds_at_once_the_second_is_told_to_be_made_again(storage):
    service = RetryingSessionService(storage)
    await store(storage, *turn_of("1", "question", "answer"), *turn_of("2", "another question", "another answer"))
    one, two = await load(service), await load(service)
    await service.append_event(one, rewind("2"))
    with pytest.raises(ValueError) as caught:
        await service.append_event(two, rewind("1"))
    assert is_stale_session_error(caught.value)
    await interrupt(storage)
    assert sum(bool(each.actions.rewind_before_invocation_id) for each in (await load(storage)).events) == 1
