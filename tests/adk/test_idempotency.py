"""The same message delivered twice is answered once: the session is the ledger."""

import asyncio
import contextlib
import contextvars

import pytest
from google.adk.agents import Agent, SequentialAgent
from google.adk.plugins.base_plugin import BasePlugin
from google.adk.runners import Runner
from google.adk.sessions import DatabaseSessionService
from google.adk.sessions.base_session_service import GetSessionConfig
from google.adk.tools import LongRunningFunctionTool
from google.genai import types

from stale_retry.adk import IdempotencyKeyReusedError, QueueingRunner, RetryingSessionService
from stale_retry.turns import SessionBusyError, TurnInterruptedError, sql_lease

from .app import content, event, load, rewind
from .queues import counting_agent, deliver, keyed, memory, queue, queued, queueing, texts_of, until

pytestmark = pytest.mark.asyncio

BOOKED = ["call", "response", "answer to book it"]


@pytest.fixture(params=[queueing, queued])
def runner_of(request):
    return request.param


class Shop:
    """A runner whose tool charges, on a session service."""

    def __init__(self, service, make=queueing, turns=None, **options):
        self.service = service
        self.charges = []
        self.agent, self.llm = counting_agent(self.charges)
        self.turns = turns or queue()
        self.runner = make(service, self.agent, self.turns, **options)

    async def deliver(self, text, key=None, **options):
        return await deliver(self.runner, text, key, **options)

    @property
    def model_calls(self):
        return len(self.llm.requests)

    async def stored(self):
        return texts_of((await load(self.service)).events)


async def test_a_message_delivered_three_times_is_answered_by_one_run(runner_of):
    shop = Shop(await memory(), runner_of)
    first, second = await asyncio.gather(shop.deliver("book it", "k"), shop.deliver("book it", "k"))
    assert first == second == await shop.deliver("book it", "k") == BOOKED
    assert (shop.model_calls, shop.charges) == (2, ["charge"])
    assert await shop.stored() == ["book it", *BOOKED]


async def test_on_a_database_too(sqlite_database):
    shop = Shop(RetryingSessionService(sqlite_database))
    answers = await asyncio.gather(*(shop.deliver("book it", "k") for _ in range(3)))
    assert answers == [BOOKED] * 3
    assert (shop.model_calls, shop.charges) == (2, ["charge"])


async def test_messages_without_a_key_are_all_answered(runner_of):
    shop = Shop(await memory(), runner_of)
    assert [await shop.deliver("hello") for _ in range(2)] == [["answer to hello"]] * 2
    assert shop.model_calls == 2


@pytest.mark.parametrize("option", [None, "message_id"])
async def test_another_field_or_none_is_looked_at_when_told_so(option):
    shop = Shop(await memory(), idempotency_key=option)
    for _ in range(2):
        await shop.deliver("hello", "k")
    assert shop.model_calls == 2


async def test_a_function_of_the_arguments_can_name_the_key():
    shop = Shop(await memory(), idempotency_key=lambda arguments: arguments["new_message"].parts[0].text)
    for _ in range(2):
        assert await shop.deliver("hello") == ["answer to hello"]
    assert shop.model_calls == 1


async def test_another_message_with_the_same_key_is_an_error_and_nothing_of_it_is_stored(runner_of):
    shop = Shop(await memory(), runner_of)
    await shop.deliver("hello", "k")
    with pytest.raises(IdempotencyKeyReusedError, match="idempotency key 'k'"):
        await shop.deliver("goodbye", "k")
    assert await shop.stored() == ["hello", "answer to hello"]
    assert shop.model_calls == 1


async def test_the_message_is_compared_as_it_was_sent_and_not_as_a_plugin_stored_it():
    class Redacting(BasePlugin):
        async def on_user_message_callback(self, *, invocation_context, user_message):
            return content(user_message.parts[0].text.replace("4711", "****"))

    shop = Shop(await memory(), plugins=[Redacting("redacting")])
    for _ in range(2):
        assert await shop.deliver("my card is 4711", "k") == ["answer to my card is ****"]
    assert shop.model_calls == 1


