"""The page "A queue for your runner": its code keeps every message in order, and without the queue it does not."""

from __future__ import annotations

import asyncio
import itertools
import os
import re

import pytest

from stale_retry.turns import TurnQueue, sql_lease

from . import runners, servers
from .runners import CHAT, NEEDS, RUNNERS, SENT, converse, run_code

pytestmark = [pytest.mark.servers, pytest.mark.asyncio]

EACH = pytest.mark.parametrize("name", RUNNERS)


@pytest.fixture
def need():
    def check(name):
        try:
            servers.need(NEEDS[name][0], wheel=NEEDS[name][1])
        except servers.MissingError as missing:
            (pytest.fail if servers.REQUIRED else pytest.skip)(str(missing))

    return check


@EACH
async def test_in_a_queue_every_message_is_kept_with_its_own_answer(name, need):
    need(name)
    kept, in_order, answered, errors = await converse(name, TurnQueue(longest=None, observers=()))
    assert errors == []
    assert kept == in_order == answered == SENT


@EACH
async def test_without_it_turns_are_lost_or_mixed(name, need):
    need(name)
    assert (await converse(name, None)).in_order < SENT / 2


async def test_two_processes_share_a_conversation_by_a_lease(need, provide, tmp_path):
    """Here two queues on one lease stand for them."""
    need("LangGraph")
    provide('create_async_engine "DATABASE_URL"')
    queues = [TurnQueue(shared=sql_lease(os.environ["DATABASE_URL"]), longest=None, observers=()) for _ in range(2)]

    class Both:
        calls = 0

        def __call__(self, key):
            self.calls += 1
            return queues[self.calls % 2](key)

    send, history = RUNNERS["LangGraph"](Both(), str(tmp_path))
    await asyncio.wait_for(asyncio.gather(*(send(CHAT, f"said-{number}") for number in range(10))), 60)
    said = await history()
    assert [text.removeprefix("answer to ") for text in said[::2]] == [
        text.removeprefix("answer to ") for text in said[1::2]
    ]
    assert len(said) == 20


async def test_a_turn_around_the_return_of_a_stream_is_over_before_the_stream_is_read(need, monkeypatch):
    """What the page warns of."""
    need("FastAPI: streaming")
    code = runners.code_of("FastAPI: streaming")
    wrong = code.replace("    words = turns.stream(session_id, answer(session_id, text))\n", "")
    wrong = wrong.replace(
        "    return StreamingResponse(words)\n",
        "    async with turns(session_id):\n        return StreamingResponse(answer(session_id, text))\n",
    )
    assert wrong.count("turns") == 1
    monkeypatch.setattr(runners, "code_of", lambda title: wrong)
    kept, _, answered, errors = await converse("FastAPI: streaming", TurnQueue(longest=None, observers=()))
    assert errors == []
    assert answered == SENT
    assert kept < SENT / 2


async def test_a_turn_whose_client_is_gone_runs_to_its_end_and_frees_the_conversation(need):
    """A server tells the handler when it sends or receives next."""
    need("FastAPI: WebSockets")
    turns, started, go_on, saved = TurnQueue(observers=()), asyncio.Event(), asyncio.Event(), []

    async def respond(session_id, text):
        started.set()
        await go_on.wait()
        saved.append(text)
        return text

    app = run_code("FastAPI: WebSockets", turns, respond=respond)["app"]

    def connect(text, is_gone):
        inbox = asyncio.Queue()
        inbox.put_nowait({"type": "websocket.connect"})
        inbox.put_nowait({"type": "websocket.receive", "text": text})

        async def take(event):
            if event["type"] == "websocket.send":
                if is_gone:
                    raise OSError
                inbox.put_nowait({"type": "websocket.disconnect", "code": 1000})

        scope = {"type": "websocket", "path": "/chats/c", "headers": [], "query_string": b""}
        return asyncio.ensure_future(app(scope, inbox.get, take))

    gone = connect("gone", is_gone=True)
    await started.wait()
    there = connect("there", is_gone=False)
    go_on.set()
    await asyncio.wait_for(asyncio.gather(gone, there, return_exceptions=True), 10)
    assert saved == ["gone", "there"]
    assert len(turns) == 0


def test_every_section_with_code_is_run():
    titles = re.findall(r"^## (.+)\n\n```py", runners.PAGE.read_text(), re.MULTILINE)
    assert titles == list(RUNNERS)


async def test_openai_agents_are_asked_with_two_questions_in_a_row_without_the_queue(need):
    need("OpenAI Agents")
    malformed = []
    for turns in (None, TurnQueue(longest=None, observers=())):
        runners.roles.clear()
        assert (await converse("OpenAI Agents", turns)).kept == SENT
        asked = [[*itertools.pairwise(each)] for each in runners.roles]
        malformed.append(sum(("user", "user") in pairs for pairs in asked))
    assert malformed[0] > SENT / 2
    assert malformed[1] == 0


async def test_a2as_streamed_messages_queue_too(need):
    need("a2a-sdk")
    from a2a.server.context import ServerCallContext
    from a2a.server.tasks import InMemoryTaskStore
    from a2a.types import AgentCapabilities, AgentCard, SendMessageRequest, Task, TaskState, TaskStatus

    store, context = InMemoryTaskStore(), ServerCallContext()
    state = TaskStatus(state=TaskState.TASK_STATE_INPUT_REQUIRED)
    await store.save(Task(id=CHAT, context_id="c", status=state), context)
    make = run_code("a2a-sdk", TurnQueue(longest=None, observers=()))["QueueingHandler"]
    card = AgentCard(name="a", description="-", version="1", capabilities=AgentCapabilities(streaming=True))
    handler = make(runners.a2a_executor(), store, card)

    async def send(text):
        request = SendMessageRequest(message=runners.a2a_message(text))
        return [event async for event in handler.on_message_send_stream(request, context)][-1]

    asked = [f"said-{number}" for number in range(10)]
    answers = await asyncio.wait_for(asyncio.gather(*map(send, asked)), 60)
    assert [last.status.message.message_id for last in answers] == [*map(runners.answer_to, asked)]
    task = await store.get(CHAT, context)
    await handler.aclose()
    assert {message.message_id for message in task.history} >= set(asked)
