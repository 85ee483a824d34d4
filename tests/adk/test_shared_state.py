"""`app:` and `user:` keys, which other sessions have too: no service reports a conflict of theirs."""

import asyncio
import contextlib

import pytest
from google.adk.sessions import DatabaseSessionService

from stale_retry.adk import RetryingSessionService

from .app import APP, KEY, event, load

pytestmark = pytest.mark.asyncio


async def sessions_of(service, count=4):
    for number in range(count):
        await service.create_session(**APP, session_id=f"{number}")
    return [await service.get_session(**APP, session_id=f"{number}") for number in range(count)]


@pytest.mark.parametrize("prefix", ["app:", "user:"])
async def test_keys_that_sessions_of_one_process_write_at_once_are_all_stored(database, prefix):
    """On SQLite google-adk reads and writes their row without a lock, so even different keys were lost."""
    service = RetryingSessionService(database)

    async def write(number, session):
        for value in range(10):
            await service.append_event(session, event(state={f"{prefix}{number}": value}))

    await asyncio.gather(*(write(*each) for each in enumerate(await sessions_of(service))))
    assert (await load(service)).state == {f"{prefix}{number}": 9 for number in range(4)}


async def test_keys_of_the_app_and_of_the_user_in_one_event_block_nobody(sqlite_database):
    service = RetryingSessionService(sqlite_database)
    deltas = [{"app:a": 1, "user:a": 1}, {"user:b": 1, "app:b": 1}, {"app:c": 1}, {"user:d": 1}]
    sessions = await sessions_of(service)
    appends = (service.append_event(each, event(state=delta)) for each, delta in zip(sessions, deltas, strict=True))
    await asyncio.wait_for(asyncio.gather(*appends), 10)
    assert (await load(service)).state == {key: 1 for delta in deltas for key in delta}


async def test_sessions_that_are_created_with_them_lose_none(sqlite_database):
    service = RetryingSessionService(sqlite_database)
    states = [{f"app:{number}": number, f"user:{number}": number} for number in range(5)]
    await asyncio.gather(*(service.create_session(**APP, state=state) for state in states))
    assert (await load(service)).state == {key: value for state in states for key, value in state.items()}


async def test_a_caller_that_is_cancelled_while_it_waits_blocks_nobody(sqlite_database):
    service = RetryingSessionService(sqlite_database)
    tasks = [
        asyncio.create_task(service.append_event(each, event(state={"app:n": number})))
        for number, each in enumerate(await sessions_of(service))
    ]
    await asyncio.sleep(0)
    tasks[1].cancel()
    await asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), 10)
    assert (await load(service)).state["app:n"] == 3


async def test_a_counter_of_several_sessions_is_counted_with_a_session_of_its_own(database):
    """As the docs advise: a key that all sessions count belongs to one session, where `state_conflicts` sees it."""
    service = RetryingSessionService(database, state_conflicts=lambda key, base, theirs, mine: theirs + mine - base)
    await service.create_session(**APP, session_id="shop", state={"orders": 0})

    async def order():
        shop = await service.get_session(**APP, session_id="shop")
        await service.append_event(shop, event(state={"orders": shop.state["orders"] + 1}))

    await asyncio.gather(*(order() for _ in range(5)))
    assert (await service.get_session(**APP, session_id="shop")).state["orders"] == 5


async def test_nothing_is_kept_of_a_lock_that_nobody_waits_for(tmp_path):
    from stale_retry.adk._shared_state import _by_loop

    database = DatabaseSessionService(f"sqlite+aiosqlite:///{tmp_path}/chat.db")
    service = RetryingSessionService(database)
    session = await service.create_session(**KEY)
    await service.append_event(session, event(state={"app:n": 1}))
    assert len(_by_loop[asyncio.get_running_loop()]) == 0
    with contextlib.suppress(AttributeError):
        await database.close()
