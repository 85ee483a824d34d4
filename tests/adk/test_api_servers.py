"""google-adk's own servers, several on one PostgreSQL, with nothing but a `services.py`."""

import asyncio
import contextlib
from pathlib import Path

import google.adk.cli
import httpx
import pytest

from .api_server import Server, last_text, message, write_agents

pytestmark = [pytest.mark.asyncio, pytest.mark.servers]

SERVICES = """
from stale_retry.adk import register_session_services
from stale_retry.turns import TurnQueue, sql_lease

register_session_services(deadline=30, turns=TurnQueue(shared=sql_lease("{leases}", timeout=2), longest=None))
"""
SESSION = "/apps/demo/users/user/sessions/session"
SERVERS = Path(google.adk.cli.__file__).parent.glob("*server.py")
TAKES_METADATA = any("RunConfig(custom_metadata=req" in "".join(file.read_text().split()) for file in SERVERS)


@contextlib.contextmanager
def three_servers(directory, database, seconds):
    agents = write_agents(directory, SERVICES.format(leases=database))
    servers = [Server(agents, f"stale-retry+{database}", f"server-{n}", seconds) for n in range(3)]
    try:
        for server in servers:
            assert server.ready(), server.printed.read_text()
        yield servers
    finally:
        for server in servers:
            server.stop()


def run(client, server, text, key=None):
    return asyncio.create_task(client.post(f"{server.address}/run", json=message(text, key)))


async def invocations(client, server):
    """The stored events' invocations, one for each run of them, and their texts."""
    events = (await client.get(f"{server.address}{SESSION}")).json()["events"]
    order = [event["invocationId"] for event in events]
    texts = [part.get("text") for event in events for part in event.get("content", {}).get("parts", [])]
    return [each for n, each in enumerate(order) if n == 0 or order[n - 1] != each], [text for text in texts if text]


async def test_thirty_turns_of_three_servers_are_stored_whole_though_one_is_killed_in_mid_turn(
    tmp_path, new_postgresql_database
):
    with three_servers(tmp_path, new_postgresql_database(), 0.2) as servers:
        victim, *others = servers
        async with httpx.AsyncClient(timeout=100) as client:
            (await client.post(f"{victim.address}{SESSION}", json={})).raise_for_status()
            killed = run(client, victim, "book 0")
            while "charge" not in victim.noted():
                await asyncio.sleep(0.01)
            asked = [run(client, others[n % 2], f"book {n}") for n in range(1, 30)]
            victim.kill()
            responses = await asyncio.gather(*asked)
            with pytest.raises(httpx.TransportError):
                await killed
            assert [response.status_code for response in responses] == [200] * 29
            assert [last_text(response) for response in responses] == ["booked"] * 29
            runs, texts = await invocations(client, others[0])
    assert len(runs) == len(set(runs)) == 30
    assert sorted(text for text in texts if text.startswith("book ")) == sorted(f"book {n}" for n in range(30))


@pytest.mark.skipif(not TAKES_METADATA, reason="this release's server takes no metadata with a message")
async def test_a_message_is_charged_once_though_its_server_was_killed_and_it_comes_to_two_others(
    tmp_path, new_postgresql_database
):
    with three_servers(tmp_path, new_postgresql_database(), 1.0) as servers:
        victim, *others = servers
        async with httpx.AsyncClient(timeout=100) as client:
            (await client.post(f"{victim.address}{SESSION}", json={})).raise_for_status()
            killed = run(client, victim, "book it", "k")
            while victim.noted() != ["model", "charge", "model"]:
                await asyncio.sleep(0.01)
            victim.kill()
            with pytest.raises(httpx.TransportError):
                await killed
            answers = await asyncio.gather(*(run(client, server, "book it", "k") for server in others))
            other = await run(client, others[0], "book two", "k")
            assert [last_text(answer) for answer in answers] == ["booked"] * 2
            assert (other.status_code, "idempotency key" in other.json()["detail"]) == (409, True)
            _, texts = await invocations(client, others[0])
    assert victim.noted().count("charge") == 1
    assert texts == ["book it", "booked"]


@pytest.mark.parametrize(
    "mistake",
    [
        'turns = TurnQueue(shared=sql_lease("postgresql+no_such_driver://here/chat"))',
        'turns = TurnQueue(shared=sql_lease("mysql+aiomysql://here/chat"))',
        "turns = TurnQeue()",
        'turns = TurnQueue("enque")',
    ],
)
async def test_a_server_whose_services_have_a_mistake_does_not_start(tmp_path, mistake):
    services = f"""
from stale_retry.adk import register_session_services
from stale_retry.turns import TurnQueue, sql_lease

{mistake}
register_session_services(turns=turns)
"""
    server = Server(write_agents(tmp_path, services), f"stale-retry+sqlite+aiosqlite:///{tmp_path}/chat.db")
    try:
        assert not server.ready()
        assert server.process.returncode != 0
    finally:
        server.stop()
