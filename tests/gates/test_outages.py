"""A lock that cannot be had: it is logged and passed over, and changes nothing of what happens inside."""

import asyncio
import contextlib
import logging
import os
import signal
import time
from types import SimpleNamespace

import anyio
import pytest

from stale_retry.gates import _shared
from stale_retry.gates.redis import redis_gate

from .conftest import apart, held_elsewhere, hold
from .kinds import POSTGRES, Session, by_id, client_of, opened
from .servers import PATIENCE

pytestmark = pytest.mark.asyncio

ONE, OTHER = Session("one"), Session("other")
BRIEFLY = 4.0
"""Seconds: long for a gate that gives a server up after 0.05, short for what the drivers wait of themselves."""


@pytest.fixture
def warnings_of(caplog):
    caplog.set_level(logging.WARNING, logger="stale_retry")
    return lambda: [record.getMessage() for record in caplog.records if record.name == "stale_retry"]


def nowhere(kind, tmp_path):
    return f"unix://{tmp_path}/nowhere" if kind == "redis" else f"postgresql://nobody@/nothing?host={tmp_path}"


@contextlib.asynccontextmanager
async def silent(kind):
    """A server that accepts connections and says nothing: its URL, and the connections it has had."""
    connections = []

    async def accept(reader, writer):
        connections.append(reader)
        await reader.read()
        writer.close()

    async with await asyncio.start_server(accept, "127.0.0.1", 0) as server:
        host, port = server.sockets[0].getsockname()
        yield (f"redis://{host}:{port}" if kind == "redis" else f"postgresql://nobody@{host}:{port}/x"), connections


async def test_a_server_that_is_not_there_is_passed_over_with_one_warning(kind, tmp_path, hasten, warnings_of):
    hasten()
    async with opened(kind, nowhere(kind, tmp_path)) as gate:
        for session in (ONE, OTHER, ONE):
            async with gate(session):
                stored = True
    assert stored
    (warning,) = warnings_of()
    assert "PostgreSQL" in warning or "Redis" in warning


async def test_the_warning_has_nothing_in_it_but_names_and_numbers(kind, hasten, warnings_of, tmp_path):
    hasten()
    async with opened(kind, nowhere(kind, tmp_path)) as gate, gate(Session("secret")):
        pass
    (warning,) = warnings_of()
    assert "secret" not in warning
    assert "nobody" not in warning
    assert str(tmp_path) not in warning


async def test_a_server_that_does_not_answer_is_asked_once_and_then_passed_over(kind, hasten, warnings_of):
    hasten()
    async with silent(kind) as (url, connections), opened(kind, url) as gate:
        with anyio.fail_after(BRIEFLY):
            async with gate(ONE):
                pass
        asked = len(connections)
        assert asked
        for _ in range(20):
            async with gate(OTHER):
                pass
        assert len(connections) == asked
    assert len(warnings_of()) == 1


async def test_many_that_come_at_once_to_a_server_that_is_gone_are_one_warning(kind, tmp_path, hasten, warnings_of):
    hasten()
    async with opened(kind, nowhere(kind, tmp_path)) as gate:

        async def contend(number):
            async with gate(Session(str(number))):
                pass

        await asyncio.gather(*(contend(number) for number in range(20)))
    assert len(warnings_of()) == 1


async def test_a_gate_that_failed_rests_and_is_used_again_then(kind, server, monkeypatch):
    async with opened(kind, server.url) as gate:
        with monkeypatch.context() as patch:
            patch.setattr(_shared, "REACH", 0.05)
            server.stop()
            try:
                async with gate(ONE):
                    pass
            finally:
                server.start()
        async with gate(ONE):
            assert await server.held() == 0
        later = time.monotonic() + _shared.REST
        monkeypatch.setattr(_shared, "time", SimpleNamespace(monotonic=lambda: later))
        async with gate(ONE):
            assert await server.held() == 1


async def test_a_server_that_stops_and_starts_costs_neither_holder_nor_waiter_anything(
    kind, server, monkeypatch, warnings_of
):
    both_inside, leave = asyncio.Event(), asyncio.Event()

    async def append(gate, name):
        async with gate(ONE):
            if name == "waiter":
                both_inside.set()
            await leave.wait()
            return name

    async with opened(kind, server.url) as gate:
        holder = apart(append(gate, "holder"))
        await server.until_held()
        waiter = apart(append(gate, "waiter"))
        await server.until_waited_for()
        monkeypatch.setattr(_shared, "REST", 0.0)
        server.stop()
        try:
            await both_inside.wait()
            leave.set()
            assert await asyncio.gather(holder, waiter) == ["holder", "waiter"]
        finally:
            server.start()
        assert warnings_of()
        async with gate(ONE):
            assert await server.held() == 1


async def test_an_append_that_is_stored_returns_although_the_server_is_gone_then(kind, server, hasten, warnings_of):
    async def append(gate):
        async with gate(ONE):
            hasten()
            server.stop()
            return "stored"

    async with opened(kind, server.url) as gate:
        try:
            assert await append(gate) == "stored"
        finally:
            server.start()
    assert warnings_of()
    await server.until_free()


async def test_an_error_of_the_append_comes_out_although_the_server_is_gone_then(kind, server, hasten):
    error = ValueError("theirs")

    async def append(gate):
        async with gate(ONE):
            hasten()
            server.stop()
            raise error

    async with opened(kind, server.url) as gate:
        try:
            with pytest.raises(ValueError, match="theirs") as caught:
                await append(gate)
        finally:
            server.start()
    assert caught.value is error
    assert error.__context__ is None
    await server.until_free()


async def test_leaving_does_not_wait_for_a_server_that_hangs(kind, server, hasten, warnings_of):
    async with opened(kind, server.url) as gate:
        place = gate(ONE)
        await place.__aenter__()
        process = await server.process_of_the_holder()
        hasten()
        os.kill(process, signal.SIGSTOP)
        try:
            await asyncio.wait_for(place.__aexit__(None, None, None), PATIENCE)
        finally:
            os.kill(process, signal.SIGCONT)
        assert warnings_of()
        await server.until_free()


@pytest.mark.parametrize("kind", POSTGRES, indirect=True)
async def test_a_pool_that_is_dry_is_passed_over(kind, server, hasten, warnings_of):
    async with opened(kind, server.url, size=1) as gate:
        holder = apart(hold(gate, OTHER, leave := asyncio.Event()))
        await server.until_held()
        hasten()
        with anyio.fail_after(BRIEFLY):
            async with gate(ONE):
                assert await server.held() == 1
        leave.set()
        await holder
    assert len(warnings_of()) == 1


async def test_a_pool_of_redis_that_is_dry_is_passed_over(redis, warnings_of):
    async with client_of("redis", redis.url, size=1) as client:
        connection = await client.connection_pool.get_connection()
        async with redis_gate(client, by_id)(ONE):
            assert await redis.held() == 0
        await client.connection_pool.release(connection)
    assert len(warnings_of()) == 1


@pytest.mark.parametrize("kind", POSTGRES, indirect=True)
async def test_a_holder_that_hangs_holds_up_nobody_for_longer_than_the_timeout(kind, server, warnings_of):
    async with held_elsewhere(kind, server, ONE), opened(kind, server.url, timeout=0.05) as gate:
        with anyio.fail_after(PATIENCE):
            await gate(ONE).__aenter__()
        await server.until_nobody_waits()
        assert await server.held() == 1
    assert len(warnings_of()) == 1
