"""The newest message wins: the running turn ends, and the history it leaves is one that a model accepts."""

import asyncio
import contextlib

import pytest
from google.adk.agents.invocation_context import InvocationContext
from google.adk.tools import LongRunningFunctionTool
from google.genai import types

from stale_retry.adk import RetryingSessionService
from stale_retry.turns import TurnInterruptedError, TurnQueue

from .app import content, load
from .conversation import ASKED, Seen, ask, broken_rules, checking_agent, stored_texts
from .queues import memory, queued, queueing

pytestmark = pytest.mark.asyncio

ABORTS = hasattr(InvocationContext, "abort")
"""Whether the release can end a run by itself; a run in an older one is cancelled."""


@pytest.fixture(params=[queueing, queued])
def runner_of(request):
    return request.param


def queue(**options):
    return TurnQueue("interrupt", observers=(), deadline=20, **options)


def hanging_tool():
    running = asyncio.Event()

    async def look_up() -> str:
        """Hangs at the first call."""
        if not running.is_set():
            running.set()
            await asyncio.sleep(3600)
        return "found"

    return look_up, running


async def interrupted_by_another(service, runner_of, **options):
    seen = Seen()
    tool, running = hanging_tool()
    runner = runner_of(service, checking_agent(seen, tools=[tool]), queue())
    first = asyncio.create_task(ask(runner, "question 0"))
    await running.wait()
    second = await asyncio.create_task(ask(runner, "question 1"))
    (outcome,) = await asyncio.gather(first, return_exceptions=True)
    return runner, seen, outcome, second


async def test_the_newer_message_is_answered_and_every_call_has_its_response(database, runner_of):
    _, seen, outcome, second = await interrupted_by_another(RetryingSessionService(database), runner_of)
    assert second == ["answer to question 1"]
    assert seen.refused == []
    assert isinstance(outcome, TurnInterruptedError)
    assert (outcome.reason, outcome.started) == ("newer", True)
    session = await load(database)
    calls = {call.id for event in session.events for call in event.get_function_calls()}
    responses = [response.id for event in session.events for response in event.get_function_responses()]
    assert sorted(calls) == sorted(responses)
    assert broken_rules([event.content for event in session.events if event.content and event.content.parts][:-1]) == []


async def test_what_is_asked_next_has_a_form_that_the_model_accepts(runner_of):
    service = await memory()
    runner, seen, _, _ = await interrupted_by_another(service, runner_of)
    assert await ask(runner, "question 2") == ["answer to question 2"]
    assert seen.refused == []
    texts = stored_texts(await load(service))
    assert texts == ["question 0", "question 1", "answer to question 1", "question 2", "answer to question 2"]


async def test_a_run_whose_reader_is_somewhere_else_is_interrupted_all_the_same():
    """A slow reader holds up no other turn: the run ends now, and the reader is told at its next event."""
    service = await memory()
    runner = queueing(service, checking_agent(), queue())
    ASKED.set("question 0")
    events = runner.run_async(user_id="user", session_id="session", new_message=content("question 0"))
    async with contextlib.aclosing(events):
        await asyncio.create_task(anext(events))
        assert await asyncio.create_task(ask(runner, "question 1")) == ["answer to question 1"]
        with pytest.raises(TurnInterruptedError):
            async for _ in events:
                pass


async def test_the_callers_own_task_is_not_cancelled():
    service = await memory()
    tool, running = hanging_tool()
    runner = queueing(service, checking_agent(tools=[tool]), queue())

    async def caller():
        with pytest.raises(TurnInterruptedError):
            await ask(runner, "question 0")
        assert asyncio.current_task().cancelling() == 0
        return "went on"

    first = asyncio.create_task(caller())
    await running.wait()
    await asyncio.create_task(ask(runner, "question 1"))
    assert await first == "went on"


@pytest.mark.skipif(not ABORTS, reason="no abort signal in this release")
async def test_the_callers_abort_signal_still_works():
    service = await memory()
    tool, running = hanging_tool()
    runner = queueing(service, checking_agent(tools=[tool]), queue())
    signal = asyncio.Event()
    first = asyncio.create_task(ask(runner, "question 0", abort_signal=signal))
    await running.wait()
    signal.set()
    assert await first == []
    assert await ask(runner, "question 1") == ["answer to question 1"]


@pytest.mark.parametrize("way", ["cancelled", "failed"])
async def test_a_run_that_is_cut_off_leaves_no_open_call_either(way):
    """Before google-adk 2.13 an open call is sent to the model, which refuses every message from then on."""
    service = await memory()
    seen = Seen()
    running = asyncio.Event()

    async def look_up() -> str:
        """Hangs or fails at the first call."""
        if not running.is_set():
            running.set()
            if way == "failed":
                raise ZeroDivisionError
            await asyncio.sleep(3600)
        return "found"

    runner = queueing(service, checking_agent(seen, tools=[look_up]), TurnQueue(observers=()))
    first = asyncio.create_task(ask(runner, "question 0"))
    await running.wait()
    if way == "cancelled":
        first.cancel()
    await asyncio.wait([first])
    assert first.cancelled() or isinstance(first.exception(), ZeroDivisionError)
    # When the caller hears of it, all is done.
    assert len(runner.turns) == 0
    assert any(event.get_function_responses() for event in (await load(service)).events)
    assert await ask(runner, "question 1") == ["answer to question 1"]
    assert seen.refused == []


def waiting_for_approval():
    asked = []

    def look_up() -> None:
        """Somebody will answer later."""
        asked.append("asked")

    return LongRunningFunctionTool(func=look_up), asked


async def test_a_turn_ends_when_its_long_running_tool_has_been_called_and_the_answer_is_a_turn_of_its_own(runner_of):
    """The session is free while somebody thinks it over, and the pending call stays open."""
    service = await memory()
    tool, asked = waiting_for_approval()
    turns = TurnQueue("reject", observers=())
    runner = runner_of(service, checking_agent(tools=[tool]), turns)
    await ask(runner, "question 0")
    await asyncio.sleep(0.05)
    assert asked
    session = await load(service)
    (call,) = [call for event in session.events for call in event.get_function_calls()][:1]
    assert not [
        response for event in session.events for response in event.get_function_responses() if response.id == call.id
    ]
    response = types.FunctionResponse(id=call.id, name=call.name, response={"result": "approved"})
    message = types.Content(role="user", parts=[types.Part(function_response=response)])
    ASKED.set("question 0")
    answers = [event async for event in runner.run_async(user_id="user", session_id="session", new_message=message)]
    assert answers[-1].content.parts[0].text == "answer to question 0"
