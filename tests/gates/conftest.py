import asyncio
import contextlib
import contextvars
import json
import subprocess
import sys
from pathlib import Path

import pytest

from stale_retry.gates import _shared

from .kinds import KINDS, opened
from .servers import PATIENCE, PostgresLocks, RedisLocks


@pytest.fixture(scope="session")
def postgres():
    server = PostgresLocks()
    yield server
    server.close()


@pytest.fixture(scope="session")
def redis():
    server = RedisLocks()
    yield server
    server.close()


@pytest.fixture(params=KINDS)
def kind(request):
    if "psycopg" in request.param:
        pytest.importorskip("psycopg_pool")
    return request.param


@pytest.fixture
def server(kind, request):
    """The server of this kind of gate. No test leaves a lock behind in it."""
    return request.getfixturevalue("redis" if kind == "redis" else "postgres")


@pytest.fixture
def hasten(monkeypatch):
    """From the call on a server is given up sooner, so that the tests need not wait a second for it."""
    return lambda: monkeypatch.setattr(_shared, "REACH", 0.05)


@pytest.fixture(autouse=True)
def patience(monkeypatch):
    """On a busy machine a server that is there may take its time."""
    monkeypatch.setattr(_shared, "REACH", 30.0)


def apart(coroutine):
    """A task that did not start inside any place that the caller has."""
    return contextvars.Context().run(asyncio.ensure_future, coroutine)


async def hold(gate, session, leave=None):
    """Enter, and leave when told to."""
    async with gate(session):
        await (leave or asyncio.Event()).wait()


@contextlib.asynccontextmanager
async def held_elsewhere(kind, server, session):
    """Somebody with a client of his own holds the lock of this session."""
    entered, leave = asyncio.Event(), asyncio.Event()

    async def holder():
        async with opened(kind, server.url) as gate, gate(session):
            entered.set()
            await leave.wait()

    task = apart(holder())
    await entered.wait()
    try:
        yield
    finally:
        leave.set()
        await task


class Contender:
    """A process that comes to a gate, see `contender`."""

    def __init__(self, kind, url, **options):
        self.process = subprocess.Popen(
            [sys.executable, "-m", "gates.contender", kind, url, json.dumps(options)],
            cwd=Path(__file__).parents[1],
            env={"PYTHONPATH": str(Path(__file__).parents[2])},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def tell(self, order):
        self.process.stdin.write(order + "\n")
        self.process.stdin.flush()

    async def says(self, word):
        said = await asyncio.wait_for(asyncio.to_thread(self.process.stdout.readline), PATIENCE)
        assert said.strip() == word

    def kill(self):
        self.process.kill()
        self.process.wait()

    def close(self):
        self.kill()
        self.process.stdin.close()
        self.process.stdout.close()


@pytest.fixture
def contenders(kind, server):
    """Starts processes that come to a gate of this kind."""
    started = []

    async def start(count, **options):
        started.extend(Contender(kind, server.url, **options) for _ in range(count))
        for contender in started:
            await contender.says("ready")
        return list(started)

    yield start
    for contender in started:
        contender.close()
