"""The queue for runners that somebody else makes."""

import asyncio
import contextlib
import contextvars
import functools
import gc
import inspect
import pickle
import weakref

import pytest
from google.adk.agents import Agent
from google.adk.agents.live_request_queue import LiveRequestQueue
from google.adk.apps.app import App
from google.adk.models import LlmResponse
from google.adk.models.base_llm_connection import BaseLlmConnection
from google.adk.plugins.base_plugin import BasePlugin
from google.adk.runners import Runner
from google.adk.sessions import InMemorySessionService

from stale_retry.adk import QueueingRunner, RetryingSessionService, queue_all_runners
from stale_retry.turns import LeaseAnswer, SessionBusyError, TurnError

from .app import KEY, LocalLlm, content, load
from .conversation import Seen, answered, ask, ask_at_once, checking_agent, stored_texts
from .queues import memory, queue, queued, queueing, until

pytestmark = pytest.mark.asyncio


class Replacing(BasePlugin):
    """Answers each message with another one, so that google-adk asks no plugin after it."""

    async def on_user_message_callback(self, *, invocation_context, user_message):
        return content(user_message.parts[0].text)


async def per_event(runner, question):
    """Reads each event in a task of its own, with a time limit, as heartbeats do."""
    from .conversation import ASKED

    ASKED.set(question)
    run = runner.run_async(user_id="user", session_id="session", new_message=content(question))
    answers = []
    with contextlib.suppress(StopAsyncIteration):
        while True:
            event = await asyncio.wait_for(asyncio.ensure_future(anext(run)), 60)
            answers += [part.text for part in (event.content.parts if event.content else []) if part.text]
    return answers


@pytest.mark.parametrize("read", [ask, per_event])
async def test_twenty_turns_beside_a_plugin_that_rewrites_messages_are_right_and_in_order(sqlite_database, read):
    """google/adk-python#1049, for readers of every kind."""
    seen = Seen()
    runner = queued(RetryingSessionService(sqlite_database), checking_agent(seen), queue(), [Replacing("replacing")])
    outcomes = await asyncio.gather(*(read(runner, f"question {n}") for n in range(20)), return_exceptions=True)
    assert answered(outcomes) == list(range(20))
    assert (seen.requests, seen.refused, seen.foreign) == (40, [], 0)
    expected = [text for n in range(20) for text in (f"question {n}", f"answer to question {n}")]
    assert stored_texts(await load(sqlite_database)) == expected


async def test_the_same_queue_again_is_the_same_handle_and_another_one_is_refused():
    turns = queue()
    with queue_all_runners(turns) as handle:
        assert handle.turns is turns
        assert queue_all_runners(turns) is queue_all_runners() is handle
        for different in ({"turns": queue()}, {"turns": turns, "collect": True}, {"idempotency_key": None}):
            with pytest.raises(RuntimeError, match="queued already"):
                queue_all_runners(**different)
    with queue_all_runners(queue()) as other:
        assert other is not handle


async def test_runners_that_are_given_no_queue_share_one():
    service = await memory()
    runners = [QueueingRunner(app_name="app", agent=checking_agent(), session_service=service) for _ in range(2)]
    with queue_all_runners() as handle:
        assert runners[0].turns is runners[1].turns is handle.turns


async def test_undone_the_runners_are_as_google_made_them():
    before = Runner.run_async, Runner.rewind_async
    with queue_all_runners(queue("reject")) as handle:
        assert before[0] is not Runner.run_async
    assert (Runner.run_async, Runner.rewind_async) == before
    handle.undo()
    assert (Runner.run_async, Runner.rewind_async) == before


async def test_the_signature_is_googles():
    """google-adk's api_server looks at it before it hands an abort signal on."""
    signatures = [inspect.signature(method) for method in (Runner.run_async, Runner.rewind_async)]
    with queue_all_runners(queue()):
        assert [inspect.signature(method) for method in (Runner.run_async, Runner.rewind_async)] == signatures
        assert inspect.isasyncgenfunction(Runner.run_async)
        assert inspect.iscoroutinefunction(Runner.rewind_async)


async def elsewhere(work):
    """In a context that is inside no turn."""
    return await asyncio.create_task(work, context=contextvars.Context())


