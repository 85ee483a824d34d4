"""A place at a shared gate: who waits for whom, and what it leaves of what happens inside."""

import asyncio
import gc
import weakref
from dataclasses import dataclass

import anyio
import pytest

from stale_retry.gates import _shared
from stale_retry.gates.postgres import postgres_gate

from .conftest import apart, held_elsewhere, hold
from .kinds import Session, by_id, client_of, opened
from .servers import PATIENCE

pytestmark = pytest.mark.asyncio

ONE, OTHER = Session("one"), Session("other")


async def test_a_contender_enters_when_the_one_before_has_left(kind, server):
    async with opened(kind, server.url) as gate:
        async with gate(ONE):
            waiting = apart(hold(gate, ONE, leave := asyncio.Event()))
            await server.until_waited_for()
        leave.set()
        await waiting
    assert await server.held() == 0


async def test_different_sessions_do_not_wait_for_each_other(kind, server):
    async with held_elsewhere(kind, server, ONE), opened(kind, server.url) as gate, gate(OTHER):
        assert await server.held() == 2


async def test_an_append_inside_another_or_in_a_task_inside_it_does_not_wait_for_itself(kind, server):
    async def inside(gate):
        async with gate(ONE):
            assert await server.held() == 1

    async with opened(kind, server.url) as gate, gate(ONE):
        with anyio.fail_after(PATIENCE):
            await inside(gate)
            await asyncio.create_task(inside(gate))
        assert await server.held() == 1
    assert await server.held() == 0


async def test_a_task_that_started_inside_queues_like_others_once_the_place_is_left(kind, server):
    go_on = asyncio.Event()

    async def later(gate):
        await go_on.wait()
        async with gate(ONE):
            pass

    async with opened(kind, server.url) as gate:
        async with gate(ONE):
            inherited = asyncio.create_task(later(gate))
        async with held_elsewhere(kind, server, ONE):
            go_on.set()
            await server.until_waited_for()
            assert not inherited.done()
        await inherited


async def test_what_is_raised_inside_comes_out_as_it_is(kind, server):
    @dataclass(frozen=True)
    class FrozenError(Exception):
        code: int

    async with opened(kind, server.url) as gate:
        for error in (ValueError("theirs"), FrozenError(1), StopAsyncIteration()):
            with pytest.raises(type(error)) as caught:
                async with gate(ONE):
                    raise error
            assert caught.value is error
            assert error.__context__ is None
    assert await server.held() == 0


async def test_a_place_that_is_dropped_is_freed_with_a_warning(kind, server):
    async with opened(kind, server.url) as gate:
        place = gate(ONE)
        await place.__aenter__()
        assert await server.held() == 1
        with pytest.warns(ResourceWarning, match="was dropped"):
            del place
        await server.until_free()


async def test_a_place_may_be_entered_by_one_task_and_left_by_another(kind, server):
    async with opened(kind, server.url) as gate:
        place = gate(ONE)
        await apart(place.__aenter__())
        assert await server.held() == 1
        with anyio.fail_after(PATIENCE):
            async with gate(ONE):
                assert await server.held() == 1, "whoever asked for it shares it"
        await apart(place.__aexit__(None, None, None))
    assert await server.held() == 0


async def test_nothing_is_kept_of_a_place_that_was_left(kind, server):
    async with opened(kind, server.url) as gate:
        gc.collect()
        gc.disable()
        try:
            place = gate(ONE)
            async with place:
                kept = weakref.ref(place._holding), weakref.ref(place)
            del place
            await asyncio.sleep(0)
            assert [ref() for ref in kept] == [None, None]
        finally:
            gc.enable()
        assert not _shared._tasks


async def test_a_connection_goes_back_to_its_pool_without_the_lock(kind, server):
    async with opened(kind, server.url, size=1) as gate:
        for _ in range(3):
            async with gate(ONE):
                assert await server.held() == 1
            assert await server.held() == 0


async def test_an_engine_that_commits_every_statement_keeps_the_lock(postgres):
    async with client_of("sqlalchemy+asyncpg", postgres.url, isolation_level="AUTOCOMMIT") as engine:
        gate = postgres_gate(engine, by_id)
        async with gate(ONE):
            assert await postgres.held() == 1
