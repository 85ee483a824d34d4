"""However a run ends, the model is never shown a function call without its response."""

import asyncio
import contextlib

import anyio
import pytest
from google.adk.agents import Agent
from google.adk.apps.app import App, ResumabilityConfig
from google.adk.models import LlmResponse
from google.adk.sessions import InMemorySessionService
from google.adk.tools import LongRunningFunctionTool
from google.genai import types

from stale_retry.adk import QueueingRunner, RetryingSessionService
from stale_retry.turns import TurnInterruptedError

from .app import KEY, LocalLlm, content, event, load
from .conversation import Seen, ask, broken_rules, checking_agent
from .queues import installed, memory, queue, queued, queueing

pytestmark = pytest.mark.asyncio


@pytest.fixture(params=[queueing, queued])
def runner_of(request):
    return request.param


class Tool:
    """Hangs at its first call. Cancelled, it raises an error of its own if it is given one."""

    def __init__(self, error=None):
        self.running = asyncio.Event()
        self.error = error

    async def look_up(self) -> str:
        """Hangs at the first call."""
        if not self.running.is_set():
            self.running.set()
            try:
                await asyncio.sleep(3600)
            except asyncio.CancelledError:
                if self.error is not None:
                    raise self.error from None
                raise
        return "found"


def checked(seen, *tools):
    return checking_agent(seen, tools=tools)


async def calls_and_responses(service):
    events = (await load(service)).events
    calls = [call.id for event in events for call in event.get_function_calls()]
    responses = [response.id for event in events for response in event.get_function_responses()]
    return sorted(calls), sorted(responses)


async def limited(runner, how):
    if how == "asyncio.timeout":
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(0.05):
                await ask(runner, "question 0")
    elif how == "anyio.move_on_after":
        with anyio.move_on_after(0.05):
            await ask(runner, "question 0")
    else:
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(ask(runner, "question 0"), 0.05)
    return await ask(runner, "question 1")


@pytest.mark.looptime
@pytest.mark.parametrize("how", ["asyncio.timeout", "anyio.move_on_after", "asyncio.wait_for"])
async def test_a_time_limit_around_a_run_leaves_no_open_call(runner_of, how):
    service, seen, tool = await memory(), Seen(), Tool()
    runner = runner_of(service, checked(seen, tool.look_up), queue())
    assert await asyncio.wait_for(limited(runner, how), 20) == ["answer to question 1"]
    assert seen.refused == []
    calls, responses = await calls_and_responses(service)
    assert calls == responses
    assert len(calls) == 2


async def test_a_reader_that_breaks_off_at_a_call_leaves_none(runner_of):
    service, seen = await memory(), Seen()
    runner = runner_of(service, checking_agent(seen), queue())
    run = runner.run_async(user_id="user", session_id="session", new_message=content("question 0"))
    async with contextlib.aclosing(run) as events:
        async for event in events:
            if event.get_function_calls():
                break
    assert await ask(runner, "question 1") == ["answer to question 1"]
    assert seen.refused == []
    calls, responses = await calls_and_responses(service)
    assert calls == responses


class Nesting(LocalLlm):
    """Calls `outer`, which asks the same session; that calls `look_up`, which hangs."""

    seen: list

    async def generate_content_async(self, llm_request, stream=False):
        self.seen.append(broken_rules(llm_request.contents))
        last = llm_request.contents[-1].parts[-1]
        name = {"nest": "outer", "inner": "look_up"}.get(last.text)
        call = types.FunctionCall(name=name, args={}) if name else None
        part = types.Part(function_call=call) if call else types.Part(text="pong")
        yield LlmResponse(content=types.Content(role="model", parts=[part]))


@pytest.mark.parametrize("inner_runs", [1, 2])
@pytest.mark.parametrize("way", ["interrupted", "stopped", "cancelled"])
async def test_calls_of_a_run_and_of_those_inside_it_are_all_answered(runner_of, way, inner_runs):
    service, tool, broken = await memory(), Tool(), []
    turns = queue("interrupt" if way == "interrupted" else "enqueue")

    async def outer() -> str:
        """Asks its own session."""
        await asyncio.gather(*(ask(runner, "inner") for _ in range(inner_runs)))
        return "done"

    model = Nesting(seen=broken)
    agent = Agent(name="assistant", model=model, tools=[outer, tool.look_up])
    runner = runner_of(service, agent, turns)
    first = asyncio.create_task(ask(runner, "nest"))
    await tool.running.wait()
    if way == "stopped":
        assert await turns.stop(("app", "user", "session"))
    elif way == "cancelled":
        first.cancel()
    assert await asyncio.wait_for(ask(runner, "next"), 20) == ["pong"]
    (outcome,) = await asyncio.gather(first, return_exceptions=True)
    assert isinstance(outcome, asyncio.CancelledError if way == "cancelled" else TurnInterruptedError)
    calls, responses = await calls_and_responses(service)
    assert calls == responses
    assert model.seen[-1] == []


