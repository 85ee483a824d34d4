"""The wrapper by URI, and google-adk's own web server that uses it."""

import asyncio
import contextlib
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest
from google.adk.cli.service_registry import get_service_registry
from google.adk.sessions import DatabaseSessionService, InMemorySessionService
from google.adk.sessions.sqlite_session_service import SqliteSessionService

import stale_retry
from stale_retry.adk import RetryingSessionService, register_session_services

from .app import content

pytestmark = pytest.mark.asyncio

SERVICES = """
from stale_retry.adk import register_session_services

register_session_services(deadline=30)
"""
AGENT = """
import asyncio

from google.adk.agents import Agent
from google.adk.models import BaseLlm, LlmResponse
from google.genai import types


class LocalLlm(BaseLlm):
    model: str = "local"

    async def generate_content_async(self, llm_request, stream=False):
        await asyncio.sleep(0.02)
        yield LlmResponse(content=types.Content(role="model", parts=[types.Part(text="pong")]))


root_agent = Agent(name="demo", model=LocalLlm())
"""
STARTS_WITHIN = 60.0
TURNS = 10


@pytest.fixture
def registry(monkeypatch):
    """Google-adk's registry, with nothing of ours in it afterwards."""
    monkeypatch.setattr("google.adk.cli.service_registry._service_registry_instance", None)
    return get_service_registry()


def created(registry, uri, **kwargs):
    service = registry.create_session_service(uri, agents_dir="agents", **kwargs)
    assert isinstance(service, RetryingSessionService)
    return service


async def test_each_uri_is_resolved_as_adk_resolves_it_without_the_prefix(registry, tmp_path):
    register_session_services(deadline=7)
    assert isinstance(created(registry, "stale-retry+memory://").service, InMemorySessionService)
    service = created(registry, f"stale-retry+sqlite:///{tmp_path}/sessions.db")
    assert isinstance(service.service, SqliteSessionService)
    service = created(registry, f"stale-retry+sqlite+aiosqlite:///{tmp_path}/chat.db", echo=True)
    assert isinstance(service.service, DatabaseSessionService)
    assert (str(service.db_engine.url), service.db_engine.echo) == (f"sqlite+aiosqlite:///{tmp_path}/chat.db", True)
    assert service.retrying.deadline == 7


async def test_a_scheme_of_ones_own_is_resolved_as_it_is_registered(registry):
    mine = InMemorySessionService()
    registry.register_session_service("mine", lambda uri, **_: mine)
    register_session_services(["mine"], interleaving="same_turn")
    assert created(registry, "stale-retry+mine://here").service is mine
    assert registry.create_session_service("stale-retry+memory://") is None


async def test_a_wrong_option_is_refused_when_registering(registry):
    with pytest.raises(ValueError, match="interleaving must be one of"):
        register_session_services(interleaving="never")
    assert registry.create_session_service("stale-retry+memory://") is None


def free_port():
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return listening.getsockname()[1]


@contextlib.contextmanager
def api_server(agents, uri):
    """`adk api_server` as a process of its own; its address."""
    port = free_port()
    log = agents.parent / "server.log"
    # The package is found as it is found here, installed or not.
    package = str(Path(stale_retry.__file__).parents[1])
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([package, os.environ.get("PYTHONPATH", "")])}
    command = [sys.executable, "-m", "google.adk.cli", "api_server", "--host", "127.0.0.1", "--port", str(port)]
    with log.open("w") as output:
        server = subprocess.Popen(
            [*command, "--session_service_uri", uri, str(agents)], stdout=output, stderr=output, env=environment
        )
    try:
        address = f"http://127.0.0.1:{port}"
        until = time.monotonic() + STARTS_WITHIN
        while True:
            with contextlib.suppress(httpx.TransportError):
                if httpx.get(f"{address}/list-apps").json() == ["demo"]:
                    break
            assert server.poll() is None, log.read_text()
            assert time.monotonic() < until, log.read_text()
            time.sleep(0.1)
        yield address
    finally:
        server.terminate()
        server.wait(10)


async def test_concurrent_requests_to_adks_own_server_are_all_answered_and_stored(tmp_path):
    agents = tmp_path / "agents"
    (agents / "demo").mkdir(parents=True)
    (agents / "services.py").write_text(SERVICES)
    (agents / "demo" / "__init__.py").write_text("from . import agent\n")
    (agents / "demo" / "agent.py").write_text(AGENT)
    with api_server(agents, f"stale-retry+sqlite+aiosqlite:///{tmp_path}/chat.db") as address:
        async with httpx.AsyncClient(base_url=address, timeout=30) as client:
            session = "/apps/demo/users/user/sessions/session"
            (await client.post(session, json={})).raise_for_status()
            run = {"appName": "demo", "userId": "user", "sessionId": "session"}
            requests = [
                client.post("/run", json={**run, "newMessage": content(f"ping {number}").model_dump(exclude_none=True)})
                for number in range(TURNS)
            ]
            responses = await asyncio.gather(*requests)
            stored = (await client.get(session)).json()["events"]
    assert [response.status_code for response in responses] == [200] * TURNS
    assert [response.json()[-1]["content"]["parts"][0]["text"] for response in responses] == ["pong"] * TURNS
    said = sorted(event["content"]["parts"][0]["text"] for event in stored)
    assert said == sorted([*(f"ping {number}" for number in range(TURNS)), *["pong"] * TURNS])
