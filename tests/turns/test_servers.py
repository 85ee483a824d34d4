"""Leases in a real PostgreSQL and a real Redis, shared by real processes, some of which are killed."""

import asyncio
import itertools
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from faults.servers import Postgres, Redis

from stale_retry.turns import SessionBusyError, TurnLostError, TurnQueue, sql_lease

from .holder import open_lease

pytestmark = pytest.mark.servers

TIMEOUT = 1.5
"""Seconds that a killed process's lease lasts here."""


def started(redis_server):
    while not redis_server.socket.exists():
        time.sleep(0.01)
    return redis_server


@pytest.fixture(scope="module")
def servers():
    both = {"postgres": Postgres(), "redis": started(Redis())}
    yield both
    for server in both.values():
        server.close()


@pytest.fixture(params=["postgres", "redis"])
def server(request, servers):
    """(kind, url) of a server, which a test may stop and start."""
    return request.param, servers[request.param].url


class Store:
    """A lease of the server for the current event loop."""

    def __init__(self, server, **options):
        self.lease = open_lease(*server, **{"timeout": TIMEOUT, "poll": 0.05, **options})

    async def __aenter__(self):
        return self.lease

    async def __aexit__(self, *_):
        await self.lease.aclose()


def queue(lease, *args, **options):
    return TurnQueue(*args, shared=lease, **{"observers": (), "deadline": 30, "longest": None, **options})


class Process:
    """A process that takes turns of one key."""

    def __init__(self, server, key, count=1, seconds=0.05, timeout=TIMEOUT):
        arguments = [*server, timeout, key, count, seconds]
        self.process = subprocess.Popen(
            [sys.executable, "-m", "turns.holder", *map(str, arguments)],
            cwd=Path(__file__).parents[1],
            env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
            stdout=subprocess.PIPE,
            text=True,
        )

        self.heard = []

    def hears(self, word):
        for line in self.process.stdout:
            self.heard.append(line)
            if line.startswith(word):
                return float(line.split()[1]) if word != "waiting" else None
        raise AssertionError(f"the process ended without saying {word!r}")

    def spans(self):
        """(began, ended, number) of each turn, when the process has ended."""
        lines = [line.split() for line in [*self.heard, *self.process.communicate(timeout=60)[0].splitlines()]]
        began = {line[2]: float(line[1]) for line in lines if line[0] == "began"}
        return [(began[line[2]], float(line[1]), int(line[2])) for line in lines if line[0] == "ended"]

    def kill(self):
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()


def key_of(request):
    return request.node.name


def test_turns_of_four_processes_run_one_at_a_time(server, request):
    processes = [Process(server, key_of(request), count=4, seconds=0.02) for _ in range(4)]
    of_each = [process.spans() for process in processes]
    spans = sorted(span for spans in of_each for span in spans)
    assert len(spans) == 16
    for earlier, later in itertools.pairwise(spans):
        assert earlier[1] <= later[0]
    for own in of_each:
        assert [number for _, _, number in own] == [0, 1, 2, 3]


def test_no_process_has_to_wait_for_all_turns_of_another(server, request):
    """Who asked next is next, though another process has one more turn ready each time it ends one."""
    busy = Process(server, key_of(request), count=40, seconds=0.05)
    busy.hears("began")
    other = Process(server, key_of(request), count=1)
    (span,) = other.spans()
    after = [began for began, _, _ in busy.spans() if began > span[1]]
    assert len(after) >= 10


def test_a_killed_process_frees_its_turn_within_the_timeout(server, request):
    process = Process(server, key_of(request), seconds=600)
    process.hears("began")

    async def main():
        async with Store(server) as lease:
            turns = queue(lease)
            killed = time.monotonic()
            process.kill()
            async with turns(key_of(request)):
                return time.monotonic() - killed

    assert asyncio.run(main()) <= TIMEOUT + 1