async def test_a_run_that_failed_is_continued_and_its_tool_does_not_run_again(runner_of):
    """A 429 between the tool and the answer."""
    shop = Shop(await memory(), runner_of)
    shop.llm.fails.append(RuntimeError("429"))
    with pytest.raises(RuntimeError, match="429"):
        await shop.deliver("book it", "k")
    assert await shop.deliver("book it", "k") == BOOKED
    assert shop.charges == ["charge"]
    assert shop.llm.shown(-1) == ["book it", "call", "response"]
    assert shop.llm.refused == []
    assert await shop.deliver("book it", "k") == BOOKED
    assert shop.model_calls == 3
    assert await shop.stored() == ["book it", *BOOKED]


async def test_the_error_that_a_run_was_cut_off_with_is_not_among_its_events():
    shop = Shop(await memory())
    shop.llm.fails.append(RuntimeError("429"))
    with pytest.raises(RuntimeError, match="429"):
        await shop.deliver("book it", "k")
    arguments = {"user_id": "user", "session_id": "session", "new_message": content("book it")}
    for _ in range(2):
        events = [event async for event in shop.runner.run_async(**arguments, run_config=keyed("k"))]
        assert [event.error_code for event in events] == [None] * 3
        assert texts_of(events) == BOOKED


async def test_a_run_that_its_client_left_in_a_tool_is_continued_with_the_call_answered_as_not_known(runner_of):
    service = await memory()
    running = asyncio.Event()

    async def book() -> str:
        """Hangs."""
        running.set()
        await asyncio.sleep(3600)

    shop = Shop(service, runner_of)
    shop.agent.tools = [book]
    first = asyncio.create_task(shop.deliver("book it", "k"))
    await running.wait()
    first.cancel()
    await asyncio.wait([first])
    assert await shop.deliver("book it", "k") == BOOKED
    assert shop.llm.refused == []
    (response,) = [each for e in (await load(service)).events for each in e.get_function_responses()]
    assert "not known" in response.response["error"]


async def test_a_run_that_died_before_anything_was_answered_stores_its_message_once():
    shop = Shop(await memory())
    shop.llm.fails.append(RuntimeError("429"))
    with pytest.raises(RuntimeError, match="429"):
        await shop.deliver("hello", "k")
    assert await shop.deliver("hello", "k") == ["answer to hello"]
    assert shop.llm.shown(-1) == ["hello"]
    assert await shop.stored() == ["hello", "answer to hello"]


async def test_when_another_turn_came_since_a_message_that_was_cut_off_is_a_new_one():
    shop = Shop(await memory())
    shop.llm.fails.append(RuntimeError("429"))
    with pytest.raises(RuntimeError, match="429"):
        await shop.deliver("hello", "k")
    await shop.deliver("something else", "other")
    assert await shop.deliver("hello", "k") == ["answer to hello"]
    assert (await shop.stored()).count("hello") == 2
    # and the newest run is the one that counts from then on
    assert await shop.deliver("hello", "k") == ["answer to hello"]
    assert shop.model_calls == 3


async def test_a_message_that_was_answered_stays_answered_when_others_came_since():
    shop = Shop(await memory())
    await shop.deliver("hello", "k")
    await shop.deliver("something else", "other")
    assert await shop.deliver("hello", "k") == ["answer to hello"]
    assert shop.model_calls == 2


async def test_a_sequence_that_died_between_two_agents_is_continued_with_a_request_of_the_right_form():
    """An answer is stored, so only the missing mark tells that the run did not end."""
    service = await memory()
    first, second = [counting_agent([]) for _ in range(2)]
    agents = [Agent(name=name, model=agent.model) for name, (agent, _) in zip("ab", (first, second), strict=True)]
    models = [agent.model for agent in agents]
    runner = queueing(service, SequentialAgent(name="both", sub_agents=agents), queue())
    models[1].fails.append(RuntimeError("429"))
    with pytest.raises(RuntimeError, match="429"):
        await deliver(runner, "report", "k")
    answers = await deliver(runner, "report", "k")
    assert answers[0] == "answer to report"
    assert len(answers) == 3
    assert [broken for model in models for broken in model.refused] == []
    calls = sum(len(model.requests) for model in models)
    assert await deliver(runner, "report", "k") == answers
    assert sum(len(model.requests) for model in models) == calls


