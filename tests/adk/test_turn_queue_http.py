"""What a client of google-adk's web server sees of the queue, without further set-up."""

import asyncio
import logging
import sys
import textwrap

import httpx
import pytest
from google.adk.cli.fast_api import get_fast_api_app

from stale_retry.adk import queue_all_runners
from stale_retry.turns import TurnQueue

pytestmark = pytest.mark.asyncio

AGENT = """
    import asyncio
    from google.adk.agents import Agent
    from google.adk.models import BaseLlm, LlmResponse
    from google.genai import types

    going_on, running = asyncio.Event(), asyncio.Event()

    class Slow(BaseLlm):
        model: str = "slow"

        async def generate_content_async(self, llm_request, stream=False):
            running.set()
            await going_on.wait()
            yield LlmResponse(content=types.Content(role="model", parts=[types.Part(text="pong")]))

    root_agent = Agent(name="chat", model=Slow())
"""


@pytest.fixture
def server(tmp_path, monkeypatch):
    """Makes google-adk's own server, whose turns queue."""
    (tmp_path / "chat").mkdir()
    (tmp_path / "chat" / "__init__.py").write_text("from . import agent\n")
    (tmp_path / "chat" / "agent.py").write_text(textwrap.dedent(AGENT))
    monkeypatch.syspath_prepend(str(tmp_path))

    def make(*args, **options):
        queue_all_runners(TurnQueue(*args, **options))
        return get_fast_api_app(agents_dir=str(tmp_path), session_service_uri="memory://", web=False)

    yield make
    queue_all_runners().undo()
    for name in [name for name in sys.modules if name.split(".")[0] == "chat"]:
        del sys.modules[name]


def client_of(app):
    return httpx.AsyncClient(transport=httpx.ASGITransport(app, raise_app_exceptions=False), base_url="http://here")


def message(text):
    content = {"role": "user", "parts": [{"text": text}]}
    return {"app_name": "chat", "user_id": "ada", "session_id": "s1", "new_message": content}


async def with_one_turn_running(client):
    await client.post("/apps/chat/users/ada/sessions/s1", json={})
    first = asyncio.create_task(client.post("/run", json=message("first"), timeout=20))
    for _ in range(1000):
        if "chat.agent" in sys.modules and sys.modules["chat.agent"].running.is_set():
            return first, sys.modules["chat.agent"].going_on
        await asyncio.sleep(0.005)
    raise AssertionError("the first turn never ran")


async def test_a_refused_turn_is_409_with_words_and_one_line_in_the_log(server, caplog):
    async with client_of(server("reject")) as client:
        first, going_on = await with_one_turn_running(client)
        with caplog.at_level(logging.INFO):
            caplog.clear()
            refused = await client.post("/run", json=message("second"))
        assert refused.status_code == 409
        assert "the session is busy" in refused.json()["detail"]
        (line,) = [record for record in caplog.records if not record.name.startswith("httpx")]
        assert (line.name, line.levelname, line.exc_info) == ("stale_retry", "WARNING", None)
        going_on.set()
        assert (await first).status_code == 200
        session = (await client.get("/apps/chat/users/ada/sessions/s1")).json()
        assert [event["content"]["parts"][0]["text"] for event in session["events"]] == ["first", "pong"]


async def test_a_stopped_turn_is_409_with_one_line_in_the_log(server, caplog):
    async with client_of(server()) as client:
        first, _ = await with_one_turn_running(client)
        with caplog.at_level(logging.WARNING):
            caplog.clear()
            assert await queue_all_runners().turns.stop(("chat", "ada", "s1"))
            stopped = await first
        assert stopped.status_code == 409
        assert "stopped" in stopped.json()["detail"]
        assert [record.exc_info for record in caplog.records if record.exc_info] == []
        # google-adk 2.0 to 2.6 adds a line of its own.
        assert [record.name for record in caplog.records if not record.name.startswith("google")] == ["stale_retry"]


async def test_a_stream_says_that_the_session_is_busy(server, caplog):
    async with client_of(server("reject")) as client:
        first, going_on = await with_one_turn_running(client)
        with caplog.at_level(logging.WARNING):
            caplog.clear()
            streamed = await client.post("/run_sse", json=message("second"))
        assert [(record.name, record.exc_info) for record in caplog.records] == [("stale_retry", None)]
        assert "the session is busy" in streamed.text
        going_on.set()
        await first


async def test_messages_that_wait_are_answered_one_by_one(server):
    async with client_of(server()) as client:
        first, going_on = await with_one_turn_running(client)
        others = [asyncio.create_task(client.post("/run", json=message(f"{n}"), timeout=20)) for n in range(3)]
        await asyncio.sleep(0.05)
        going_on.set()
        assert [answer.status_code for answer in await asyncio.gather(first, *others)] == [200] * 4
        session = (await client.get("/apps/chat/users/ada/sessions/s1")).json()
        authors = [event["author"] for event in session["events"]]
        assert authors == ["user", "chat"] * 4
