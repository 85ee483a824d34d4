"""Every recipe stores every event once although answers get lost, connections break, and servers are slow."""

from __future__ import annotations

import asyncio
import os
from contextlib import asynccontextmanager

import pytest

from stale_retry import SessionRefreshError

from .lossy import Lossy, server_of, what_stores
from .recipes import ALL, EVENTS, WRITERS, Recipe, programs, recipe, source_of

pytestmark = [pytest.mark.servers, pytest.mark.asyncio]

REMOTE = [(page, number) for page, number in ALL if page != "pydantic-ai.md"]  # which has its store in memory
PROGRAMS = pytest.mark.parametrize(("page", "number"), REMOTE, ids=lambda value: str(value))


@pytest.fixture
def proxy(provide, monkeypatch):
    """A proxy before the server of a program, which leads there once it is entered."""

    @asynccontextmanager
    async def stand_before(source, **options):
        provide(source)
        variable = server_of(source)
        async with Lossy(os.environ[variable], what_stores(variable, source), **options) as lossy:
            monkeypatch.setenv(variable, lossy.address)
            yield lossy

    return stand_before


async def contend(program, chat, lossy, during=None):
    """What was acknowledged, what was raised, and what is stored."""
    async with program.open(chat) as handle:
        lossy.armed = True
        fault = asyncio.ensure_future(during()) if during else None
        acknowledged, errors = await program.contend(handle, chat)
        if fault:
            await fault
        lossy.armed = False
        return acknowledged, errors, sorted(await program.read(handle, chat))


@PROGRAMS
async def test_no_event_is_lost_or_doubled_when_answers_get_lost(page, number, proxy, chat):
    async with proxy(programs(page)[number]) as lossy:
        acknowledged, errors, stored = await contend(recipe(page, number), chat, lossy)
    assert lossy.strikes == 5
    assert errors == []
    assert len(acknowledged) == WRITERS * EVENTS
    assert stored == acknowledged


IN_A_TRANSACTION = ("psycopg.md", 1)
"""Its reload runs in the transaction that the broken connection has ended: the caller is told; nothing is stored."""


@PROGRAMS
async def test_no_event_is_lost_or_doubled_when_the_server_is_restarted(page, number, proxy, chat):
    """Every connection breaks, whatever was under way, and for half a second there is no server."""

    async def restart():
        await asyncio.sleep(0.05)
        await lossy.fail_for(0.5)

    async with proxy(programs(page)[number], times=0) as lossy:
        acknowledged, errors, stored = await contend(recipe(page, number), chat, lossy, restart)
    assert stored == acknowledged
    assert len(acknowledged) + len(errors) == WRITERS * EVENTS
    if (page, number) == IN_A_TRANSACTION:
        assert all(isinstance(error, SessionRefreshError) for error in errors)
    else:
        assert errors == []


async def test_the_orm_recipe_finds_its_events_on_mariadb_too(proxy, chat):
    source = source_of("sqlalchemy.md on MariaDB")
    async with proxy(source) as lossy:
        acknowledged, errors, stored = await contend(Recipe("sqlalchemy.md", source), chat, lossy)
    assert lossy.strikes == 5
    assert errors == []
    assert stored == acknowledged
    assert len(acknowledged) == WRITERS * EVENTS


@PROGRAMS
async def test_a_user_who_forgot_find_stored_is_told_and_nothing_is_doubled(page, number, proxy, chat):
    """Each event whose answer got lost reaches the caller as an error."""
    async with proxy(programs(page)[number]) as lossy:
        program = recipe(page, number)
        program.without_looking()
        acknowledged, errors, stored = await contend(program, chat, lossy)
    assert lossy.strikes == 5
    assert len(stored) == len(set(stored))
    assert set(acknowledged) <= set(stored)
    assert len(acknowledged) + len(errors) == WRITERS * EVENTS


RESENDING = {
    'Redis.from_url(os.environ["REDIS_URL"], decode_responses=True)': (
        'Redis(unix_socket_path=os.environ["REDIS_URL"][7:], decode_responses=True)'
    )
}
"""A client that sends each command again; `from_url` makes one that does not."""


@pytest.mark.parametrize("looks", [True, False])
async def test_only_find_stored_can_tell_when_a_client_takes_its_own_second_script_for_a_conflict(proxy, chat, looks):
    async with proxy(programs("redis.md")[1]) as lossy:
        program = recipe("redis.md", 1, **RESENDING)
        if not looks:
            program.without_looking()
        acknowledged, errors, stored = await contend(program, chat, lossy)
    assert errors == []
    assert sorted(set(stored)) == acknowledged
    assert len(stored) - len(acknowledged) == (0 if looks else lossy.strikes)
    assert lossy.strikes == 5