async def test_a_reader_that_stops_at_the_answer_has_its_message_answered(runner_of):
    """As most readers do: `if event.is_final_response(): break`."""
    shop = Shop(await memory(), runner_of)
    run = shop.runner.run_async(
        user_id="user", session_id="session", new_message=content("book it"), run_config=keyed("k")
    )
    async with contextlib.aclosing(run) as events:
        async for made in events:
            if made.is_final_response():
                break
    await shop.deliver("something else", "other")
    calls = shop.model_calls
    assert await shop.deliver("book it", "k") == BOOKED
    assert shop.model_calls == calls
    assert await shop.stored() == ["book it", *BOOKED, "something else", "answer to something else"]


@pytest.mark.skipif("abort_signal" not in Runner.run_async.__annotations__, reason="no abort signal in this release")
async def test_a_run_that_its_client_aborted_is_continued():
    """google-adk's server sets the signal when a client goes away."""
    shop = Shop(await memory())
    signal = asyncio.Event()
    shop.llm.fails.append(asyncio.Event().wait())
    first = asyncio.create_task(shop.deliver("book it", "k", abort_signal=signal))
    await until(lambda: shop.model_calls == 2 and not shop.llm.fails)
    signal.set()
    await asyncio.wait([first])
    assert (await shop.deliver("book it", "k"))[-1] == "answer to book it"
    assert shop.charges == ["charge"]
    assert shop.llm.refused == []


async def test_messages_of_one_invocation_are_told_apart():
    """A long-running tool's result goes on with the invocation of the message that it is for."""

    def book() -> None:
        """Somebody will answer later."""

    shop = Shop(await memory())
    shop.agent.tools = [LongRunningFunctionTool(func=book)]
    assert (await shop.deliver("book it", "first"))[0] == "call"
    first = await shop.deliver("book it", "first")
    (call,) = [call for each in (await load(shop.service)).events for call in each.get_function_calls()][:1]
    response = types.FunctionResponse(id=call.id, name="book", response={"result": "approved"})
    approval = types.Content(role="user", parts=[types.Part(function_response=response)])
    answer = await shop.deliver(approval, "second")
    calls = shop.model_calls
    assert answer == await shop.deliver(approval, "second") == ["answer to book it"]
    assert await shop.deliver("book it", "first") == first
    assert shop.model_calls == calls


async def test_state_is_as_the_run_that_was_cut_off_left_it():
    service = await memory()
    shop = Shop(service)
    shop.llm.fails.append(RuntimeError("429"))
    with pytest.raises(RuntimeError, match="429"):
        await shop.deliver("book it", "k", state_delta={"count": 1})
    await service.append_event(await load(service), event(state={"theirs": 2}))
    await shop.deliver("book it", "k", state_delta={"count": 1})
    assert (await load(service)).state == {"count": 1, "theirs": 2}


async def test_an_interrupted_message_ends_with_the_same_error_each_time(runner_of):
    service = await memory()
    running = asyncio.Event()

    async def book() -> str:
        """Hangs."""
        running.set()
        await asyncio.sleep(3600)

    shop = Shop(service, runner_of, queue("interrupt"))
    shop.agent.tools = [book]
    first = asyncio.create_task(shop.deliver("book it", "k"))
    await running.wait()
    assert await shop.deliver("hello", "other") == ["answer to hello"]
    with pytest.raises(TurnInterruptedError) as told:
        await first
    for _ in range(2):
        with pytest.raises(TurnInterruptedError) as again:
            await shop.deliver("book it", "k")
        assert (again.value.reason, again.value.started) == (told.value.reason, told.value.started) == ("newer", True)
    calls = shop.model_calls
    assert calls == 2
    assert shop.llm.refused == []


