"""What only the lock in Redis does: it expires, and those who wait look for it."""

import asyncio

import pytest
from redis.asyncio import Redis, RedisCluster

from stale_retry.gates.redis import TAKE, redis_gate

from .conftest import apart, hold
from .kinds import Session, by_id, opened
from .servers import ClusterOfOne, until

pytestmark = pytest.mark.asyncio

ONE = Session("one")


async def test_an_expired_lock_whose_holder_lives_leaves_the_next_holders_lock_alone(redis):
    async with opened("redis", redis.url, timeout=0.05) as short, opened("redis", redis.url) as gate:
        slow = apart(hold(short, ONE, leave := asyncio.Event()))
        await redis.until_held()
        entered = asyncio.Event()

        async def next_one():
            async with gate(ONE):
                entered.set()
                await done.wait()

        done = asyncio.Event()
        following = apart(next_one())
        await entered.wait()
        (name,) = await redis.names()
        its_lock = await redis.ask("GET", name)
        leave.set()
        await slow
        assert await redis.ask("GET", name) == its_lock
        done.set()
        await following
        assert await redis.held() == 0


async def test_a_lock_lasts_as_long_as_its_timeout(redis):
    async with opened("redis", redis.url, timeout=7) as gate, gate(ONE):
        (name,) = await redis.names()
        assert 6000 < await redis.ask("PTTL", name) <= 7000


async def test_who_comes_while_others_wait_waits_too(redis):
    """Else who has just left would always be the first to come again."""
    async with opened("redis", redis.url) as gate:
        async with gate(Session("wanted")):
            (name,) = await redis.names()
        await redis.ask("SET", name.replace(b"/gate/", b"/wanted/"), 1, "PX", 1000)
        before = await redis.looks()
        async with gate(Session("wanted")):
            assert await redis.looks() == before + 2


async def test_who_waits_says_so_and_not_for_longer_than_he_waits(redis):
    async with opened("redis", redis.url) as gate:
        async with gate(ONE):
            (name,) = await redis.names()
            wanted = name.replace(b"/gate/", b"/wanted/")
            assert not await redis.ask("EXISTS", wanted)
            waiting = apart(hold(gate, ONE, leave := asyncio.Event()))

            async def said():
                return await redis.ask("EXISTS", wanted)

            await until(said, "the waiter says that he waits")
            assert await redis.ask("PTTL", wanted) <= 10
        leave.set()
        await waiting


async def test_a_lock_that_was_taken_unheard_is_freed(redis):
    class Deaf(Redis):
        async def execute_command(self, *args, **options):
            answer = await super().execute_command(*args, **options)
            if args[1] == TAKE:
                raise ConnectionError("the answer is lost")
            return answer

    async with Deaf.from_url(redis.url) as client, redis_gate(client, by_id)(ONE):
        assert await redis.held() == 0


async def test_a_cluster_finds_both_keys_on_one_node(tmp_path, caplog):
    server = ClusterOfOne(tmp_path)
    try:
        await server.until_ready()
        async with RedisCluster(host="127.0.0.1", port=server.port) as client, redis_gate(client, by_id)(ONE):
            assert len(await client.keys("stale_retry/gate/*")) == 1
        assert not [record for record in caplog.records if record.name == "stale_retry"]
    finally:
        server.close()
