"""What a client of google-adk's web server sees of the queue."""

import asyncio
import inspect
import sys
import textwrap

import httpx
import pytest
from google.adk.cli.fast_api import get_fast_api_app

from stale_retry.adk.http import answer_turn_errors

pytestmark = [
    pytest.mark.asyncio,
    pytest.mark.skipif(
        "extra_plugins" not in inspect.signature(get_fast_api_app).parameters,
        reason="this release's server takes no plugins",
    ),
]

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

PLUGIN = """
    from stale_retry.adk.turns import TurnQueuePlugin
    from stale_retry.turns import TurnQueue

    plugin = TurnQueuePlugin(TurnQueue("reject", observers=()))
    patient = TurnQueuePlugin(TurnQueue(observers=()))
"""


@pytest.fixture
def agents(tmp_path, monkeypatch):
    (tmp_path / "chat").mkdir()
    (tmp_path / "chat" / "__init__.py").write_text("from . import agent\n")
    (tmp_path / "chat" / "agent.py").write_text(textwrap.dedent(AGENT))
    (tmp_path / "our_plugins.py").write_text(textwrap.dedent(PLUGIN))
    monkeypatch.syspath_prepend(str(tmp_path))
    yield tmp_path
    for name in [name for name in sys.modules if name.split(".")[0] in ("chat", "our_plugins")]:
        del sys.modules[name]


def client_of(app):
    return httpx.AsyncClient(transport=httpx.ASGITransport(app, raise_app_exceptions=False), base_url="http://here")


def server(agents, plugin="our_plugins.plugin"):
    return get_fast_api_app(agents_dir=str(agents), session_service_uri="memory://", web=False, extra_plugins=[plugin])


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


async def test_a_busy_session_is_409_with_words(agents):
    app = server(agents)
    answer_turn_errors(app)
    async with client_of(app) as client:
        first, going_on = await with_one_turn_running(client)
        refused = await client.post("/run", json=message("second"))
        assert refused.status_code == 409
        assert refused.json()["error"] == "SessionBusyError"
        assert refused.json()["reason"] == "busy"
        assert "the session is busy" in refused.json()["detail"]
        going_on.set()
        assert (await first).status_code == 200
        session = (await client.get("/apps/chat/users/ada/sessions/s1")).json()
        assert [event["content"]["parts"][0]["text"] for event in session["events"]] == ["first", "pong"]


async def test_every_other_error_is_what_it_was(agents):
    app = server(agents)
    answer_turn_errors(app)

    @app.get("/broken")
    async def broken():
        raise RuntimeError("something else")

    async with client_of(app) as client:
        assert (await client.get("/broken")).status_code == 500


async def test_a_stream_says_that_the_session_is_busy(agents):
    async with client_of(server(agents)) as client:
        first, going_on = await with_one_turn_running(client)
        streamed = await client.post("/run_sse", json=message("second"))
        assert "the session is busy" in streamed.text
        going_on.set()
        await first


async def test_messages_that_wait_are_answered_one_by_one(agents):
    async with client_of(server(agents, "our_plugins.patient")) as client:
        first, going_on = await with_one_turn_running(client)
        others = [asyncio.create_task(client.post("/run", json=message(f"{n}"), timeout=20)) for n in range(3)]
        await asyncio.sleep(0.05)
        going_on.set()
        assert [answer.status_code for answer in await asyncio.gather(first, *others)] == [200] * 4
        session = (await client.get("/apps/chat/users/ada/sessions/s1")).json()
        authors = [event["author"] for event in session["events"]]
        assert authors == ["user", "chat"] * 4


async def test_the_plugin_can_be_named_by_its_class(agents):
    async with client_of(server(agents, "stale_retry.adk.turns.TurnQueuePlugin")) as client:
        first, going_on = await with_one_turn_running(client)
        going_on.set()
        assert (await first).status_code == 200