async def test_a_stopped_message_ends_with_the_same_error_each_time():
    shop = Shop(await memory())
    going_on = asyncio.Event()
    shop.llm.fails.append(going_on.wait())
    first = asyncio.create_task(shop.deliver("book it", "k"))
    await until(lambda: shop.charges)
    assert await shop.turns.stop(("app", "user", "session"))
    for delivery in (first, shop.deliver("book it", "k")):
        with pytest.raises(TurnInterruptedError) as told:
            await delivery
        assert told.value.reason == "stopped"


@pytest.mark.parametrize("when_busy", ["interrupt", "reject"])
async def test_a_delivery_of_a_message_that_runs_waits_for_it_whatever_a_busy_queue_does(when_busy):
    shop = Shop(await memory(), turns=queue(when_busy))
    going_on = asyncio.Event()
    shop.llm.fails.append(going_on.wait())
    deliveries = [asyncio.create_task(shop.deliver("book it", "k")) for _ in range(3)]
    await until(lambda: shop.charges)
    if when_busy == "reject":
        with pytest.raises(SessionBusyError):
            await shop.deliver("hello", "other")
    going_on.set()
    assert await asyncio.gather(*deliveries) == [BOOKED] * 3
    assert (shop.model_calls, shop.charges) == (2, ["charge"])


@pytest.mark.parametrize("collect", [False, True])
@pytest.mark.parametrize("when_busy", ["enqueue", "interrupt", "reject"])
async def test_in_another_process_too(sqlite_database, tmp_path, when_busy, collect):
    """Two runners that share nothing but a lease and a database, as two processes do."""
    url = str(sqlite_database.db_engine.url)
    leases = f"sqlite+aiosqlite:///{tmp_path}/leases.db"
    services = [sqlite_database, DatabaseSessionService(url)]
    stores = [sql_lease(leases, poll=0.05) for _ in services]
    here, there = [
        Shop(RetryingSessionService(service), turns=queue(when_busy, shared=store), collect=collect)
        for service, store in zip(services, stores, strict=True)
    ]
    going_on = asyncio.Event()
    here.llm.fails.append(going_on.wait())
    first = asyncio.create_task(here.deliver("book it", "k"))
    await until(lambda: here.charges)
    elsewhere = asyncio.create_task(there.deliver("book it", "k"), context=contextvars.Context())
    await asyncio.sleep(0.3)
    assert not elsewhere.done()
    going_on.set()
    assert await first == await elsewhere == BOOKED
    assert (here.model_calls, there.model_calls, there.charges) == (2, 0, [])
    await services[1].db_engine.dispose()
    for store in stores:
        await store.aclose()


async def test_deliveries_of_a_refused_message_are_refused_with_it():
    shop = Shop(await memory(), turns=queue(deadline=0.05))
    going_on = asyncio.Event()
    shop.llm.fails.append(going_on.wait())
    running = asyncio.create_task(shop.deliver("book it", "k"))
    await until(lambda: shop.charges)
    outcomes = await asyncio.gather(*(shop.deliver("hello", "other") for _ in range(2)), return_exceptions=True)
    assert [isinstance(outcome, SessionBusyError) for outcome in outcomes] == [True] * 2
    going_on.set()
    assert await running == BOOKED


async def test_a_reader_that_is_gone_keeps_no_later_delivery_waiting():
    shop = Shop(await memory(), turns=queue(reader_patience=0.05))
    events = shop.runner.run_async(
        user_id="user", session_id="session", new_message=content("book it"), run_config=keyed("k")
    )
    await anext(events)
    elsewhere = contextvars.Context()  # or the delivery would be inside the turn
    assert await asyncio.create_task(shop.deliver("book it", "k"), context=elsewhere) == BOOKED
    assert shop.charges == ["charge"]
    await events.aclose()


async def test_only_the_outermost_run_is_looked_up():
    """A tool asks a helper twice with the config of its own run."""
    service = await memory()
    await service.create_session(app_name="helper", user_id="user", session_id="session")
    helper_agent, helper_llm = counting_agent([])
    helper = QueueingRunner(app_name="helper", agent=helper_agent, session_service=service, turns=queue())
    asked = []

    async def book() -> str:
        """Asks a helper twice."""
        asked.extend([await deliver(helper, "hello", "k") for _ in range(2)])
        return "done"

    shop = Shop(service)
    shop.agent.tools = [book]
    assert await shop.deliver("book it", "k") == BOOKED
    assert asked == [["answer to hello"]] * 2
    assert len(helper_llm.requests) == 2
    stored = (await service.get_session(app_name="helper", user_id="user", session_id="session")).events
    assert not any("stale_retry" in (each.custom_metadata or {}) for each in stored)


