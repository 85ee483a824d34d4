"""Calls that are cancelled leave a SQLite file unlocked: the wrapper lets them finish."""

import asyncio
import contextlib
import gc

import anyio
import pytest
from google.adk.sessions import DatabaseSessionService

from stale_retry.adk import RetryingSessionService

from .app import KEY, event

pytestmark = pytest.mark.asyncio


def wrapped(tmp_path):
    # A file that is left locked is told of after a tenth of a second, and not of five.
    service = DatabaseSessionService(f"sqlite+aiosqlite:///{tmp_path}/chat.db", connect_args={"timeout": 0.1})
    return RetryingSessionService(service)


async def once(work, seconds):
    task = asyncio.create_task(work)
    await asyncio.sleep(seconds)
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


async def twice(work, seconds):
    task = asyncio.create_task(work)
    await asyncio.sleep(seconds)
    for _ in range(2):
        task.cancel()
        await asyncio.sleep(0)
    with contextlib.suppress(asyncio.CancelledError):
        await task


async def again_and_again(work, seconds):
    """As web servers do it."""
    with anyio.move_on_after(seconds):
        await work


@pytest.mark.parametrize("cancelled", [once, twice, again_and_again])
async def test_a_sqlite_file_is_not_left_locked_wherever_a_call_is_cancelled(tmp_path, cancelled):
    service = wrapped(tmp_path)
    await service.create_session(**KEY)

    async def work():
        session = await service.get_session(**KEY)
        await service.append_event(session, event("text"))

    for step in range(30):
        await cancelled(work(), step * 0.0005)
        await work()
    await service.db_engine.dispose()


async def test_a_cancellation_comes_out_when_the_call_is_done(tmp_path):
    service = wrapped(tmp_path)
    session = await service.create_session(**KEY)
    task = asyncio.create_task(service.append_event(session, event("text")))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert len((await service.get_session(**KEY)).events) == 1
    await service.db_engine.dispose()


async def test_nor_does_the_cancellation_of_a_creation(tmp_path):
    service = wrapped(tmp_path)
    task = asyncio.create_task(service.create_session(**KEY))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await service.get_session(**KEY) is not None
    await service.db_engine.dispose()


async def test_a_conflict_whose_caller_is_cancelled_is_stored_once_at_most_and_leaves_no_lock(
    tmp_path,
):
    service = wrapped(tmp_path)
    await service.create_session(**KEY)

    for step in range(20):
        session = await service.get_session(**KEY)
        await service.service.append_event(await service.service.get_session(**KEY), event("theirs"))
        mine = event("mine")
        await again_and_again(service.append_event(session, mine), step * 0.001)
        stored = await service.get_session(**KEY)
        assert [each.id for each in stored.events].count(mine.id) <= 1
        await service.append_event(stored, event("next"))
    await service.db_engine.dispose()


async def test_a_call_that_fails_after_its_caller_was_cancelled_is_not_complained_about(tmp_path, caplog):
    service = wrapped(tmp_path)
    session = await service.create_session(**KEY)
    await service.delete_session(**KEY)
    task = asyncio.create_task(service.append_event(session, event("text")))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    del task
    gc.collect()
    await asyncio.sleep(0)
    assert caplog.records == []
    await service.db_engine.dispose()


async def test_a_call_that_hangs_is_cancelled_after_a_while(tmp_path, monkeypatch):
    monkeypatch.setattr("stale_retry.adk._whole_calls.PATIENCE", 0.01)
    service, hangs, ended = wrapped(tmp_path), asyncio.Event(), []

    async def get_session(**which):
        hangs.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(which)

    service.service.get_session = get_session
    task = asyncio.create_task(service.get_session(**KEY))
    await hangs.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert len(ended) == 1
    await service.db_engine.dispose()