@pytest.mark.parametrize("how", ["directly", "gather", "task group", "wait_for"])
@pytest.mark.parametrize("where", ["reading loop", "tool"])
async def test_a_run_inside_a_turn_does_not_wait_for_it(runner_of, how, where):
    service, seen = await memory(), Seen()
    inner = []

    async def ask_inside():
        if how == "directly":
            inner.append(await ask(runner, "inner"))
        elif how == "gather":
            inner.extend(await asyncio.gather(ask(runner, "inner")))
        elif how == "task group":
            async with asyncio.TaskGroup() as tasks:
                task = tasks.create_task(ask(runner, "inner"))
            inner.append(task.result())
        else:
            inner.append(await asyncio.wait_for(ask(runner, "inner"), 10))

    async def look_up() -> str:
        """Asks its own session at the first call."""
        if where == "tool" and not inner:
            inner.append(None)
            await ask_inside()
        return "found"

    runner = runner_of(service, checking_agent(seen, tools=[look_up]), queue(deadline=5))
    async for made in runner.run_async(user_id="user", session_id="session", new_message=content("question")):
        if where == "reading loop" and made.get_function_calls() and not inner:
            await ask_inside()
    assert inner[-1] == ["answer to inner"]
    assert len(runner_turns(runner)) == 0


def runner_turns(runner):
    return getattr(runner, "turns", None) or installed[-1].turns


@pytest.mark.parametrize("times", [1, 2, 3])
async def test_each_further_cancellation_reaches_the_run_and_the_next_turn_begins_when_it_has_ended(runner_of, times):
    cleaning, hurried = asyncio.Event(), []

    class Tidy(LocalLlm):
        async def generate_content_async(self, llm_request, stream=False):
            if llm_request.contents[-1].parts[-1].text != "question 0":
                yield LlmResponse(content=content("pong", "model"))
                return
            try:
                cleaning.set()
                await asyncio.sleep(3600)
            finally:
                cleaning.clear()
                for _ in range(times - 1):
                    try:
                        cleaning.set()
                        await asyncio.sleep(3600)  # closes its connection to the model
                    except asyncio.CancelledError:
                        hurried.append("hurried")

    runner = runner_of(await memory(), Agent(name="agent", model=Tidy()), queue(deadline=10))
    first = asyncio.create_task(ask(runner, "question 0"))
    for _ in range(times):
        await cleaning.wait()
        cleaning.clear()
        first.cancel()
        await asyncio.sleep(0.01)
    await asyncio.wait([first], timeout=10)
    assert first.cancelled()
    assert await ask(runner, "question 1") == ["pong"]
    assert len(hurried) == times - 1


@pytest.mark.looptime
async def test_a_run_that_ignores_its_abort_is_cancelled_and_the_newer_message_answered(runner_of):
    """A tool that turns the cancellation into an error of its own."""
    service, seen, tool = await memory(), Seen(), Tool(ConnectionError("the connection is gone"))
    runner = runner_of(service, checked(seen, tool.look_up), queue("interrupt"))
    first = asyncio.create_task(ask(runner, "question 0"))
    await tool.running.wait()
    began = asyncio.get_running_loop().time()
    assert await ask(runner, "question 1") == ["answer to question 1"]
    assert asyncio.get_running_loop().time() - began <= 6
    assert isinstance((await asyncio.gather(first, return_exceptions=True))[0], Exception)
    assert seen.refused == []


@pytest.mark.parametrize("way", ["closed", "stopped"])
async def test_a_call_that_waits_for_somebody_is_answered_only_when_its_turn_was_ended(way):
    service = await memory()
    tool = Tool()

    def approve() -> None:
        """Somebody will answer later."""

    class Both(LocalLlm):
        async def generate_content_async(self, llm_request, stream=False):
            names = ["approve", "look_up"]
            parts = [types.Part(function_call=types.FunctionCall(name=name, args={})) for name in names]
            yield LlmResponse(content=types.Content(role="model", parts=parts))

    agent = Agent(name="a", model=Both(), tools=[LongRunningFunctionTool(func=approve), tool.look_up])
    turns = queue()
    runner = queueing(service, agent, turns)
    first = asyncio.create_task(ask(runner, "question 0"))
    await tool.running.wait()
    if way == "stopped":
        await turns.stop(("app", "user", "session"))
    else:
        first.cancel()
    await asyncio.wait([first])
    events = (await load(service)).events
    answered = {response.name for event in events for response in event.get_function_responses()}
    assert answered == ({"approve", "look_up"} if way == "stopped" else {"look_up"})


class Slow(InMemorySessionService):
    """Appends take a while. An event with a call is stored and its append does not return before it is told to."""

    def __init__(self):
        super().__init__()
        self.stored, self.going_on, self.seconds = asyncio.Event(), asyncio.Event(), 0.0

    async def append_event(self, session, event):
        event = await super().append_event(session, event)
        if event.get_function_calls():
            self.stored.set()
            await self.going_on.wait()
        elif event.get_function_responses():
            await asyncio.sleep(self.seconds)
        return event


