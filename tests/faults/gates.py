"""Gates by name, so that they can be told to another process."""

from __future__ import annotations

from typing import Any

from stale_retry import local_gate
from stale_retry.gates.postgres import postgres_gate
from stale_retry.gates.redis import redis_gate
from stale_retry.typing import Gate


def options(name_and_url: tuple[str, str]) -> dict[str, Any]:
    """The `gate` option, or none for the wrapper's own default."""
    name, url = name_and_url
    if name == "default":
        return {}
    return {"gate": None if name == "none" else gates(name, url)}


def gates(name: str, url: str) -> list[Gate]:
    nearest_first: list[Gate] = [local_gate(by_id)]
    if name == "postgres":
        from sqlalchemy.ext.asyncio import create_async_engine

        nearest_first.append(
            postgres_gate(create_async_engine(url.replace("postgresql:", "postgresql+asyncpg:")), by_id)
        )
    elif name == "redis":
        from redis.asyncio import Redis

        nearest_first.append(redis_gate(Redis.from_url(url), by_id, timeout=2))
    return nearest_first


def by_id(session: Any) -> str:
    return str(session.id)
