"""Leases in Redis."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any, cast

from ._connections import Connections
from ._options import finite_seconds
from .errors import EndReason
from .leases import LeaseAnswer, LeaseNews, LeaseStore

if TYPE_CHECKING:
    from redis.asyncio import Redis

# Each lease is one hash, whose fields are those of `_rows.Row`; each script is one of its steps.
# KEPT: milliseconds that a hash outlasts its lease, for a process that was suspended and finds that nobody took it.
_READ = """
local KEPT = 60000
local function now()
    local time = redis.call('TIME')
    return tonumber(time[1]) + tonumber(time[2]) / 1000000
end
local function read(key)
    local row = {arrived = '0', expires = '0', request_arrived = '0', request_expires = '0'}
    local found = redis.call('HGETALL', key)
    for i = 1, #found, 2 do row[found[i]] = found[i + 1] end
    row.is_held = row.holder and tonumber(row.expires) > now()
    row.is_requested = row.request and tonumber(row.request_expires) > now()
    return row
end
local function expire(key, row)
    local held = row.holder and tonumber(row.expires) or 0
    local requested = row.request and tonumber(row.request_expires) or 0
    redis.call('PEXPIREAT', key, string.format('%d', math.ceil(math.max(held, requested) * 1000) + KEPT))
end
local function text(seconds) return string.format('%.6f', seconds) end
local function is_before(arrived, token, other_arrived, other)
    if arrived ~= other_arrived then return arrived < other_arrived end
    return token < other
end
"""
# Arguments: the token, when it arrived or '', '1' if it interrupts, and how many seconds a lease and a request last.
_ACQUIRE = """
local key, token, row, t = KEYS[1], ARGV[1], read(KEYS[1]), now()
local interrupts, lasts, waits = ARGV[3] == '1', tonumber(ARGV[4]), tonumber(ARGV[5])
local arrived = ARGV[2] == '' and text(t) or ARGV[2]
if row.holder == token then
    row.expires = text(t + lasts)
    redis.call('HSET', key, 'expires', row.expires)
    expire(key, row)
    return {1, arrived, 0}
end
local mine = tonumber(arrived)
local is_requested = row.is_requested and row.request ~= token
if interrupts and (
    is_before(mine, token, tonumber(row.arrived), row.holder or '')
    or (is_requested and is_before(mine, token, tonumber(row.request_arrived), row.request))
) then
    return {0, arrived, 1}
end
if not row.is_held and (interrupts or not is_requested) then
    row.holder, row.expires = token, text(t + lasts)
    redis.call('HSET', key, 'holder', token, 'arrived', arrived, 'expires', row.expires)
    if not is_requested then
        row.request = nil
        redis.call('HDEL', key, 'request')
    end
    expire(key, row)
    return {1, arrived, 0}
end
if interrupts and row.is_held and row.stop ~= row.holder then
    redis.call('HSET', key, 'stop', row.holder, 'reason', 'newer')
end
if interrupts or not is_requested then
    row.request, row.request_expires = token, text(t + waits)
    redis.call('HSET', key, 'request', token, 'request_arrived', arrived, 'request_expires', row.request_expires)
    expire(key, row)
end
return {0, arrived, 0}
"""
# Arguments: the seconds that a lease lasts from now on, or '', and the token of each key.
_LOOK = """
local news = {}
for i, key in ipairs(KEYS) do
    local row = read(key)
    if row.holder == ARGV[i + 1] then
        if ARGV[1] ~= '' then
            row.expires = text(now() + tonumber(ARGV[1]))
            redis.call('HSET', key, 'expires', row.expires)
            expire(key, row)
        end
        news[i] = (row.stop == row.holder and row.reason or '') .. (row.is_requested and '+' or '')
    else
        news[i] = '-'
    end
end
return news
"""
_RELEASE = """
local key, token, row = KEYS[1], ARGV[1], read(KEYS[1])
if row.request == token then
    row.request, row.is_requested = nil, false
    redis.call('HDEL', key, 'request')
end
local was_ours = row.holder == token
if was_ours then
    row.holder = nil
    redis.call('HDEL', key, 'holder')
end
if not row.holder and not row.is_requested then
    redis.call('DEL', key)
else
    expire(key, row)
end
return was_ours and 1 or 0
"""
_STOP = """
local row = read(KEYS[1])
if not row.is_held or (ARGV[1] ~= '' and ARGV[1] ~= row.holder) then
    return 0
end
if row.stop ~= row.holder then
    redis.call('HSET', KEYS[1], 'stop', row.holder, 'reason', 'stopped')
