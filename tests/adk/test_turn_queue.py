"""Whole turns through google-adk's own runner, one at a time."""

import asyncio
import contextlib
import gc
import inspect
import logging

import pytest
import pytest_asyncio
from google.adk.agents import Agent
from google.adk.models import LlmResponse
from google.adk.plugins.base_plugin import BasePlugin
from google.adk.runners import Runner
from google.adk.sessions import DatabaseSessionService
from google.genai import types

from stale_retry.adk import QueueingRunner, RetryingSessionService
from stale_retry.turns import SessionBusyError

from .app import APP, KEY, LocalLlm, content, load
from .conversation import ASKED, Seen, answered, ask, ask_at_once, checking_agent, stored_texts
from .queues import installed, memory, queue, queued, queueing
from .releases import DATABASE_LOCKS

pytestmark = pytest.mark.asyncio

TURNS = 20


@pytest.fixture(autouse=True)
def nothing_logged():
    """A log that keeps errors keeps their frames, and so what was run in them, from being freed."""
    logging.disable()
    yield
    logging.disable(logging.NOTSET)


@pytest.fixture(params=[queueing, queued])
def runner_of(request):
    """Makes a runner whose turns queue: `runner_of(service, agent, turns)`."""
    return request.param


async def test_turns_at_once_are_all_answered_in_the_order_they_came_and_see_nothing_of_each_other(database, runner_of):
    """google/adk-python#1049: "handles the messages one by one in order without errors"."""
    seen, turns = Seen(), queue()
    runner = runner_of(RetryingSessionService(database), checking_agent(seen), turns)
    outcomes = await ask_at_once(runner, TURNS)
    assert answered(outcomes) == list(range(TURNS))
    assert (seen.requests, seen.refused, seen.foreign, seen.other_last) == (2 * TURNS, [], 0, 0)
    stored = stored_texts(await load(database))
    order = [int(text.rpartition(" ")[2]) for text in stored[::2]]
    assert stored == [text for n in order for text in (f"question {n}", f"answer to question {n}")]
    assert order == list(range(TURNS))
    await everything_given_back(turns)


async def test_they_need_no_retrying_service_when_nobody_else_writes(database, runner_of):
    seen = Seen()
    outcomes = await ask_at_once(runner_of(database, checking_agent(seen), queue()), 6)
    assert answered(outcomes) == list(range(6))
    assert seen.refused == []


@pytest.mark.skipif(not DATABASE_LOCKS, reason="this release stores out of turn without an error")
async def test_without_the_queue_turns_mix(sqlite_database):
    seen = Seen()
    runner = Runner(
        app_name="app",
        agent=checking_agent(seen, seconds=0.02),
        session_service=RetryingSessionService(sqlite_database),
    )
    await ask_at_once(runner, TURNS)
    assert seen.foreign > 0


async def test_every_turn_sees_the_state_that_those_before_it_wrote(database, runner_of):
    async def look_up(tool_context) -> str:
        """Counts."""
        tool_context.state["count"] = tool_context.state.get("count", 0) + 1
        return "counted"

    from google.adk.tools import ToolContext

    look_up.__annotations__["tool_context"] = ToolContext
    runner = runner_of(RetryingSessionService(database), checking_agent(tools=[look_up]), queue())
    outcomes = await ask_at_once(runner, 9)
    assert len(answered(outcomes)) == 9
    assert (await load(database)).state["count"] == 9


async def test_turns_of_other_sessions_do_not_wait(runner_of):
    service = await memory()
    both = asyncio.Barrier(2)

    async def look_up() -> str:
        """Waits for the other one."""
        await asyncio.wait_for(both.wait(), 10)
        return "met"

    await service.create_session(**APP, session_id="other")
    runner = runner_of(service, checking_agent(tools=[look_up]), queue())
    answers = await asyncio.gather(ask(runner, "question 0"), ask(runner, "question 1", session_id="other"))
    assert answers == [["answer to question 0"], ["answer to question 1"]]


async def test_the_runner_takes_what_googles_takes():
    """google-adk's api_server looks at the signature before it hands an abort signal on."""
    assert inspect.signature(QueueingRunner.run_async) == inspect.signature(Runner.run_async)
    assert inspect.signature(QueueingRunner.rewind_async) == inspect.signature(Runner.rewind_async)
    assert inspect.isasyncgenfunction(inspect.unwrap(QueueingRunner.run_async))


async def busy(service, runner_of, **options):
    """A runner with one turn running, whose tool goes on when the event is set."""
    going_on, running = asyncio.Event(), asyncio.Event()

    async def look_up() -> str:
        """Takes its time."""
        running.set()
        await going_on.wait()
        return "found"

    runner = runner_of(service, checking_agent(tools=[look_up]), queue(**options))
    first = asyncio.create_task(ask(runner, "question 0"))
    await running.wait()
    return runner, first, going_on


