"""A gate that processes share through Redis."""

from __future__ import annotations

import inspect
import itertools
import math
import random
import secrets
from collections.abc import AsyncGenerator, Callable, Hashable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, Protocol, TypeVar

import anyio

from .. import _checks
from .._types import Seconds
from . import _shared
from ._shared import SharedGate

S = TypeVar("S")

POLL = 0.005
"""Seconds between two looks at a lock that somebody has, half of it more or less: an append takes about as long."""

# Who comes while others wait does not look at once: those who have just left would always be the first to come again.
TAKE = """
local lock, wanted = KEYS[1], KEYS[2]
local holder, lasts, notice, look = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
if look == "0" and redis.call("EXISTS", wanted) == 1 or not redis.call("SET", lock, holder, "NX", "PX", lasts) then
  redis.call("SET", wanted, 1, "PX", notice)
  return 0
end
return 1
"""
FREE = """
if redis.call("GET", KEYS[1]) == ARGV[1] then redis.call("DEL", KEYS[1]) end
"""


class RedisClient(Protocol):
    """What is used of redis-py's asyncio clients."""

    async def execute_command(self, *args: Any, **options: Any) -> Any: ...


def redis_gate(
    client: RedisClient, key: Callable[[S], Hashable], timeout: Seconds = 10
) -> Callable[[S], AbstractAsyncContextManager[None]]:
    """A gate for the contenders of several processes, by a lock in Redis. Those who wait enter in no certain order.

    A lock that is not left is freed after `timeout`. If its holder is alive then, two go on at once, and the next
    holder's lock is left alone. A server that does not answer within a second, or answers with an error, is logged and
    passed over, and so is the gate for the 5 s after that.

    Args:
        client: a client of `redis.asyncio`, `RedisCluster` included. It stays yours to close.
        key: tells sessions apart by a str, an int, a UUID or a tuple of such.
        timeout: seconds or timedelta that one place can be held; longer than an append and its refresh take.

    Raises:
        TypeError: `client` is not one of asyncio; and of a session: its key is of another type.
        ValueError: `timeout` is not above zero, or endless.
    """
    if not inspect.iscoroutinefunction(getattr(client, "execute_command", None)):
        kind = type(client)
        raise TypeError(f"client must be a client of redis.asyncio, got a {kind.__module__}.{kind.__qualname__}")
    lasts = _checks.as_seconds("timeout", timeout)
    if lasts is None:
        raise ValueError("timeout must have an end, or the lock of a holder that is killed had none")
    milliseconds = math.ceil(1000 * lasts)

    async def run(script: str, *keys_and_arguments: str | int, keys: int) -> Any:
        with anyio.fail_after(_shared.REACH):
            return await client.execute_command("EVAL", script, keys, *keys_and_arguments)

    @asynccontextmanager
    async def lock(name: bytes) -> AsyncGenerator[None, None]:
        # In braces is what a cluster chooses the node by.
        place, wanted = f"stale_retry/gate/{{{name.hex()}}}", f"stale_retry/wanted/{{{name.hex()}}}"
        holder = secrets.token_hex(16)
        try:
            for look in itertools.count():
                if await run(TAKE, place, wanted, holder, milliseconds, math.ceil(2000 * POLL), look, keys=2):
                    break
                await anyio.sleep(random.uniform(0.5, 1.5) * POLL)
            yield
        finally:  # also when nobody heard whether it was taken
            await run(FREE, place, holder, keys=1)

    return SharedGate("Redis", key, lock)
