"""The first messages of a session at once: one caller creates it, and all get it."""

import asyncio
import contextlib

import pytest
from google.adk.errors.already_exists_error import AlreadyExistsError
from google.adk.runners import Runner
from google.adk.sessions import DatabaseSessionService, InMemorySessionService
from google.adk.sessions.sqlite_session_service import SqliteSessionService

from stale_retry.adk import RetryingSessionService

from .app import KEY, content, pong_agent

pytestmark = pytest.mark.asyncio


@pytest.fixture(params=["in memory", "sqlite service", "sqlite", "postgresql"])
def wrapped(request, tmp_path):
    """Makes services on one empty database: in one process, the service is the same."""
    if request.param == "in memory":
        bare = InMemorySessionService()
        yield lambda: RetryingSessionService(bare)
    elif request.param == "sqlite service":
        yield lambda: RetryingSessionService(SqliteSessionService(str(tmp_path / "sessions.db")))
    elif request.param == "sqlite":
        database = DatabaseSessionService(f"sqlite+aiosqlite:///{tmp_path}/chat.db")
        yield lambda: RetryingSessionService(database)
    else:
        url = request.getfixturevalue("new_postgresql_database")()
        yield lambda: RetryingSessionService(DatabaseSessionService(url))


@contextlib.asynccontextmanager
async def closed(*services):
    await services[0].list_sessions(app_name="app")  # creates the tables, which processes cannot do at once
    try:
        yield services
    finally:
        for service in services:
            if hasattr(service.service, "db_engine"):
                await service.service.db_engine.dispose()


async def look_and_create(service, **state):
    session = await service.get_session(**KEY)
    return session if session is not None else await service.create_session(**KEY, **state)


async def test_a_creation_after_a_look_that_found_nothing_returns_the_winners_session(wrapped):
    async with closed(*(wrapped() for _ in range(3))) as services:
        sessions = await asyncio.gather(*(look_and_create(service) for service in services))
        assert {session.id for session in sessions} == {"session"}


async def test_with_state_it_is_refused_because_nobody_knows_whose_it_would_be(wrapped):
    async with closed(wrapped()) as (service,):
        await service.get_session(**KEY)
        await asyncio.create_task(service.create_session(**KEY, state={"k": 1}))
        with pytest.raises(AlreadyExistsError, match="already exists"):
            await service.create_session(**KEY, state={"k": 2})
        assert (await service.get_session(**KEY)).state == {"k": 1}


async def test_without_a_look_before_it_is_refused(wrapped):
    async with closed(wrapped()) as (service,):
        await service.create_session(**KEY)
        with pytest.raises(AlreadyExistsError):
            await service.create_session(**KEY)
        await service.get_session(**{**KEY, "session_id": "another"})
        with pytest.raises(AlreadyExistsError):
            await service.create_session(**KEY)


async def test_a_look_in_another_task_is_not_this_tasks(wrapped):
    async with closed(wrapped()) as (service,):
        assert await service.get_session(**KEY) is None
        await asyncio.create_task(service.create_session(**KEY))
        with pytest.raises(AlreadyExistsError):
            await asyncio.create_task(service.create_session(**KEY))


async def test_a_look_serves_one_creation(wrapped):
    async with closed(wrapped()) as (service,):
        await look_and_create(service)
        with pytest.raises(AlreadyExistsError):
            await service.create_session(**KEY)


async def test_get_or_create_tells_whose_state_it_is(wrapped):
    async with closed(*(wrapped() for _ in range(4))) as services:
        calls = (each.get_or_create_session(**KEY, state={"by": n}) for n, each in enumerate(services))
        found = await asyncio.gather(*calls)
        assert [created for _, created in found].count(True) == 1
        winner = [created for _, created in found].index(True)
        assert all(session.state == {"by": winner} for session, _ in found)
        session, created = await services[0].get_or_create_session(**KEY)
        assert (session.state, created) == ({"by": winner}, False)


async def test_sessions_of_a_new_app_do_not_stand_in_each_others_way(wrapped):
    """They all add the app's row."""
    async with closed(*(wrapped() for _ in range(3))) as services:
        keys = [{**KEY, "session_id": f"{number}"} for number in range(3)]
        created = await asyncio.gather(
            *(each.get_or_create_session(**key) for each, key in zip(services, keys, strict=True))
        )
        assert all(each.created for each in created)


@pytest.mark.skipif("auto_create_session" not in Runner.__init__.__kwdefaults__, reason="not in this release")
async def test_a_plain_runners_first_messages_are_all_answered(wrapped):
    async with closed(*(wrapped() for _ in range(3))) as services:

        async def ask(service):
            runner = Runner(app_name="app", agent=pong_agent(), session_service=service, auto_create_session=True)
            run = runner.run_async(user_id="user", session_id="session", new_message=content("ping"))
            return [event async for event in run]

        assert all(await asyncio.gather(*map(ask, services)))
        assert len((await services[0].get_session(**KEY)).events) == 6