async def test_of_a_refused_turn_nothing_is_stored(runner_of):
    service = await memory()
    runner, first, going_on = await busy(service, runner_of, when_busy="reject")
    with pytest.raises(SessionBusyError, match="the session is busy"):
        await ask(runner, "question 1")
    going_on.set()
    assert await first == ["answer to question 0"]
    assert stored_texts(await load(service)) == ["question 0", "answer to question 0"]
    await everything_given_back(runner_turns(runner))
    assert await ask(runner, "question 2") == ["answer to question 2"]


async def test_a_turn_that_never_ends_keeps_the_others_no_longer_than_the_deadline(runner_of):
    service = await memory()
    runner, first, _ = await busy(service, runner_of, deadline=0.05)
    with pytest.raises(SessionBusyError, match="waited 0"):
        await ask(runner, "question 1")
    first.cancel()
    await asyncio.wait([first])
    assert first.cancelled()
    assert (
        len((await load(service)).events) <= 3
    )  # the question, its call, and the call's response where it is answered


async def everything_given_back(turns):
    """In a few steps of the event loop, if what is over is freed."""
    for _ in range(100):
        gc.collect(0)
        if len(turns) == 0:
            return
        await asyncio.sleep(0.001)
    gc.collect()
    await asyncio.sleep(0.1)
    assert len(turns) == 0


class Failing(BasePlugin):
    """Raises at one moment of a run."""

    def __init__(self, moment):
        super().__init__(name="failing")
        self.moment = moment
        self.leaves_a_cycle = False

    async def on_user_message_callback(self, **_):
        if self.moment == "user message":
            raise ZeroDivisionError

    async def before_run_callback(self, *, invocation_context):
        if self.leaves_a_cycle:
            cycle = [invocation_context]
            cycle.append(cycle)
        if self.moment == "before run":
            raise ZeroDivisionError

    async def before_model_callback(self, **_):
        if self.moment == "model":
            raise ZeroDivisionError

    async def after_run_callback(self, **_):
        if self.moment == "after run":
            raise ZeroDivisionError


class Ending:
    """A way in which a run can end, in a task that lives on, and what is under way then."""

    def __init__(self, runner_of):
        self.moment = Failing(None)
        self.turns = queue(deadline=30)
        self.hangs = None
        self.runner_of = runner_of

    async def open(self):
        async def look_up() -> str:
            """Fails or hangs."""
            if self.moment.moment == "tool":
                raise ZeroDivisionError
            if self.hangs is not None:
                self.hangs.set()
                await asyncio.sleep(3600)
            return "found"

        self.service = await memory()
        self.runner = self.runner_of(self.service, checking_agent(tools=[look_up]), self.turns, [self.moment])

    def run(self):
        ASKED.set("question 0")
        return self.runner.run_async(user_id="user", session_id="session", new_message=content("question 0"))

    async def end(self, way):
        if way == "cancelled":
            self.hangs = asyncio.Event()
            with contextlib.suppress(asyncio.TimeoutError):
                async with asyncio.timeout(None) as limit:
                    async with asyncio.TaskGroup() as tasks:

                        async def soon():
                            await self.hangs.wait()
                            limit.reschedule(asyncio.get_running_loop().time())

                        tasks.create_task(soon())
                        async for _ in self.run():
                            pass
        elif way == "closed":
            async with contextlib.aclosing(self.run()) as events:
                async for _ in events:
                    break
        elif way == "dropped":
            async for _ in self.run():
                break
        elif way == "closed in another task":
            events = self.run()
            await asyncio.create_task(anext(events))
            await asyncio.create_task(events.aclose())
        else:
            self.moment.moment = way
            with contextlib.suppress(ZeroDivisionError, RuntimeError):
                async for _ in self.run():
                    pass
        self.moment.moment, self.hangs = None, None


WAYS = [
    "finished",
    "user message",
    "before run",
    "model",
    "tool",
    "after run",
    "cancelled",
    "closed",
    "closed in another task",
    "dropped",
]


@pytest.mark.parametrize("way", WAYS)
async def test_however_a_run_ends_the_next_one_goes_on_though_its_task_lives_on(runner_of, way):
    ending = Ending(runner_of)
    await ending.open()
    await ending.end(way)
    answers = await asyncio.create_task(asyncio.wait_for(ask(ending.runner, "question 1"), 10))
    assert answers == ["answer to question 1"]
    await everything_given_back(ending.turns)


