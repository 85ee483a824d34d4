"""Checked by `mypy --strict`, never run: a shared gate takes the sessions that its key takes, and known clients."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager

from redis.asyncio import Redis, RedisCluster
from sqlalchemy import Engine
from sqlalchemy.ext.asyncio import AsyncEngine
from typing_extensions import assert_type

from stale_retry.gates.postgres import postgres_gate
from stale_retry.gates.redis import redis_gate


class Session:
    id: str


def by_id(session: Session) -> str:
    return session.id


def made(engine: AsyncEngine, client: Redis, cluster: RedisCluster) -> None:
    assert_type(postgres_gate(engine, by_id), Callable[[Session], AbstractAsyncContextManager[None]])
    assert_type(redis_gate(client, by_id), Callable[[Session], AbstractAsyncContextManager[None]])
    gates: list[Callable[[Session], AbstractAsyncContextManager[None]]] = [
        postgres_gate(engine, lambda session: (session.id, 1), timeout=3),
        redis_gate(cluster, lambda session: session.id, timeout=0.5),
    ]
    gates[0]("session")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


def refused(engine: Engine) -> None:
    postgres_gate(engine, by_id)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    redis_gate("redis://", by_id)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    redis_gate(Redis(), "id")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
