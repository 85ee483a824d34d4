"""The wrapper by URI, and google-adk's own web server that uses it."""

import asyncio

import httpx
import pytest
from google.adk.cli.service_registry import get_service_registry
from google.adk.sessions import DatabaseSessionService, InMemorySessionService
from google.adk.sessions.sqlite_session_service import SqliteSessionService

from stale_retry.adk import RetryingSessionService, queue_all_runners, register_session_services
from stale_retry.turns import TurnQueue

from .api_server import api_server, write_agents
from .app import content

pytestmark = pytest.mark.asyncio

SERVICES = """
from stale_retry.adk import register_session_services

register_session_services(deadline=30)
"""
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


async def test_with_a_queue_the_turns_of_all_runners_queue_before_anything_is_registered(registry):
    turns = TurnQueue()
    with queue_all_runners(TurnQueue()), pytest.raises(RuntimeError, match="queued already"):
        register_session_services(turns=turns)
    assert registry.create_session_service("stale-retry+memory://") is None
    register_session_services(turns=turns)
    with queue_all_runners(turns) as handle:
        assert handle.turns is turns
    created(registry, "stale-retry+memory://")


async def test_without_a_queue_no_turn_queues(registry):
    register_session_services(deadline=7)
    with queue_all_runners(TurnQueue(), collect=True):  # refused if another one were there
        created(registry, "stale-retry+memory://")


async def test_a_queue_that_is_none_is_refused_when_registering(registry):
    with pytest.raises(TypeError, match="turns must be a TurnQueue"):
        register_session_services(turns="enqueue")
    assert registry.create_session_service("stale-retry+memory://") is None


async def test_a_wrong_option_is_refused_when_registering(registry):
    with pytest.raises(ValueError, match="interleaving must be one of"):
        register_session_services(interleaving="never")
    assert registry.create_session_service("stale-retry+memory://") is None


async def test_concurrent_requests_to_adks_own_server_are_all_answered_and_stored(tmp_path):
    agents = write_agents(tmp_path, SERVICES)
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
