"""Leases in Redis."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from ._options import seconds
from .leases import LeaseStore

if TYPE_CHECKING:
    from redis.asyncio import Redis

# Each key of one lease has the same part in braces, so that a cluster keeps them on one node.
_ACQUIRE = """
local next = redis.call('GET', KEYS[2])
local is_mine = not next or next == ARGV[1]
if is_mine and redis.call('EXISTS', KEYS[1]) == 0 then
    redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
    redis.call('DEL', KEYS[2])
    return 1
end
if is_mine then
    redis.call('SET', KEYS[2], ARGV[1], 'PX', ARGV[3])
end
return 0
"""
_RENEW = """
if redis.call('GET', KEYS[1]) ~= ARGV[1] then
    return 0
end
return redis.call('PEXPIRE', KEYS[1], ARGV[2])
"""
_RELEASE = """
if redis.call('GET', KEYS[2]) == ARGV[1] then
    redis.call('DEL', KEYS[2])
end
if redis.call('GET', KEYS[1]) ~= ARGV[1] then
    return 0
end
return redis.call('DEL', KEYS[1])
"""


def redis_lease(
    client: Redis,
    *,
    timeout: float | timedelta = 30.0,
    poll: float | timedelta = 0.25,
    prefix: str = "stale-retry:turn:",
) -> LeaseStore:
    """Leases for `TurnQueue(shared=...)` in Redis, for all processes that use the same server and prefix.

    Every step is one script, by the server's clock. A server that forgets its keys when it restarts lets others begin
    while a turn runs, which ends with `TurnLostError` at its next renewal; let it keep them (`appendonly yes`).

    Args:
        client: of `redis.asyncio`; it is yours to close.
        timeout: seconds or timedelta after which the lease of a process that was killed is free. A running turn renews
            its lease three times in that time.
        poll: seconds or timedelta, on average, between two questions of a process that waits for a lease.
        prefix: of the keys.

    Raises:
        TypeError, ValueError: an option is wrong; the message names it and its rule.
    """
    if not isinstance(prefix, str):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise TypeError(f"prefix must be a string, got {prefix!r}")
    lasts, pause = seconds("timeout", timeout, finite=True), seconds("poll", poll, finite=True)
    return _RedisLease(client, lasts, pause, prefix)


class _RedisLease:
    def __init__(self, client: Any, timeout: float, poll: float, prefix: str) -> None:
        self.timeout = timeout
        self.poll = poll
        self._prefix = prefix
        self._acquire = client.register_script(_ACQUIRE)
        self._renew = client.register_script(_RENEW)
        self._release = client.register_script(_RELEASE)

    async def acquire(self, name: str, token: str) -> bool:
        return await self._run(self._acquire, name, token, _milliseconds(self.timeout), _milliseconds(self.poll * 8))

    async def renew(self, name: str, token: str) -> bool:
        return await self._run(self._renew, name, token, _milliseconds(self.timeout))

    async def release(self, name: str, token: str) -> bool:
        return await self._run(self._release, name, token)

    async def _run(self, script: Any, name: str, *arguments: object) -> bool:
        lease = f"{self._prefix}{{{name}}}"
        return bool(await script(keys=[lease, f"{lease}:next"], args=arguments))


def _milliseconds(seconds: float) -> int:
    return max(int(seconds * 1000), 1)
