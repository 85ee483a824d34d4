"""Messages that come while a turn runs are answered by one next turn."""

import asyncio

import pytest
from google.adk.agents.run_config import RunConfig
from google.genai import types

from stale_retry.adk import IdempotencyKeyReusedError
from stale_retry.turns import SessionBusyError, TurnInterruptedError

from .app import content, load
from .queues import deliver, keyed, memory, queue, queued, queueing, texts_of, until
from .test_idempotency import Shop

pytestmark = pytest.mark.asyncio


@pytest.fixture(params=[queueing, queued])
def runner_of(request):
    return request.param


class Busy(Shop):
    """A shop that collects, and whose first turn runs until it is told to go on."""

    async def open(self):
        self.going_on = asyncio.Event()
        self.llm.fails.append(self.going_on.wait())
        self.first = asyncio.create_task(self.deliver("book it"))
        await until(lambda: self.charges)
        return self

    async def send(self, *texts, **options):
        sent = []
        for text in texts:
            sent.append(asyncio.create_task(self.deliver(text, **options)))
            await settled()
        return sent

    async def goes_on(self):
        self.going_on.set()
        await self.first


async def settled():
    for _ in range(20):
        await asyncio.sleep(0)


async def busy(make=queueing, **options):
    return await Busy(await memory(), make, options.pop("turns", None), collect=True, **options).open()


async def test_five_messages_during_a_turn_are_answered_by_one_next_turn(runner_of):
    shop = await busy(runner_of)
    sent = await shop.send(*(f"m{number}" for number in range(5)))
    await shop.goes_on()
    assert await asyncio.gather(*sent) == [["answer to m4"], [], [], [], []]
    assert shop.model_calls == 3
    assert shop.llm.shown(-1)[-5:] == [f"m{number}" for number in range(5)]
    users = [event for event in (await load(shop.service)).events if event.author == "user" and event.content]
    assert [len(event.content.parts) for event in users] == [1, 5]


async def test_also_when_the_first_of_them_leaves_before_it_begins(runner_of):
    shop = await busy(runner_of)
    sent = await shop.send(*(f"m{number}" for number in range(5)))
    sent[0].cancel()
    await shop.goes_on()
    assert await asyncio.gather(*sent[1:]) == [["answer to m4"], [], [], []]
    assert shop.llm.shown(-1)[-4:] == [f"m{number}" for number in range(1, 5)]


async def test_and_when_it_leaves_while_they_are_answered():
    shop = await busy()
    sent = await shop.send("m0", "m1")
    answering = asyncio.Event()
    shop.llm.fails.append(answering.wait())
    await shop.goes_on()
    await until(lambda: shop.model_calls >= 3)
    sent[0].cancel()
    await settled()
    answering.set()
    assert await sent[1] == []
    assert (await shop.stored())[-3:] == ["m0", "m1", "answer to m1"]


async def test_when_all_of_them_leave_the_run_ends_and_the_next_message_is_answered():
    shop = await busy()
    sent = await shop.send("m0", "m1")
    shop.llm.fails.append(asyncio.Event().wait())
    await shop.goes_on()
    await until(lambda: shop.model_calls >= 3)
    for task in sent:
        task.cancel()
    await asyncio.wait(sent)
    assert await shop.deliver("next") == ["answer to next"]


async def test_a_joined_run_tells_which_run_answered_it(runner_of):
    shop = await busy(runner_of)
    (first,) = await shop.send("m0")

    async def read():
        run = shop.runner.run_async(user_id="user", session_id="session", new_message=content("m1"))
        return [event async for event in run]

    second = asyncio.create_task(read())
    await settled()
    await shop.goes_on()
    (notice,) = await second
    assert await first == ["answer to m1"]
    answer = (await load(shop.service)).events[-1]
    assert notice.content is None
    assert notice.custom_metadata == {"stale_retry": {"joined": answer.invocation_id}}
    assert notice.id not in [event.id for event in (await load(shop.service)).events]


async def test_a_joined_run_can_yield_the_answer(runner_of):
    shop = await busy(runner_of, joined="answer")
    sent = await shop.send("m0", "m1", "m2")
    await shop.goes_on()
    assert await asyncio.gather(*sent) == [["answer to m2"]] * 3


async def test_files_are_collected_with_texts():
    shop = await busy()
    file = types.Part(inline_data=types.Blob(data=b"picture", mime_type="image/png"))
    sent = await shop.send(types.Content(role="user", parts=[file]), "what is this")
    await shop.goes_on()
    await asyncio.gather(*sent)
    assert shop.model_calls == 3
    assert [bool(part.inline_data) for part in shop.llm.requests[-1][-1].parts] == [True, False]


def responding():
    response = types.FunctionResponse(id="call", name="book", response={"result": "approved"})
    return types.Content(role="user", parts=[types.Part(function_response=response)])


@pytest.mark.parametrize(
    "options",
    [
        {"state_delta": {"count": 1}},
        {"run_config": RunConfig(max_llm_calls=7)},
        {"run_config": RunConfig(custom_metadata={"tenant": "acme"})},
    ],
    ids=["state", "config", "metadata"],
)
async def test_a_message_that_differs_in_more_than_text_is_a_turn_of_its_own_and_ends_the_batch(options):
    shop = await busy()
    sent = [*(await shop.send("m0", "m1")), *(await shop.send("m2", **options)), *(await shop.send("m3", "m4"))]
    await shop.goes_on()
    assert await asyncio.gather(*sent) == [["answer to m1"], [], ["answer to m2"], ["answer to m4"], []]