@pytest.mark.parametrize("way", ["stopped", "cancelled"])
async def test_a_call_whose_event_nobody_has_seen_yet_is_answered_too(way):
    service, turns = Slow(), queue()
    await service.create_session(**KEY)
    runner = queueing(service, checking_agent(), turns)
    first = asyncio.create_task(ask(runner, "question 0"))
    await service.stored.wait()
    if way == "stopped":
        await turns.stop(("app", "user", "session"))
    else:
        first.cancel()
    await asyncio.sleep(0)
    service.going_on.set()
    await asyncio.wait([first])
    calls, responses = await calls_and_responses(service)
    assert calls == responses
    assert len(calls) == 1


@pytest.mark.looptime
async def test_they_are_answered_however_often_the_reader_is_cancelled_meanwhile():
    service, tool = Slow(), Tool()
    service.going_on.set()
    await service.create_session(**KEY)
    runner = queueing(service, checking_agent(tools=[tool.look_up]), queue())
    first = asyncio.create_task(ask(runner, "question 0"))
    await tool.running.wait()
    service.seconds = 3.0
    for _ in range(4):
        first.cancel()
        await asyncio.sleep(0.5)
    assert not first.done()
    await asyncio.wait([first])
    calls, responses = await calls_and_responses(service)
    assert calls == responses
    assert await ask(runner, "question 1") == ["answer to question 1"]


async def test_a_call_of_somebody_else_who_is_still_running_is_left_alone():
    """A live run makes one while a text turn runs that is cut off."""
    service, tool = await memory(), Tool()
    await service.append_event(await load(service), event("hi", invocation="live"))
    runner = queueing(service, checking_agent(tools=[tool.look_up]), queue())
    first = asyncio.create_task(ask(runner, "question 0"))
    await tool.running.wait()
    call = event(author="assistant", invocation="live")
    call.content = types.Content(
        role="model", parts=[types.Part(function_call=types.FunctionCall(id="theirs", name="look_up", args={}))]
    )
    await service.append_event(await load(service), call)
    first.cancel()
    await asyncio.wait([first])
    calls, responses = await calls_and_responses(service)
    assert [call for call in calls if call not in responses] == ["theirs"]


async def test_calls_of_a_turn_that_goes_on_with_an_earlier_invocation_are_answered():
    """The message with a long-running tool's result belongs to the invocation that called the tool."""
    service, tool = await memory(), Tool()

    def approve() -> None:
        """Somebody will answer later."""

    class Approving(LocalLlm):
        async def generate_content_async(self, llm_request, stream=False):
            name = "approve" if llm_request.contents[-1].parts[-1].text else "look_up"
            part = types.Part(function_call=types.FunctionCall(name=name, args={}))
            yield LlmResponse(content=types.Content(role="model", parts=[part]))

    tools = [LongRunningFunctionTool(func=approve), tool.look_up]
    runner = queueing(service, Agent(name="a", model=Approving(), tools=tools), queue())
    await ask(runner, "question 0")
    (call,) = [call for event in (await load(service)).events for call in event.get_function_calls()]
    response = types.FunctionResponse(id=call.id, name=call.name, response={"result": "approved"})
    message = types.Content(role="user", parts=[types.Part(function_response=response)])
    going_on = asyncio.create_task(read(runner, message))
    await tool.running.wait()
    going_on.cancel()
    await asyncio.wait([going_on])
    calls, responses = await calls_and_responses(service)
    assert calls == responses


async def read(runner, message):
    return [event async for event in runner.run_async(user_id="user", session_id="session", new_message=message)]


@pytest.mark.parametrize("way", ["cancelled", "stopped"])
async def test_what_may_be_resumed_is_answered_only_when_it_was_stopped(way):
    service, tool, turns = await memory(), Tool(), queue()
    app = App(
        name="app",
        root_agent=checking_agent(tools=[tool.look_up]),
        resumability_config=ResumabilityConfig(is_resumable=True),
    )
    runner = QueueingRunner(app=app, session_service=service, turns=turns)
    first = asyncio.create_task(ask(runner, "question 0"))
    await tool.running.wait()
    if way == "stopped":
        await turns.stop(("app", "user", "session"))
    else:
        first.cancel()
    await asyncio.wait([first])
    calls, responses = await calls_and_responses(service)
    assert responses == (calls if way == "stopped" else [])


async def test_they_are_answered_on_a_service_that_rejects_a_stale_session(database):
    seen, tool = Seen(), Tool()
    runner = queueing(RetryingSessionService(database), checked(seen, tool.look_up), queue("interrupt"))
    first = asyncio.create_task(ask(runner, "question 0"))
    await tool.running.wait()
    assert await ask(runner, "question 1") == ["answer to question 1"]
    await asyncio.gather(first, return_exceptions=True)
    assert seen.refused == []
    calls, responses = await calls_and_responses(database)
    assert calls == responses