async def test_what_a_tool_leaves_behind_is_looked_up_once_its_run_is_over():
    shop = Shop(await memory())
    over, later = asyncio.Event(), []

    async def book() -> str:
        """Starts something that outlives the run."""

        async def afterwards():
            await over.wait()
            return [await shop.deliver("hello", "later") for _ in range(2)]

        later.append(asyncio.create_task(afterwards()))
        return "done"

    shop.agent.tools = [book]
    await shop.deliver("book it", "k")
    over.set()
    assert await later[0] == [["answer to hello"]] * 2
    assert shop.model_calls == 3


async def test_a_run_with_another_turn_inside_is_continued_too():
    """What was said inside the turn is not another turn that came since."""
    shop = Shop(await memory())

    async def book() -> str:
        """Asks the same session."""
        shop.charges.append("charge")
        await deliver(shop.runner, "inner")
        return "done"

    shop.agent.tools = [book]
    shop.llm.fails[:] = [asyncio.sleep(0), RuntimeError("429")]
    with pytest.raises(RuntimeError, match="429"):
        await shop.deliver("book it", "k")
    assert (await shop.deliver("book it", "k"))[:2] == ["call", "response"]
    assert shop.charges == ["charge"]


@pytest.mark.parametrize("window", [1, 2, 50])
async def test_a_run_is_continued_and_found_whatever_part_of_the_session_it_loads(sqlite_database, window):
    shop = Shop(RetryingSessionService(sqlite_database))
    await shop.deliver("hello", "first")
    shop.llm.fails.append(RuntimeError("429"))
    config = keyed("k")
    if "get_session_config" in type(config).model_fields:
        config.get_session_config = GetSessionConfig(num_recent_events=window)
    for _ in range(3):
        with contextlib.suppress(RuntimeError):
            await shop.deliver("book it", run_config=config)
    assert shop.charges == ["charge"]
    assert await shop.stored() == ["hello", "answer to hello", "book it", *BOOKED[:2], *(await shop.stored())[5:]]
    assert len(await shop.stored()) == 6


async def test_a_message_that_was_cut_off_and_rewound_is_a_new_one():
    service = await memory()
    shop = Shop(service)
    shop.llm.fails.append(RuntimeError("429"))
    with pytest.raises(RuntimeError, match="429"):
        await shop.deliver("hello", "k")
    session = await load(service)
    await service.append_event(session, rewind(session.events[0].invocation_id))
    assert await shop.deliver("hello", "k") == ["answer to hello"]


async def test_a_message_that_was_answered_and_rewound_stays_answered():
    service = await memory()
    shop = Shop(service)
    await shop.deliver("hello", "k")
    session = await load(service)
    await service.append_event(session, rewind(session.events[0].invocation_id))
    assert await shop.deliver("hello", "k") == ["answer to hello"]
    assert shop.model_calls == 1


async def test_what_is_noted_has_no_content_and_no_model_sees_it():
    service = await memory()
    shop = Shop(service)
    await shop.deliver("hello", "k")
    *said, mark = (await load(service)).events
    assert [bool(each.content) for each in said] == [True, True]
    assert mark.content is None
    await shop.deliver("more", "other")
    assert shop.llm.shown(-1) == ["hello", "answer to hello", "more"]


@pytest.mark.parametrize("wrong", [1, True, ""])
async def test_an_idempotency_key_option_that_is_wrong_is_refused(wrong):
    with pytest.raises(TypeError, match="idempotency_key must be"):
        Shop(await memory(), idempotency_key=wrong)


async def test_a_key_that_is_no_string_is_refused():
    shop = Shop(await memory())
    with pytest.raises(TypeError, match="an idempotency key must be a string"):
        await shop.deliver("hello", ["k"])
    assert (await load(shop.service)).events == []
