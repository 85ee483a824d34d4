"""Lock, queue or retry: one account in PostgreSQL that many callers change, and what each way takes, in one run.

    python tests/benchmarks/peers.py

Thirty callers change one account twice each: in one process; in one process with 20 ms of work between reading and
writing; and in three processes. Each way takes its turn three times, in a pool of ten connections, and the median is
told of calls for each change, seconds, changes lost, and the slowest of the `SELECT 1`s that a bystander sends through
the same pool. The ways are:

    FOR UPDATE              a row lock, no library
    key=                    `retry_transaction(key=)` and a version column
    key= and FOR UPDATE     both
    no key                  `retry_transaction()` and a version column
    key=, SERIALIZABLE      `retry_transaction(key=)` and PostgreSQL's own check
    stamina, tenacity       the version column, with the same test of what is a conflict

Exits with 1 if one of ours, or the lock, loses a change.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import statistics
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any
from uuid import uuid4

import anyio
import asyncpg
import stamina
import tenacity

from stale_retry import StaleSessionError, retry_if_conflict, retry_transaction

sys.path.insert(0, str(Path(__file__).parents[1]))

from stores import servers

CALLERS, CHANGES, ROUNDS, POOL = 30, 2, 3, 10
TABLE = "CREATE TABLE IF NOT EXISTS accounts (id text PRIMARY KEY, version int DEFAULT 0, balance int DEFAULT 0)"

Change = Callable[[str], Awaitable[None]]


class Account:
    """The three ways to change a balance, each of which counts its calls."""

    def __init__(self, pool: Any, thinking: float) -> None:
        self.calls = 0
        self._pool = pool
        self._thinking = thinking

    async def _think(self) -> None:
        if self._thinking:
            await asyncio.sleep(self._thinking)

    async def locked(self, account: str) -> None:
        self.calls += 1
        async with self._pool.acquire() as connection, connection.transaction():
            query = "SELECT balance FROM accounts WHERE id = $1 FOR UPDATE"
            balance = await connection.fetchval(query, account)
            await self._think()
            await connection.execute("UPDATE accounts SET balance = $2 WHERE id = $1", account, balance + 1)

    async def serializable(self, account: str) -> None:
        self.calls += 1
        async with self._pool.acquire() as connection, connection.transaction(isolation="serializable"):
            balance = await connection.fetchval("SELECT balance FROM accounts WHERE id = $1", account)
            await self._think()
            await connection.execute("UPDATE accounts SET balance = $2 WHERE id = $1", account, balance + 1)

    async def versioned(self, account: str) -> None:
        """Holds no connection while it thinks."""
        self.calls += 1
        version, balance = await self._pool.fetchrow("SELECT version, balance FROM accounts WHERE id = $1", account)
        await self._think()
        query = "UPDATE accounts SET balance = $3, version = version + 1 WHERE id = $1 AND version = $2"
        if await self._pool.execute(query, account, version, balance + 1) == "UPDATE 0":
            raise StaleSessionError(account)


QUEUED, UNQUEUED = retry_transaction(key="account", observers=()), retry_transaction(observers=())
WAIT = tenacity.wait_random_exponential(multiplier=0.05, max=2)


def with_stamina(account: Account) -> Change:
    """Its defaults: ten attempts within 45 seconds."""
    return stamina.retry(on=retry_if_conflict().predicate)(account.versioned)


def with_tenacity(account: Account) -> Change:
    """Random exponential waits with the limits of ours."""
    return tenacity.retry(retry=retry_if_conflict(), wait=WAIT, stop=tenacity.stop_after_delay(90))(account.versioned)


WAYS: dict[str, Callable[[Account], Change]] = {
    "nothing": lambda account: account.versioned,
    "FOR UPDATE": lambda account: account.locked,
    "key=": lambda account: QUEUED(account.versioned),
    "key= and FOR UPDATE": lambda account: QUEUED(account.locked),
    "no key": lambda account: UNQUEUED(account.versioned),
    "key=, SERIALIZABLE": lambda account: QUEUED(account.serializable),
    "stamina": with_stamina,
    "tenacity": with_tenacity,
}


async def run(url: str, way: str, account_id: str, callers: int, thinking: float, start: float) -> dict[str, float]:
    """What the callers of one process took."""
    async with asyncpg.create_pool(url, min_size=POOL, max_size=POOL) as pool:
        account, slowest = Account(pool, thinking), 0.0
        change = WAYS[way](account)

        async def caller() -> None:
            for _ in range(CHANGES):
                with contextlib.suppress(StaleSessionError, tenacity.RetryError):  # lost, which the balance tells
                    await change(account_id)

        async def stand_by() -> None:
            nonlocal slowest
            while True:
                began = time.perf_counter()
                await pool.fetchval("SELECT 1")
                slowest = max(slowest, time.perf_counter() - began)
                await asyncio.sleep(0.005)

        await anyio.sleep(0)  # what is imported at a process's first wait is not measured
        await asyncio.sleep(max(0.0, start - time.time()))
        bystander = asyncio.create_task(stand_by())
        await asyncio.gather(*(caller() for _ in range(callers)))
        ended = time.time()
        bystander.cancel()
        await asyncio.gather(bystander, return_exceptions=True)
        return {"calls": account.calls, "ended": ended, "slowest": slowest}


async def measure(url: str, way: str, processes: int, thinking: float) -> tuple[float, float, int, float]:
    """Calls for each change, seconds, lost changes, and the bystander's slowest query in milliseconds."""
    account_id, sent = uuid4().hex, CALLERS * CHANGES
    admin = await asyncpg.connect(url)
    await admin.execute(TABLE)
    await admin.execute("INSERT INTO accounts VALUES ($1)", account_id)
    start = time.time() + (0.2 if processes == 1 else 3.0)  # until all processes are there
    arguments = (url, way, account_id, CALLERS // processes, thinking, start)
    if processes == 1:
        found = [await run(*arguments)]
    else:
        command = [sys.executable, __file__, "--child", json.dumps(arguments)]
        children = [
            await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE) for _ in range(processes)
        ]
        found = [json.loads((await child.communicate())[0]) for child in children]
    lost = sent - await admin.fetchval("SELECT balance FROM accounts WHERE id = $1", account_id)
    await admin.close()
    return (
        sum(each["calls"] for each in found) / sent,
        max(each["ended"] for each in found) - start,
        lost,
        max(each["slowest"] for each in found) * 1000,
    )


