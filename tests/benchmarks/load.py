"""Memory and throughput of `RetryingSessionService` under load: `python tests/benchmarks/load.py [--appends 100000]`.

Memory: that many appends on a service in memory, one in a hundred rejected as stale; what Python has allocated, after a
garbage collection, at each tenth. Throughput: appends without a conflict on the bare service and on the wrapped one, by
turns, and the ratio of the medians.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import statistics
import sys
import tempfile
import time
import tracemalloc
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from faults.servers import Postgres
from faults.stores import APP, Store, close
from faults.writers import make_event
from google.adk.sessions import BaseSessionService, InMemorySessionService, Session

from stale_retry import StaleSessionError, constant
from stale_retry.adk import RetryingSessionService

SESSION = 100
"""Appends to one session, one of which conflicts."""


class Versioned(InMemorySessionService):
    """In memory, and strict: an append through a session that is not up to date is rejected."""

    def __init__(self) -> None:
        super().__init__()
        self.rejected = 0

    async def append_event(self, session: Session, event):
        if session.last_update_time != self._stored(session).last_update_time:
            self.rejected += 1
            raise StaleSessionError
        return await super().append_event(session, event)

    def _stored(self, session: Session) -> Session:
        return self.sessions[session.app_name][session.user_id][session.id]


async def use_a_session(service: BaseSessionService, name: str, *, conflict: bool) -> None:
    session = await service.create_session(**APP, session_id=name)
    for number in range(SESSION - conflict):
        if conflict and number == SESSION // 2:
            other = await service.get_session(**APP, session_id=name)
            await service.append_event(other, make_event("other 0"))
        await service.append_event(session, make_event(f"writer {number}"))
    assert len(session.events) == SESSION
    await service.delete_session(**APP, session_id=name)


async def memory(appends: int) -> None:
    service = Versioned()
    wrapped = RetryingSessionService(service, backoff=constant(0), jitter=None, observers=())
    await use_a_session(wrapped, "warm-up", conflict=True)
    gc.collect()
    tracemalloc.start()
    base = tracemalloc.get_traced_memory()[0]
    tenth = max(1, appends // SESSION // 10)
    print(f"{'appends':>9} {'conflicts':>9} {'KiB more':>9} {'queues':>8}")
    service.rejected = 0
    for turn in range(1, 10 * tenth + 1):
        await use_a_session(wrapped, f"session-{turn}", conflict=True)
        if turn % tenth == 0:
            gc.collect()
            more = (tracemalloc.get_traced_memory()[0] - base) / 1024
            print(f"{turn * SESSION:>9} {service.rejected:>9} {more:>9.1f} {len(wrapped.retrying.queues):>8}")
    tracemalloc.stop()


async def throughput(name: str, service: BaseSessionService, rounds: int) -> None:
    wrapped = RetryingSessionService(service, observers=())
    seconds: dict[BaseSessionService, list[float]] = {service: [], wrapped: []}
    for turn in range(rounds + 1):
        sessions = {
            which: await which.create_session(**APP, session_id=f"{name}-{turn}-{id(which)}") for which in seconds
        }
        gc.collect()
        for number in range(SESSION):
            for which in seconds if number % 2 else reversed(seconds):
                event = make_event(f"writer {number}")
                began = time.perf_counter()
                await which.append_event(sessions[which], event)
                if turn:
                    seconds[which].append(time.perf_counter() - began)
    bare, ours = (statistics.median(seconds[which]) * 1e6 for which in (service, wrapped))
    print(f"{name:<36} {bare:>9.1f} {ours:>9.1f} {bare / ours:>8.1%}")


async def main(appends: int, rounds: int) -> None:
    await memory(appends)
    print(f"\n{'microseconds for an append':<36} {'bare':>9} {'wrapped':>9} {'speed':>8}")
    await throughput("InMemorySessionService", InMemorySessionService(), rounds * 5)
    postgres = Postgres()
    try:
        with tempfile.TemporaryDirectory() as directory:
            for name, store in (
                ("SqliteSessionService", Store("sqlite-service", f"{directory}/service.db")),
                ("DatabaseSessionService, SQLite file", Store("sqlite", f"{directory}/database.db")),
                ("DatabaseSessionService, PostgreSQL", Store("postgres", postgres.url)),
            ):
                service = store.open()
                await throughput(name, service, rounds)
                await close(service)
    finally:
        postgres.close()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--appends", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=20)
    options = parser.parse_args()
    asyncio.run(main(options.appends, options.rounds))