@contextlib.contextmanager
def instrumented(calls):
    """What another library does to runners."""
    original = Runner.run_async

    @functools.wraps(original)
    async def run_async(self, **arguments):
        calls.append("called")
        async with contextlib.aclosing(original(self, **arguments)) as events:
            async for event in events:
                yield event

    Runner.run_async = run_async
    try:
        yield run_async
    finally:
        Runner.run_async = original


async def test_undo_works_below_another_librarys_wrapper_and_leaves_that_in_place():
    service, calls, original = await memory(), [], Runner.run_async
    handle = queue_all_runners(queue("reject"))
    with instrumented(calls) as theirs:
        runner = Runner(app_name="app", agent=checking_agent(), session_service=service)
        handle.undo()
        assert Runner.run_async is theirs
        async with handle.turns(("app", "user", "session")):
            assert await elsewhere(ask(runner, "question 0")) == ["answer to question 0"]
        assert calls == ["called"]
        again = queue_all_runners(queue("reject"))
        assert await ask(runner, "question 1") == ["answer to question 1"]
        assert calls == ["called"] * 2
        again.undo()
        assert Runner.run_async is theirs
    Runner.run_async = original


async def test_a_queueing_runner_keeps_its_own_queue():
    service, own = await memory(), queue()
    runner = queueing(service, checking_agent(), own)
    others = queue("reject")
    with queue_all_runners(others):
        async with others(("app", "user", "session")):
            outcomes = await elsewhere(ask_at_once(runner, 3))
    assert answered(outcomes) == [0, 1, 2]


async def test_a_subclass_that_calls_super_is_queued():
    class Mine(Runner):
        async def run_async(self, **arguments):
            async with contextlib.aclosing(super().run_async(**arguments)) as events:
                async for event in events:
                    yield event

    seen = Seen()
    runner = Mine(app_name="app", agent=checking_agent(seen), session_service=await memory())
    with queue_all_runners(queue()):
        outcomes = await ask_at_once(runner, 5)
    assert answered(outcomes) == list(range(5))
    assert seen.foreign == 0


async def test_turns_must_be_a_queue():
    for make in (queue_all_runners, functools.partial(QueueingRunner, app_name="app", agent=checking_agent())):
        with pytest.raises(TypeError, match="turns must be a TurnQueue"):
            make(turns="enqueue")


class Connection(BaseLlmConnection):
    """Answers each text."""

    def __init__(self):
        self.texts = asyncio.Queue()

    async def send_history(self, history):
        pass

    async def send_content(self, content):
        await self.texts.put(content)

    async def send_realtime(self, blob):
        pass

    async def receive(self):
        while True:
            await self.texts.get()
            yield LlmResponse(content=content("live answer", "model"), turn_complete=True)

    async def close(self):
        pass


class Live(LocalLlm):
    @contextlib.asynccontextmanager
    async def connect(self, llm_request):
        yield Connection()


@pytest.mark.parametrize("when_busy", ["enqueue", "interrupt"])
@pytest.mark.parametrize("runner_of", [queueing, queued])
async def test_a_live_run_neither_waits_nor_is_waited_for(runner_of, when_busy):
    turns = queue(when_busy)
    runner = runner_of(await memory(), Agent(name="agent", model=Live()), turns)
    texts, heard, live_events = LiveRequestQueue(), asyncio.Event(), []

    async def listen():
        run = runner.run_live(user_id="user", session_id="session", live_request_queue=texts)
        async for event in run:
            live_events.append(event)
            if event.content:
                heard.set()

    async with turns(("app", "user", "session")):
        listening = asyncio.create_task(listen())
        texts.send_content(content("hi"))
        await asyncio.wait_for(heard.wait(), 20)
    assert await asyncio.wait_for(ask(runner, "question"), 20) == ["pong"]
    assert not listening.done()
    heard.clear()
    texts.send_content(content("still there"))
    await asyncio.wait_for(heard.wait(), 20)
    texts.close()
    listening.cancel()
    await asyncio.wait([listening])


class Leases:
    """A store that counts what it is asked."""

    timeout, poll = 30.0, 0.25

    def __init__(self):
        self.asked = []

    async def acquire(self, name, token, *, arrived=None, interrupts=False):
        self.asked.append(name)
        return LeaseAnswer(True, 0.0)

    async def look(self, held, *, renew):
        return {}

    async def release(self, name, token):
        return True

    async def stop(self, name, token):
        return False