SCENARIOS = {"one process": (1, 0.0), "one process, 20 ms of work": (1, 0.02), "three processes": (3, 0.0)}


async def main() -> int:
    wrong = False
    with servers.Places() as places:
        url = places.environment('"DATABASE_URL"')["DATABASE_URL"]
        for scenario, (processes, thinking) in SCENARIOS.items():
            print(f"\n| {scenario} | calls for each change | seconds | lost of {CALLERS * CHANGES} | bystander, ms |")
            print("|---|---:|---:|---:|---:|")
            rounds = [{way: await measure(url, way, processes, thinking) for way in WAYS} for _ in range(ROUNDS)]
            for way in WAYS:
                calls, seconds, lost, slowest = (
                    statistics.median(column) for column in zip(*(r[way] for r in rounds), strict=True)
                )
                print(f"| {way} | {calls:.2f} | {seconds:.2f} | {lost:.0f} | {slowest:.0f} |", flush=True)
                wrong |= lost > 0 and ("key" in way or way == "FOR UPDATE")
    return int(wrong)


if __name__ == "__main__":
    logging.disable(logging.CRITICAL)
    stamina.instrumentation.set_on_retry_hooks(())
    if sys.argv[1:2] == ["--child"]:
        print(json.dumps(asyncio.run(run(*json.loads(sys.argv[2])))))
    else:
        sys.exit(asyncio.run(main()))
