"""A contender that is cancelled: it is never swallowed, and neither server nor pool keeps anything of it."""

import asyncio
import itertools

import anyio
import pytest

from .conftest import apart, held_elsewhere, hold
from .kinds import Session, opened

pytestmark = pytest.mark.asyncio

ONE = Session("one")


@pytest.mark.parametrize("times", [1, 2, 50])
async def test_a_wait_that_is_cancelled_ends_on_the_server_too(kind, server, times):
    async with opened(kind, server.url, size=1) as gate:
        async with held_elsewhere(kind, server, ONE):
            waiting = apart(hold(gate, ONE))
            await server.until_waited_for()
            for _ in range(times):
                waiting.cancel()
                await asyncio.sleep(0)
            with pytest.raises(asyncio.CancelledError):
                await waiting
            await server.until_nobody_waits()
            assert await server.held() == 1
        async with gate(ONE):
            assert await server.held() == 1
    assert await server.held() == 0


async def test_a_deadline_over_the_wait_ends_it_on_the_server_too(kind, server):
    """As a call's deadline does: a cancel scope, which cancels at every await until it is left."""
    scope = anyio.CancelScope()

    async def wait(gate):
        with scope:
            await hold(gate, ONE)

    async with opened(kind, server.url, size=1) as gate:
        async with held_elsewhere(kind, server, ONE):
            waiting = apart(wait(gate))
            await server.until_waited_for()
            scope.cancel()
            await waiting
            assert scope.cancelled_caught
            await server.until_nobody_waits()
            assert await server.held() == 1
        async with gate(ONE):
            assert await server.held() == 1


async def test_a_lock_is_freed_whenever_on_the_way_to_it_and_back_the_contender_is_cancelled(kind, server):
    async def contend(gate):
        async with gate(ONE):
            pass

    async with opened(kind, server.url, size=50) as gate:  # those before may still be letting go
        for steps in itertools.count(step=3):
            contending = apart(contend(gate))
            for _ in range(steps):
                await asyncio.sleep(0)
            if not contending.cancel():
                break
            with pytest.raises(asyncio.CancelledError):
                await contending
        assert steps > 9, "it was never cancelled on its way"
        await server.until_free()
        await server.until_nobody_waits()
        async with gate(ONE):
            assert await server.held() == 1


@pytest.mark.parametrize("by_scope", [False, True])
async def test_a_holder_that_is_cancelled_frees_the_lock(kind, server, by_scope):
    scope = anyio.CancelScope()
    entered = asyncio.Event()

    async def contend(gate):
        with scope:
            async with gate(ONE):
                entered.set()
                await asyncio.Event().wait()

    async with opened(kind, server.url, size=1) as gate:
        holding = apart(contend(gate))
        await entered.wait()
        if by_scope:
            scope.cancel()
            await holding
        else:
            holding.cancel()
            with pytest.raises(asyncio.CancelledError):
                await holding
        await server.until_free()
        async with gate(ONE):
            assert await server.held() == 1


async def test_who_is_cancelled_while_leaving_leaves_no_lock_behind(kind, server):
    leaving = asyncio.Event()

    async def contend(gate):
        async with gate(ONE):
            leaving.set()

    async with opened(kind, server.url, size=1) as gate:
        contending = apart(contend(gate))
        await leaving.wait()
        contending.cancel()
        with pytest.raises(asyncio.CancelledError):
            await contending
        await server.until_free()
        async with gate(ONE):
            assert await server.held() == 1