async def test_only_sessions_that_other_processes_can_see_ask_for_a_lease(sqlite_database):
    leases = Leases()
    turns = queue(shared=leases)
    in_memory = queueing(await memory(), checking_agent(), turns)
    wrapped = queueing(RetryingSessionService(await memory()), checking_agent(), turns)
    for runner in (in_memory, wrapped):
        assert await ask(runner, "question 0") == ["answer to question 0"]
    assert leases.asked == []
    assert await ask(queueing(sqlite_database, checking_agent(), turns), "question 0") == ["answer to question 0"]
    assert leases.asked == ['["app", "user", "session"]']


async def test_turns_of_equal_names_in_different_services_do_not_wait_for_each_other():
    both, turns = asyncio.Barrier(2), queue()

    async def look_up() -> str:
        """Waits for the other one."""
        await asyncio.wait_for(both.wait(), 10)
        return "met"

    runners = [queueing(await memory(), checking_agent(tools=[look_up]), turns) for _ in range(2)]
    answers = await asyncio.gather(*(ask(runner, "question") for runner in runners))
    assert answers == [["answer to question"]] * 2


async def test_those_of_one_database_do_however_many_services_there_are(sqlite_database):
    from google.adk.sessions import DatabaseSessionService

    url = str(sqlite_database.db_engine.url)
    services = [sqlite_database, RetryingSessionService(sqlite_database), DatabaseSessionService(url)]
    seen, turns = Seen(), queue()
    runners = [queueing(service, checking_agent(seen), turns) for service in services]
    outcomes = await asyncio.gather(*(ask(runner, f"question {n}") for n, runner in enumerate(runners)))
    assert answered(outcomes) == [0, 1, 2]
    assert (seen.foreign, seen.refused) == (0, [])
    await services[-1].db_engine.dispose()


async def test_the_queue_knows_a_session_by_its_names():
    service, turns = await memory(), queue()
    going_on, running = asyncio.Event(), asyncio.Event()

    async def look_up() -> str:
        """Takes its time."""
        running.set()
        await going_on.wait()
        return "found"

    runner = queueing(service, checking_agent(tools=[look_up]), turns)
    first = asyncio.create_task(ask(runner, "question 0"))
    await running.wait()
    second = asyncio.create_task(ask(runner, "question 1"))
    await asyncio.sleep(0)
    await until(lambda: turns.waiting(("app", "user", "session")))
    assert turns.waiting(("app", "user", "other")) == 0
    assert await turns.stop(("app", "user", "session"), waiting=True)
    for task in (first, second):
        with pytest.raises(TurnError):
            await task


@pytest.mark.skipif(
    "auto_create_session" not in inspect.signature(Runner).parameters, reason="this release creates no sessions itself"
)
@pytest.mark.parametrize("make", [Runner, QueueingRunner])
async def test_the_first_messages_of_a_session_at_once_are_all_answered(sqlite_database, make):
    await sqlite_database.delete_session(**KEY)
    runner = make(app_name="app", agent=checking_agent(), session_service=sqlite_database, auto_create_session=True)
    with queue_all_runners(queue()):
        assert answered(await ask_at_once(runner, 5)) == list(range(5))


async def test_a_refused_turn_is_an_http_error_too():
    from starlette.exceptions import HTTPException

    turns = queue("reject")
    runner = queueing(await memory(), checking_agent(), turns)
    async with turns(("app", "user", "session")):
        with pytest.raises(SessionBusyError) as told:
            await elsewhere(ask(runner, "question"))
    error = told.value
    assert isinstance(error, HTTPException)
    assert (error.status_code, error.reason, error.detail) == (409, "busy", str(error))
    assert str(error).startswith("the session is busy")
    copy = pickle.loads(pickle.dumps(error))
    assert (type(copy), copy.reason, str(copy)) == (SessionBusyError, "busy", str(error))


async def test_nothing_is_kept_of_a_runner():
    service = InMemorySessionService()
    await service.create_session(**KEY)
    with queue_all_runners(queue()):
        runner = Runner(app=App(name="app", root_agent=checking_agent()), session_service=service)
        await ask(runner, "question 0")
        gone = weakref.ref(runner)
        del runner
        gc.collect()
        assert gone() is None
