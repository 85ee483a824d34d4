"""Retries read a session back when nobody is storing to it."""

import asyncio

import pytest
from google.adk.sessions import Session

from stale_retry.adk import RetryingSessionService
from stale_retry.adk._traffic import PATIENCE, Traffic

from .app import calls_of, event, interrupt, load
from .releases import DATABASE_LOCKS

SESSION = Session(id="session", app_name="app", user_id="user")
OTHER = Session(id="other", app_name="app", user_id="user")


async def slow_append(service, session, event):
    await asyncio.sleep(1.0)


def under_way(traffic, session):
    return asyncio.create_task(traffic.noting(slow_append)(None, session, None))


async def read_after(traffic, session):
    """The seconds until a refresh reads."""
    began = asyncio.get_running_loop().time()

    async def refresh(service, session):
        return round(asyncio.get_running_loop().time() - began, 3)

    return await traffic.when_quiet(refresh)(None, session)


@pytest.mark.asyncio
@pytest.mark.looptime
async def test_a_session_is_read_back_when_no_append_to_it_is_under_way():
    traffic = Traffic()
    append = under_way(traffic, SESSION)
    await asyncio.sleep(1.0 - PATIENCE / 2)
    assert await read_after(traffic, SESSION) == PATIENCE / 2
    await append


@pytest.mark.asyncio
@pytest.mark.looptime
async def test_appends_are_waited_for_no_longer_than_the_patience():
    traffic = Traffic()
    append = under_way(traffic, SESSION)
    await asyncio.sleep(0)
    assert await read_after(traffic, SESSION) == PATIENCE
    await append


@pytest.mark.asyncio
@pytest.mark.looptime
async def test_appends_to_another_session_are_not_waited_for():
    traffic = Traffic()
    append = under_way(traffic, OTHER)
    await asyncio.sleep(0)
    assert await read_after(traffic, SESSION) == 0.0
    await append


@pytest.mark.asyncio
@pytest.mark.looptime
async def test_nothing_is_kept_of_appends_that_are_over_or_cancelled():
    traffic = Traffic()
    append = under_way(traffic, SESSION)
    await asyncio.sleep(0)
    waiting = asyncio.create_task(read_after(traffic, SESSION))
    await asyncio.sleep(0.1)
    waiting.cancel()
    append.cancel()
    await asyncio.wait([append, waiting])
    assert (traffic._under_way, traffic._quiet) == ({}, {})


@pytest.mark.asyncio
async def test_twenty_writers_lose_nothing_and_need_few_calls(database):
    service = RetryingSessionService(database, backoff=lambda _: 0.01)
    sessions = [await load(service) for _ in range(20)]

    async def write(writer, session):
        for number in range(5):
            await service.append_event(session, event(f"{writer}.{number}"))

    await interrupt(database)
    with calls_of(database, "append_event") as calls:
        await asyncio.gather(*(write(writer, session) for writer, session in enumerate(sessions)))
    assert len((await load(database)).events) == 101
    assert len(calls) <= 160
    if DATABASE_LOCKS:
        # One for each event; only the first writer is stale, who did not have to wait.
        assert len(calls) == 101