end
return 1
"""


def redis_lease(
    client: Redis | str,
    *,
    timeout: float | timedelta = 30.0,
    poll: float | timedelta = 0.25,
    prefix: str = "stale-retry:turn:",
) -> LeaseStore:
    """Leases for `TurnQueue(shared=...)` in Redis, for all processes that use the same server and prefix.

    Each step is one script, by the server's clock. A server that forgets its keys when it restarts lets others begin
    while a turn runs, which then ends with `TurnLostError`; let it keep them (`appendonly yes`).

    Args:
        client: of `redis.asyncio`, and yours to close; or a URL. From a URL each event loop gets a client, which is
            closed when the loop's last turn has ended.
        timeout: seconds or timedelta after which the lease of a process that was killed is free. A running turn renews
            its lease three times in that time.
        poll: seconds or timedelta, on average, between two questions of a turn that waits for a lease.
        prefix: of the keys.

    Raises:
        TypeError, ValueError: an option is wrong; the message names it and its rule.
    """
    if not isinstance(prefix, str):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise TypeError(f"prefix must be a string, got {prefix!r}")
    return RedisLease(client, finite_seconds("timeout", timeout), finite_seconds("poll", poll), prefix)


class RedisLease:
    """A `LeaseStore`; see `redis_lease`."""

    def __init__(self, client: Any, timeout: float, poll: float, prefix: str) -> None:
        self.timeout = timeout
        self.poll = poll
        self._prefix = prefix
        if isinstance(client, str):
            _refuse_unknown_scheme(client)
            self._connections = Connections(None, lambda: _client(client), _close)
            self.close_here: Callable[[], Awaitable[None]] = self._connections.close_here
        else:
            if not hasattr(client, "evalsha"):
                raise TypeError(f"client must be a client of redis.asyncio, or a URL; got {type(client).__name__}")
            self._connections = Connections(client, lambda: None, _close)

    async def acquire(
        self, name: str, token: str, *, arrived: float | None = None, interrupts: bool = False
    ) -> LeaseAnswer:
        first = "" if arrived is None else f"{arrived:.6f}"
        times = (f"{self.timeout:.6f}", f"{self.poll * 8:.6f}")
        is_ours, when, is_superseded = await self._run(_ACQUIRE, [name], token, first, int(interrupts), *times)
        return LeaseAnswer(bool(is_ours), float(when), bool(is_superseded))

    async def look(self, held: Mapping[str, str], *, renew: bool) -> Mapping[str, LeaseNews]:
        lasts = f"{self.timeout:.6f}" if renew else ""
        tokens = list(held)
        at_once = 1 if "Cluster" in type(self._connections.here()).__name__ else len(tokens)  # one script, one node
        news: dict[str, LeaseNews] = {}
        for first in range(0, len(tokens), at_once):
            some = tokens[first : first + at_once]
            heard = await self._run(_LOOK, [held[token] for token in some], lasts, *some)
            for token, answer in zip(some, heard, strict=True):
                words: str = answer.decode() if isinstance(answer, bytes) else answer
                if words != "-":
                    news[token] = LeaseNews(cast("EndReason", words.removesuffix("+")) or None, words.endswith("+"))
        return news

    async def release(self, name: str, token: str) -> bool:
        return bool(await self._run(_RELEASE, [name], token))

    async def stop(self, name: str, token: str | None) -> bool:
        return bool(await self._run(_STOP, [name], token or ""))

    async def aclose(self) -> None:
        """Close the clients that were made from a URL, of all event loops. Later turns make others."""
        await self._connections.aclose()

    async def _run(self, script: str, names: list[str], *arguments: object) -> Any:
        # The part in braces keeps all that a cluster knows of a lease on one node.
        keys = [f"{self._prefix}{{{name}}}" for name in names]
        return await self._connections.here().register_script(_READ + script)(keys=keys, args=arguments)


def _refuse_unknown_scheme(url: str) -> None:
    if not url.startswith(("redis://", "rediss://", "unix://")):
        scheme, is_one, _ = url.partition("://")  # what follows may have a password
        got = f"{scheme}://" if is_one else "no scheme"
        raise ValueError(f"client must be a URL that begins with redis://, rediss:// or unix://; got {got}")


def _client(url: str) -> Any:
    from redis.asyncio import BlockingConnectionPool, Redis

    pools: Any = BlockingConnectionPool
    return Redis.from_pool(pools.from_url(url, max_connections=10))


async def _close(client: Any) -> None:
    await client.aclose()