@pytest_asyncio.fixture(params=["postgresql", "sqlite"])
async def cancellable(request, tmp_path):
    if request.param == "postgresql":
        service = DatabaseSessionService(request.getfixturevalue("new_postgresql_database")())
    else:
        service = DatabaseSessionService(f"sqlite+aiosqlite:///{tmp_path}/chat.db")
    await service.create_session(**KEY)
    yield service
    await service.db_engine.dispose()


@pytest.mark.parametrize("milliseconds", [1, 5, 20, 60])
async def test_every_third_of_ten_is_cancelled_and_the_others_are_answered(cancellable, runner_of, milliseconds):
    """Cancelled while they wait, load, store or run."""
    turns = queue(deadline=20)
    runner = runner_of(RetryingSessionService(cancellable), checking_agent(), turns)
    tasks = [asyncio.create_task(ask(runner, f"question {number}")) for number in range(10)]
    await asyncio.sleep(milliseconds / 1000)
    for task in tasks[::3]:
        task.cancel()
    outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    assert {number for number in range(10) if number % 3} <= set(answered(outcomes))
    await everything_given_back(turns)


async def test_a_rewind_waits_for_the_turn_that_runs():
    """google/adk-python#4933: a rewind computed beside a turn would annul it."""
    service = await memory()
    runner, first, going_on = await busy(service, queueing)
    first_invocation = (await load(service)).events[0].invocation_id
    rewind = asyncio.create_task(
        runner.rewind_async(user_id="user", session_id="session", rewind_before_invocation_id=first_invocation)
    )
    for _ in range(20):
        await asyncio.sleep(0)
    assert not rewind.done()
    going_on.set()
    await first
    await rewind
    assert (await load(service)).events[-1].actions.rewind_before_invocation_id == first_invocation


async def test_a_turn_that_is_asked_for_while_reading_another_does_not_wait_for_it(runner_of):
    service = await memory()
    runner = runner_of(service, checking_agent(), queue(deadline=5))
    ASKED.set("question 0")
    async with contextlib.aclosing(
        runner.run_async(user_id="user", session_id="session", new_message=content("question 0"))
    ) as events:
        async for _ in events:
            assert await ask(runner, "question 1") == ["answer to question 1"]
            break


async def test_nor_when_its_reader_began_in_another_task():
    runner = queueing(await memory(), checking_agent(), queue(deadline=5))
    ASKED.set("question 0")
    events = runner.run_async(user_id="user", session_id="session", new_message=content("question 0"))
    async with contextlib.aclosing(events):
        await asyncio.create_task(anext(events))
        await anext(events)
        assert await ask(runner, "question 1") == ["answer to question 1"]


async def test_the_synchronous_runs_of_several_threads_queue_too():
    service = await memory()
    seen = Seen()
    runner = queueing(service, checking_agent(seen, seconds=0.01), queue())

    def run(number):
        ASKED.set(f"question {number}")
        message = content(f"question {number}")
        return list(runner.run(user_id="user", session_id="session", new_message=message))

    ASKED.set("question")
    await asyncio.gather(*(asyncio.to_thread(run, number) for number in range(4)))
    texts = stored_texts(await load(service))
    assert len(texts) == 8
    assert [text.startswith("question") for text in texts] == [True, False] * 4


async def test_a_session_that_is_deleted_while_a_turn_waits_is_not_found(runner_of):
    service = await memory()
    runner, first, going_on = await busy(service, runner_of)
    second = asyncio.create_task(ask(runner, "question 1"))
    while runner_turns(runner).waiting(("app", "user", "session")) == 0:
        await asyncio.sleep(0.001)
    await service.delete_session(**KEY)
    going_on.set()
    await asyncio.gather(first, return_exceptions=True)
    with pytest.raises(Exception, match=r"not.found|Session"):
        await second
    assert len(runner_turns(runner)) == 0


def runner_turns(runner):
    return runner.turns if isinstance(runner, QueueingRunner) else installed[-1].turns


async def test_a_message_that_waited_goes_to_the_agent_that_was_transferred_to_meanwhile(runner_of):
    """The agent is chosen by the history, so by the one that there is when the turn begins."""
    asked = []

    class Transferring(LocalLlm):
        async def generate_content_async(self, llm_request, stream=False):
            asked.append("root")
            await asyncio.sleep(0.01)
            call = types.FunctionCall(name="transfer_to_agent", args={"agent_name": "helper"})
            yield LlmResponse(content=types.Content(role="model", parts=[types.Part(function_call=call)]))

    helper = Agent(name="helper", model=LocalLlm())
    root = Agent(name="root", model=Transferring(), sub_agents=[helper])
    runner = runner_of(await memory(), root, queue())
    answers = await asyncio.gather(ask(runner, "question 0"), ask(runner, "question 1"))
    assert answers == [["pong"], ["pong"]]
    assert asked == ["root"]