def test_a_killed_process_that_only_waited_holds_up_nobody(server, request):
    async def main():
        async with Store(server) as lease:
            turns = queue(lease)
            async with turns(key_of(request)):
                process = await asyncio.to_thread(Process, server, key_of(request))
                await asyncio.to_thread(process.hears, "waiting")
                await asyncio.sleep(0.3)
                process.kill()
            began = time.monotonic()
            async with turns(key_of(request)):
                return time.monotonic() - began

    assert asyncio.run(main()) <= TIMEOUT + 1


def test_a_turn_that_lasts_longer_than_the_timeout_keeps_its_lease(server, request):
    async def main():
        async with Store(server, timeout=0.6) as lease, Store(server, timeout=0.6) as others:
            turn, other = queue(lease)(key_of(request)), queue(others, deadline=1.5)(key_of(request))
            async with turn:
                with pytest.raises(SessionBusyError):
                    await other.__aenter__()

    asyncio.run(main())


def test_a_process_that_was_suspended_for_longer_than_the_timeout_is_told_that_its_turn_is_lost(server, request):
    process = Process(server, key_of(request), seconds=3)
    process.hears("began")
    process.process.send_signal(signal.SIGSTOP)

    async def main():
        async with Store(server) as lease, queue(lease)(key_of(request)):
            process.process.send_signal(signal.SIGCONT)
            return await asyncio.to_thread(process.process.wait, 20)

    assert asyncio.run(main()) == 1  # TurnLostError
    assert "ended" not in process.process.stdout.read()


def test_many_keys_do_not_wait_for_each_other_and_leave_nothing(server, request, servers):
    async def main():
        async with Store(server) as lease:
            turns = queue(lease)

            async def turn(number):
                async with turns(f"{key_of(request)} {number % 50}"):
                    await asyncio.sleep(0.01)

            await asyncio.gather(*(turn(number) for number in range(100)))
            assert len(turns) == 0

    asyncio.run(main())
    assert keys_left(server, servers, key_of(request)) == 0


def keys_left(server, servers, key):
    kind, url = server
    if kind == "redis":
        import redis

        with redis.Redis.from_url(url) as client:
            return len([name for name in client.scan_iter("stale-retry:turn:*") if key.encode() in name])

    async def count():
        connection = await servers["postgres"].connect()
        try:
            return await connection.fetchval("select count(*) from stale_retry_turns where name like $1", f"%{key} %")
        finally:
            await connection.close()

    return asyncio.run(count())


def test_a_postgresql_that_restarts_costs_no_turn(servers):
    server = "postgres", servers["postgres"].url

    async def main():
        async with Store(server, timeout=10) as lease:
            turns = queue(lease)
            waited = []

            async def waits():
                async with turns("restart"):
                    waited.append(True)

            async with turns("restart"):
                waiting = asyncio.create_task(waits())
                await asyncio.to_thread(servers["postgres"].restart)
                await asyncio.sleep(4)  # one renewal
            await waiting
            assert waited

    asyncio.run(main())


def test_a_redis_that_forgets_ends_the_turn_with_an_error():
    server = started(Redis())
    try:

        async def main():
            async with Store(("redis", server.url)) as lease:
                with pytest.raises(TurnLostError):
                    async with queue(lease)("forgotten"):
                        import redis

                        with redis.Redis.from_url(server.url) as client:
                            client.flushall()
                        await asyncio.sleep(30)

        asyncio.run(main())
    finally:
        server.close()


def test_a_server_that_cannot_be_reached_refuses_the_turn(tmp_path):
    async def main():
        for lease in (
            sql_lease("postgresql+asyncpg://user@localhost:1/none"),
            open_lease("redis", f"unix://{tmp_path}/none"),
        ):
            turns = queue(lease)
            with pytest.raises(Exception, match=r"(?i)connect"):
                async with turns("session"):
                    raise AssertionError("entered")
            await asyncio.sleep(0.05)
            assert len(turns) == 0

    asyncio.run(main())
