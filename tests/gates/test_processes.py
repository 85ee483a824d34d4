"""Processes at one gate: one at a time, and whoever is killed keeps nobody waiting."""

import asyncio
import time

import pytest

from .conftest import apart, hold
from .kinds import Session, opened

pytestmark = [pytest.mark.asyncio, pytest.mark.parametrize("kind", ["sqlalchemy+asyncpg", "redis"], indirect=True)]


async def test_one_at_a_time_of_all_processes_is_inside(contenders, server, tmp_path):
    crew = await contenders(3)
    for contender in crew:
        contender.tell(f"rounds 20 {tmp_path / 'inside'}")
    for contender in crew:
        await contender.says("alone")
    assert await server.held() == 0


async def test_a_holder_that_is_killed_lets_the_next_one_in(kind, contenders, server):
    (holder,) = await contenders(1, **({"timeout": 1} if kind == "redis" else {}))
    holder.tell("enter s")
    await holder.says("entered")
    async with opened(kind, server.url) as gate:
        entering = apart(hold(gate, Session("s"), leave := asyncio.Event()))
        await server.until_waited_for()
        killed = time.monotonic()
        holder.kill()
        leave.set()
        await entering
    assert time.monotonic() - killed < 1.5
    assert await server.held() == 0


async def test_who_is_killed_while_waiting_keeps_nobody_waiting(kind, contenders, server):
    (waiter,) = await contenders(1)
    async with opened(kind, server.url) as gate:
        async with gate(Session("s")):
            waiter.tell("enter s")
            await server.until_waited_for()
            waiter.kill()
        async with gate(Session("s")):
            assert await server.held() == 1
        await server.until_free()
        await server.until_nobody_waits()