async def test_messages_that_write_the_same_state_are_turns_of_their_own():
    shop = await busy()
    sent = await shop.send("m0", "m1", state_delta={"count": 1})
    await shop.goes_on()
    assert await asyncio.gather(*sent) == [["answer to m0"], ["answer to m1"]]


async def test_two_messages_of_one_key_are_not_answered_together():
    shop = await busy()
    sent = await shop.send("m0", "m1", key="k")
    await shop.goes_on()
    assert await sent[0] == ["answer to m0"]
    with pytest.raises(IdempotencyKeyReusedError):
        await sent[1]
    assert "m1" not in await shop.stored()


async def test_a_function_response_joins_nothing():
    shop = await busy()
    sent = await shop.send("m0", responding(), "m1")
    await shop.goes_on()
    outcomes = await asyncio.gather(*sent, return_exceptions=True)
    assert (outcomes[0], outcomes[2]) == (["answer to m0"], ["answer to m1"])


async def test_without_a_turn_that_runs_a_message_is_answered_at_once():
    shop = Shop(await memory(), collect=True)
    assert await shop.deliver("hello") == ["answer to hello"]


async def test_an_error_reaches_everyone():
    shop = await busy()
    sent = await shop.send("m0", "m1")
    shop.llm.fails.append(RuntimeError("429"))
    await shop.goes_on()
    outcomes = await asyncio.gather(*sent, return_exceptions=True)
    assert [str(outcome) for outcome in outcomes] == ["429"] * 2


async def test_beyond_longest_a_message_is_refused_and_none_is_dropped():
    shop = await busy(turns=queue(longest=3))
    sent = await shop.send(*(f"m{number}" for number in range(4)))
    with pytest.raises(SessionBusyError):
        await sent[3]
    await shop.goes_on()
    assert await asyncio.gather(*sent[:3]) == [["answer to m2"], [], []]


async def test_everybody_is_told_of_a_stop():
    shop = await busy()
    sent = await shop.send("m0", "m1")
    shop.llm.fails.append(asyncio.Event().wait())
    await shop.goes_on()
    await until(lambda: shop.model_calls >= 3)
    assert await shop.turns.stop(("app", "user", "session"))
    for task in sent:
        with pytest.raises(TurnInterruptedError):
            await task


async def test_each_collected_message_is_known_by_its_key_when_it_comes_again(runner_of):
    shop = await busy(runner_of)
    sent = [task for n in range(3) for task in await shop.send(f"m{n}", key=f"k{n}")]
    await shop.goes_on()
    assert await asyncio.gather(*sent) == [["answer to m2"], [], []]
    calls = shop.model_calls
    assert [await shop.deliver(f"m{n}", f"k{n}") for n in range(3)] == [["answer to m2"]] * 3
    assert shop.model_calls == calls


async def test_a_message_that_runs_or_was_answered_joins_nothing_when_it_comes_again():
    shop = Shop(await memory(), collect=True)
    await shop.deliver("hello", "known")
    going_on = asyncio.Event()
    shop.llm.fails.append(going_on.wait())
    running = asyncio.create_task(shop.deliver("book it", "runs"))
    await until(lambda: shop.charges)
    again = asyncio.create_task(shop.deliver("book it", "runs"))
    new = asyncio.create_task(shop.deliver("new", "new"))
    assert await shop.deliver("hello", "known") == ["answer to hello"]
    going_on.set()
    assert await again == await running
    assert await new == ["answer to new"]
    assert shop.charges == ["charge"]


async def test_collected_messages_that_were_cut_off_are_continued_together():
    shop = await busy()
    sent = [task for n in range(2) for task in await shop.send(f"m{n}", key=f"k{n}")]
    shop.llm.fails.append(RuntimeError("429"))
    await shop.goes_on()
    await asyncio.gather(*sent, return_exceptions=True)
    assert await shop.deliver("m1", "k1") == ["answer to m1"]
    assert await shop.deliver("m0", "k0") == ["answer to m1"]
    assert (await shop.stored()).count("m0") == 1
    assert shop.llm.refused == []


async def test_a_run_that_a_tool_starts_on_the_same_session_is_inside_the_turn():
    shop = Shop(await memory(), collect=True)

    async def book() -> str:
        """Asks its own session."""
        return str(await deliver(shop.runner, "inner"))

    shop.agent.tools = [book]
    assert (await asyncio.wait_for(shop.deliver("book it"), 10))[0] == "call"


async def test_collect_and_joined_are_checked():
    with pytest.raises(TypeError, match="collect must be"):
        Shop(await memory(), collect="yes")
    with pytest.raises(ValueError, match="joined must be"):
        Shop(await memory(), joined="all")


async def test_the_key_in_the_config_does_not_keep_messages_apart():
    shop = await busy()
    sent = [
        *(await shop.send("m0")),
        *(await shop.send("m1", run_config=keyed("k1"))),
        *(await shop.send("m2", run_config=RunConfig())),
    ]
    await shop.goes_on()
    assert await asyncio.gather(*sent) == [["answer to m2"], [], []]
    assert texts_of((await load(shop.service)).events)[-4:] == ["m0", "m1", "m2", "answer to m2"]
