"""A service that never rejects an append keeps its concurrency: nobody waits for anybody."""

import asyncio

import pytest
from google.adk.sessions import DatabaseSessionService, InMemorySessionService
from google.adk.sessions.sqlite_session_service import SqliteSessionService

from stale_retry.adk import RetryingSessionService

from .app import KEY, event, load, texts

NEVER_REJECTING = [
    "google.adk.sessions.in_memory_session_service.InMemorySessionService",
    "google.adk.sessions.vertex_ai_session_service.VertexAiSessionService",
    "google.adk.integrations.redis.RedisSessionService",
]


class OwnAppend(InMemorySessionService):
    """Lets those who append go on as soon as two are there."""

    def __init__(self):
        super().__init__()
        self.here, self.both = 0, asyncio.Event()

    async def append_event(self, session, event):
        self.here += 1
        if self.here == 2:
            self.both.set()
        await self.both.wait()
        return await super().append_event(session, event)


class OwnReading(InMemorySessionService):
    async def get_session(self, **arguments):
        return await super().get_session(**arguments)


def queues(service, **options):
    return RetryingSessionService(service, **options).retrying.key is not None


@pytest.mark.parametrize("path", NEVER_REJECTING)
def test_the_callers_of_a_service_that_never_rejects_do_not_queue(path):
    module, _, name = path.rpartition(".")
    kind = getattr(pytest.importorskip(module, reason="not in this release, or not installed"), name)
    assert not queues(kind.__new__(kind))


def test_it_is_told_by_the_append_that_runs(tmp_path):
    assert not queues(OwnReading())
    assert queues(OwnAppend())
    assert queues(SqliteSessionService(str(tmp_path / "sessions.db")))
    assert queues(DatabaseSessionService("sqlite+aiosqlite:///:memory:"))
    replaced = InMemorySessionService()
    replaced.append_event = OwnAppend().append_event
    assert queues(replaced)


def test_callers_queue_by_a_key_that_is_given_all_the_same():
    assert queues(InMemorySessionService(), key=lambda session: session.id)


async def appended_together(service):
    """Whether two appends to one session are under way at once."""
    await service.create_session(**KEY)
    sessions = [await load(service) for _ in range(2)]
    await asyncio.wait_for(
        asyncio.gather(*(service.append_event(session, event("text")) for session in sessions)), timeout=10
    )
    return texts(await load(service))


@pytest.mark.asyncio
async def test_two_appends_are_under_way_at_once(monkeypatch):
    monkeypatch.setattr(OwnAppend.append_event, "__module__", InMemorySessionService.__module__)
    assert await appended_together(RetryingSessionService(OwnAppend())) == ["text", "text"]
