"""Gates by name, so that they can be told to another process. The shared ones are the documented recipes."""

from __future__ import annotations

from typing import Any

from stale_retry import local_gate
from stale_retry.typing import Gate

from .documented import recipe


def options(name_and_url: tuple[str, str]) -> dict[str, Any]:
    """The `gate` option, or none for the wrapper's own default."""
    name, url = name_and_url
    if name == "default":
        return {}
    return {"gate": None if name == "none" else gate(name, url)}


def gate(name: str, url: str) -> Gate:
    local = local_gate(lambda session: session.id)
    if name == "local":
        return local
    if name == "advisory":
        from sqlalchemy.ext.asyncio import create_async_engine
        from sqlalchemy.pool import NullPool

        engine = create_async_engine(url.replace("postgresql:", "postgresql+asyncpg:"), poolclass=NullPool)
        shared = recipe("gate.md", "advisory_gate")(engine)
    else:
        from redis.asyncio import Redis

        shared = recipe("gate.md", "redis_gate")(Redis.from_url(url), timeout=1)

    return recipe("gate.md", "both")(local, shared)
