"""The faults: what each does to writers that are writing, or holds before them."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
import sqlite3
import time
from collections.abc import AsyncIterator, Awaitable, Callable

import asyncpg

from .crew import until
from .proxy import Link, PassOn
from .runs import Fault, Scene
from .servers import Postgres


def terminate_all_backends(postgres: Postgres, times: int) -> Fault:
    """`pg_terminate_backend` for every connection of the writers, again and again while they write."""

    async def fault(scene: Scene) -> None:
        admin = await postgres.connect()
        try:
            for strike in range(1, times + 1):
                await scene.until_answered(strike * scene.expected // (times + 1))
                await admin.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                    "WHERE pid <> pg_backend_pid() AND backend_type = 'client backend'"
                )
        finally:
            await admin.close()

    return fault


def restart_server(postgres: Postgres, times: int) -> Fault:
    """Stop the server in the middle; start it again when someone has found it down."""

    async def fault(scene: Scene) -> None:
        for strike in range(1, times + 1):
            await scene.until_answered(strike * scene.expected // (times + 1))
            await asyncio.to_thread(postgres.server.stop)
            in_vain = scene.count("refused", "unread")
            try:
                await until(
                    lambda before=in_vain: (
                        scene.count("refused", "unread") > before or scene.answered == scene.expected
                    ),
                    "someone finds the server down",
                )
            finally:
                await asyncio.to_thread(postgres.server.start)

    return fault


def kill_writers(times: int, seed: int) -> Fault:
    """SIGKILL to one process at a time, at some moment while it writes."""

    async def fault(scene: Scene) -> None:
        chance = random.Random(seed)
        for strike in range(1, times + 1):
            await scene.until_answered(strike * scene.expected // (times + 2) + chance.randrange(3))
            victim = chance.choice(scene.workers)
            with contextlib.suppress(ProcessLookupError):
                os.kill(victim.pid, signal.SIGKILL)

    return fault


async def terminate_before(link: Link, pass_on: PassOn) -> None:
    """The backend is gone before the commit reaches it: not stored."""
    await link.terminate_backend()
    pass_on()


async def terminate_during(link: Link, pass_on: PassOn) -> None:
    """The backend is gone while it commits, in a trigger that waits for a lock: not stored."""
    async with link.admin() as admin:
        await admin.execute("SELECT pg_advisory_lock($1)", COMMIT_LOCK)
        pass_on()
        await _until(admin, WAITS_FOR_LOCK, link.backend)
        await link.terminate_backend()


async def terminate_after(link: Link, pass_on: PassOn) -> None:
    """The backend is gone when it has committed, and its answer with it: stored, and nobody is told."""
    await link.terminate_backend()


async def cut_during(link: Link, pass_on: PassOn) -> None:
    """The client's connection is cut while the server commits, and stays so until the next attempt waits for it.

    Stored, but not yet when the writer looks.
    """
    async with link.admin() as admin:
        await admin.execute("SELECT pg_advisory_lock($1)", COMMIT_LOCK)
        pass_on()
        await _until(admin, WAITS_FOR_LOCK, link.backend)
        link.cut()
        with contextlib.suppress(TimeoutError):  # there may be nobody left to wait
            await _until(admin, OTHERS_WAIT_FOR_ITS_ROW, link.backend, patience=10)


async def kill_client_after(link: Link, pass_on: PassOn) -> None:
    """The writer's process is gone when the server has committed."""
    os.kill(int(link.name), signal.SIGKILL)


async def _until(admin: asyncpg.Connection, query: str, *args: int, patience: float = 60) -> None:
    give_up = time.monotonic() + patience
    while not await admin.fetchval(query, *args):
        if time.monotonic() > give_up:
            raise TimeoutError(query)


COMMIT_LOCK = 4751
WAITS_FOR_LOCK = "SELECT wait_event = 'advisory' FROM pg_stat_activity WHERE pid = $1"
OTHERS_WAIT_FOR_ITS_ROW = "SELECT count(*) FROM pg_stat_activity WHERE $1 = ANY (pg_blocking_pids(pid))"
WAIT_AT_COMMIT = f"""
CREATE OR REPLACE FUNCTION wait_at_commit() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_advisory_xact_lock_shared({COMMIT_LOCK});
    RETURN NULL;
END $$;
DROP TRIGGER IF EXISTS wait_at_commit ON events;
CREATE CONSTRAINT TRIGGER wait_at_commit AFTER INSERT ON events
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION wait_at_commit();
"""

Obstacle = Callable[[Scene], contextlib.AbstractAsyncContextManager[None]]


def row_lock(postgres: Postgres, refusals: int) -> Obstacle:
    """Someone holds the session's row until so many attempts have failed for it."""

    @contextlib.asynccontextmanager
    async def hold(scene: Scene) -> AsyncIterator[None]:
        admin = await postgres.connect()
        transaction = admin.transaction()
        await transaction.start()
        await admin.execute("SELECT 1 FROM sessions WHERE id = $1 FOR UPDATE", scene.session)
        async with let_go(scene, refusals, transaction.rollback):
            yield
        await admin.close()

    return hold


def file_lock(refusals: int) -> Obstacle:
    """Someone writes to the SQLite file, and goes on until so many attempts have failed for it."""

    @contextlib.asynccontextmanager
    async def hold(scene: Scene) -> AsyncIterator[None]:
        connection = sqlite3.connect(scene.store.place, isolation_level=None)
        connection.execute("BEGIN IMMEDIATE")

        async def roll_back() -> None:
            connection.rollback()

        async with let_go(scene, refusals, roll_back):
            yield
        connection.close()

    return hold


@contextlib.asynccontextmanager
async def let_go(scene: Scene, refusals: int, release: Callable[[], Awaitable[None]]) -> AsyncIterator[None]:
    """Release what is held when so many attempts were refused, and in any case."""

    async def watch() -> None:
        try:
            await scene.until_refused(refusals)
        finally:
            await release()

    watching = asyncio.ensure_future(watch())
    try:
        yield
        await watching
    finally:
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)
