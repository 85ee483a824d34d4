"""The recipes for PostgreSQL store every event once in a pool of two, under a statement timeout, and when their
connections are terminated by the server. There is no queue, so that all writers meet in the database.
"""

from __future__ import annotations

import asyncio
import os

import asyncpg
import pytest

from .recipes import EVENTS, WRITERS, programs, recipe

pytestmark = [pytest.mark.servers, pytest.mark.asyncio]

URL = 'os.environ["DATABASE_URL"]'
POOL_OF_TWO = {
    ("asyncpg.md", 0): {URL: f"{URL}, min_size=1, max_size=2"},
    ("asyncpg.md", 1): {URL: f"{URL}, min_size=1, max_size=2"},
    ("psycopg.md", 0): {"max_size=10": "min_size=1, max_size=2, timeout=0.1"},
    ("sqlalchemy.md", 0): {URL: f"{URL}, pool_size=2, max_overflow=0, pool_timeout=0.1"},
}
PROGRAMS = pytest.mark.parametrize(("page", "number"), list(POOL_OF_TWO), ids=lambda value: str(value))
EVENTS_TABLE = {("asyncpg.md", 0): "events"}

SLOW = """
    CREATE SEQUENCE rows_so_far;
    CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        IF nextval('rows_so_far') % 7 = 0 THEN PERFORM pg_sleep(60); END IF;
        RETURN new;
    END $$;
    CREATE TRIGGER slow BEFORE INSERT ON {table} FOR EACH ROW EXECUTE FUNCTION slow();
"""
TERMINATE = """
    SELECT pg_terminate_backend(pid) FROM pg_stat_activity
    WHERE pid <> pg_backend_pid() AND datname = current_database()
"""


async def stored_once(program, chat, prepare=None, during=None):
    program.without_queue()
    async with program.open(chat) as handle:
        admin = await asyncpg.connect(os.environ["DATABASE_URL"].replace("+asyncpg", ""))
        if prepare:
            await admin.execute(prepare)
        fault = asyncio.ensure_future(during(admin)) if during else None
        acknowledged, errors = await program.contend(handle, chat)
        if fault:
            await fault
        await admin.close()
    assert errors == []
    assert len(acknowledged) == WRITERS * EVENTS
    async with program.connect() as handle:  # whose connections nobody has terminated
        assert sorted(await program.read(handle, chat)) == acknowledged


@PROGRAMS
async def test_in_a_pool_of_two(page, number, provide, chat):
    provide(programs(page)[number])
    await stored_once(recipe(page, number, **POOL_OF_TWO[page, number]), chat)


@PROGRAMS
async def test_under_a_statement_timeout(page, number, provide, chat):
    """Every seventh row takes a minute, and the server gives up after a tenth of a second."""
    provide(programs(page)[number])
    timeout = "ALTER ROLE CURRENT_USER SET statement_timeout = '100ms'"
    table = EVENTS_TABLE.get((page, number), "messages")
    admin = await asyncpg.connect(os.environ["DATABASE_URL"].replace("+asyncpg", ""))
    await admin.execute(timeout)
    try:
        await stored_once(recipe(page, number), chat, prepare=SLOW.format(table=table))
    finally:
        await admin.execute("ALTER ROLE CURRENT_USER RESET statement_timeout")
        await admin.close()


@PROGRAMS
async def test_when_the_server_terminates_all_connections(page, number, provide, chat):
    async def terminate(admin):
        for _ in range(5):
            await asyncio.sleep(0.05)
            await admin.execute(TERMINATE)

    provide(programs(page)[number])
    await stored_once(recipe(page, number), chat, during=terminate)
