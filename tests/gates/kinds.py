"""Every kind of shared gate, by name, so that it can be told to another process."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any

from stale_retry.gates.postgres import postgres_gate
from stale_retry.gates.redis import redis_gate

POSTGRES = ["sqlalchemy+asyncpg", "sqlalchemy+psycopg", "asyncpg", "psycopg"]
KINDS = [*POSTGRES, "redis"]


@dataclass
class Session:
    id: str


Gate = Callable[[Session], AbstractAsyncContextManager[None]]


def by_id(session: Session) -> str:
    return session.id


@contextlib.asynccontextmanager
async def opened(kind: str, url: str, *, size: int = 5, **options: float) -> AsyncIterator[Gate]:
    """The gate through a client of its own with up to `size` connections."""
    async with client_of(kind, url, size) as client:
        yield (redis_gate if kind == "redis" else postgres_gate)(client, by_id, **options)


@contextlib.asynccontextmanager
async def client_of(kind: str, url: str, size: int = 5, **options: Any) -> AsyncIterator[Any]:
    if kind == "redis":
        from redis.asyncio import Redis

        async with Redis.from_url(url, max_connections=size) as client:
            yield client
    elif kind == "asyncpg":
        import asyncpg

        pool = await asyncpg.create_pool(url, min_size=0, max_size=size)
        yield pool
        pool.terminate()
    elif kind == "psycopg":
        from psycopg_pool import AsyncConnectionPool

        pool = AsyncConnectionPool(url, min_size=0, max_size=size, open=False)
        await pool.open()
        yield pool
        await pool.close(timeout=0.1)
    else:
        from sqlalchemy.ext.asyncio import create_async_engine

        engine = create_async_engine(
            url.replace("postgresql:", f"postgresql+{kind.partition('+')[2]}:"),
            pool_size=size,
            max_overflow=0,
            **options,
        )
        yield engine
        await engine.dispose()
