"""What the queue of a session promises, beside one writer who appends the same events alone in the same run.

    python tests/benchmarks/one_queue.py                       # SQLite file and PostgreSQL
    python tests/benchmarks/one_queue.py --database sqlite --rounds 5
    python tests/benchmarks/one_queue.py --database postgresql --only processes       # or one, or uncontended

The figures are medians of the rounds. Prints, never judges.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import statistics
import subprocess
import sys
import time
import uuid
from collections.abc import Awaitable, Callable

from contention import APP, Counting, database, new_event
from google.adk.sessions import BaseSessionService, InMemorySessionService, Session
from google.adk.version import __version__

from stale_retry.adk import RetryingSessionService

SIZES = ((20, 5), (100, 1), (10, 20))
CROWDS = ((2, 1, 20), (4, 1, 20), (4, 5, 5), (8, 10, 3))
KINDS = ("none", "queue")


class Run:
    """Writers of one session, each with its own object of it."""

    def __init__(self, bare: BaseSessionService, wrapped: BaseSessionService, key: dict[str, str]) -> None:
        self.bare, self.wrapped, self.key = bare, wrapped, key
        self.took: list[float] = []
        self.given_up: list[str] = []

    async def write(self, session: Session, events: int) -> None:
        for number in range(events):
            began = time.perf_counter()
            try:
                await self.wrapped.append_event(session, new_event(f"{number}"))
            except ValueError as error:
                self.given_up.append(" ".join(getattr(error, "__notes__", [str(error)])))
            self.took.append(time.perf_counter() - began)

    async def play(self, writers: int, events: int, until: Callable[[], Awaitable[None]] | None = None) -> float:
        loaded = [await self.wrapped.get_session(**self.key) for _ in range(writers)]
        if until is not None:
            await until()
        if isinstance(self.bare, Counting):
            self.bare.calls = self.bare.reloads = 0
            self.bare.counts_reloads = True
        began = time.perf_counter()
        await asyncio.gather(*(self.write(session, events) for session in loaded))
        seconds = time.perf_counter() - began
        if isinstance(self.bare, Counting):
            self.bare.counts_reloads = False
        return seconds


async def new_session(service: BaseSessionService) -> dict[str, str]:
    key = {**APP, "session_id": uuid.uuid4().hex}
    await service.create_session(**key)
    return key


async def one_process(service: Counting, rounds: int) -> None:
    print("| writers x events | calls | readings | seconds | over one alone | slowest append of the run |")
    print("|---|---|---|---|---|---|")
    for writers, events in SIZES:
        rows = []
        for _ in range(rounds):
            alone = await Run(service, RetryingSessionService(service), await new_session(service)).play(
                1, writers * events
            )
            run = Run(service, RetryingSessionService(service), await new_session(service))
            seconds = await run.play(writers, events)
            rows.append((service.calls, service.reloads, seconds, seconds / alone, max(run.took) / seconds))
        calls, readings, seconds, ratio, slowest = map(statistics.median, zip(*rows, strict=True))
        print(
            f"| {writers} x {events} | {calls} | {readings} | {seconds:.2f} | {ratio:.2f} | {slowest:.0%} |", flush=True
        )
    deadline = seconds * 0.6
    run = Run(service, RetryingSessionService(service, deadline=deadline), await new_session(service))
    seconds = await run.play(10, 20)
    none = sum("0 attempts" in told for told in run.given_up)
    print(
        f"\n10 x 20 with deadline={deadline:.2f}: {len(run.given_up)} given up in {seconds:.2f} s, {none} unattempted"
    )


async def uncontended(service: BaseSessionService, rounds: int, appends: int) -> None:
    """Appends by turns to two sessions, so that both see the same machine."""
    took: tuple[list[float], list[float]] = ([], [])
    wrapped = RetryingSessionService(service)
    for turn in range(rounds):
        sessions = [await wrapped.get_session(**await new_session(service)) for _ in range(2)]
        for number in range(appends):
            for which in (turn + number) % 2, (turn + number + 1) % 2:
                event = new_event("text")
                began = time.perf_counter()
                await (service, wrapped)[which].append_event(sessions[which], event)
                took[which].append(time.perf_counter() - began)
    bare, ours = (1e6 * statistics.median(each) for each in took)
    change = f"{ours - bare:+.1f} µs, {ours / bare - 1:+.1%}"
    print(f"\nuncontended, {type(service).__name__}: {bare:.1f} µs bare, {ours:.1f} ours: {change}")


def key_of(session: Session) -> str:
    return str(session.id)


async def work(url: str, session: str, kind: str, writers: str, events: str) -> None:
    """One process of several."""
    service = Counting(url)
    wrapped = RetryingSessionService(service, key=key_of if kind == "queue" else None, deadline=300)
    run = Run(service, wrapped, {**APP, "session_id": session})

    async def until_all_are_ready() -> None:
        print("ready", flush=True)
        await asyncio.to_thread(sys.stdin.readline)

    seconds = await run.play(int(writers), int(events), until_all_are_ready)
    print(json.dumps([service.calls, service.reloads, seconds, len(run.given_up)]))
    await service.db_engine.dispose()


async def several_processes(service: Counting, url: str, rounds: int) -> None:
    print("\n| processes x writers x events | | calls per event | readings per event | seconds |")
    print("|---|---|---|---|---|")
    for processes, writers, events in CROWDS:
        for kind in KINDS:
            rows = [await crew(service, url, kind, processes, writers, events) for _ in range(rounds)]
            calls, readings, seconds = map(statistics.median, zip(*rows, strict=True))
            crowd = f"{processes} x {writers} x {events}"
            print(f"| {crowd} | {kind} | {calls:.2f} | {readings:.2f} | {seconds:.2f} |", flush=True)


async def crew(
    service: Counting, url: str, kind: str, processes: int, writers: int, events: int
) -> tuple[float, float, float]:
    """Calls and readings for each event, and the seconds of the slowest process."""
    total = processes * writers * events
    session = (await new_session(service))["session_id"]
    command = [sys.executable, __file__, "--work", url, session, kind, str(writers), str(events)]
    workers = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(processes)
    ]
    for worker in workers:
        worker.stdout.readline()
    for worker in workers:
        worker.stdin.write("go\n")
        worker.stdin.flush()
    each = [json.loads((await asyncio.to_thread(worker.communicate))[0]) for worker in workers]
    stored = await service.get_session(**APP, session_id=session)
    assert len(stored.events) == total
    return sum(one[0] for one in each) / total, sum(one[1] for one in each) / total, max(one[2] for one in each)


async def main(kinds: list[str], rounds: int, only: str) -> None:
    for kind in kinds:
        print(f"\n## {kind}, google-adk {__version__}, medians of {rounds}\n", flush=True)
        async with database(kind) as service:
            await service.create_session(**APP, session_id="warm up")
            if only in ("", "one"):
                await one_process(service, rounds)
            if only in ("", "uncontended"):
                await uncontended(service, rounds, 100)
            if only in ("", "processes") and kind == "postgresql":
                url = service.db_engine.url.render_as_string(hide_password=False)
                await several_processes(service, url, rounds)
    if only in ("", "uncontended"):
        await uncontended(InMemorySessionService(), rounds, 300)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--database", choices=["sqlite", "postgresql"], action="append")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", choices=["one", "uncontended", "processes"], default="")
    parser.add_argument("--work", nargs=6, help=argparse.SUPPRESS)
    given = parser.parse_args()
    logging.disable()
    if given.work:
        asyncio.run(work(*given.work))
    else:
        asyncio.run(main(given.database or ["sqlite", "postgresql"], given.rounds, given.only))
