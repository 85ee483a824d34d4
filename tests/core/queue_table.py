"""What a queue must reach, scenario by scenario, in virtual time; with and without a key.

`test_queue_table.py` asserts it, `tests/benchmarks/queue_table.py` prints it.
"""

from __future__ import annotations

import asyncio
import random
import statistics
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from stale_retry import StaleSessionError, StaleSessionRetryError, limits, retry_on_stale_session
from stale_retry.testing import VersionedStore

from .virtual import run

SEEDS = range(8)

Figures = dict[str, float]


@dataclass(frozen=True)
class Row:
    """One scenario.

    Attributes:
        scenario: what happens.
        play: plays it, with a queue or without, and returns its figures by name.
        must: the most that a figure may be with a queue.
    """

    scenario: str
    play: Callable[[bool], Figures]
    must: Figures


@dataclass
class Version:
    """What a session object knows, where only its version matters."""

    number: int
    id: str = "session"


def policy(refresh: Any, queue: bool, **options: Any) -> Any:
    key = (lambda session: session.id) if queue else None
    return retry_on_stale_session(refresh, key=key, observers=(), **options)


def seconds() -> float:
    return asyncio.get_running_loop().time()


def in_one_process(queue: bool, writers: int, each: int) -> Figures:
    store = VersionedStore()
    store.faults.delay = 0.01
    append = policy(store.refresh, queue)(store.append)

    async def write(writer: int) -> None:
        for number in range(each):
            await append(store.open(), (writer, number))

    async def main() -> float:
        await asyncio.gather(*(write(writer) for writer in range(writers)))
        return seconds()

    random.seed(1)
    took = run(main)
    assert len(set(store.events())) == len(store.events()) == writers * each
    return {"calls per event": store.appends / len(store.events()), "seconds": took}


def in_processes(queue: bool, processes: int, writers: int, each: int) -> Figures:
    """Processes share nothing but the store; a call takes 3 ms, its answer and a refresh 1.5 and 3."""
    calls = stored = 0
    took: list[float] = []

    async def main() -> None:
        nonlocal calls, stored
        version = 0

        async def append(session: Version, event: None) -> None:
            nonlocal calls, version
            calls += 1
            await asyncio.sleep(0.003)
            if session.number != version:
                raise StaleSessionError
            version += 1
            session.number = version
            await asyncio.sleep(0.0015)

        async def refresh(session: Version) -> Version:
            await asyncio.sleep(0.0015)
            read = version
            await asyncio.sleep(0.0015)
            return Version(read)

        async def write(append: Any) -> None:
            for _ in range(each):
                await append(Version(version), None)

        decorated = [policy(refresh, queue, deadline=300)(append) for _ in range(processes)]
        await asyncio.gather(*(write(append) for append in decorated for _ in range(writers)))
        stored += version
        took.append(seconds())

    for seed in SEEDS:
        random.seed(seed)
        run(main)
    return {"calls per event": calls / stored, "seconds": statistics.mean(took)}


def behind(queue: bool, others: int, trouble: str, *, deadline: float | None = None) -> Figures:
    """One good append a second, for two minutes, with others of the same session that are always rejected or hang."""
    store = VersionedStore()
    store.faults.delay = 0.01
    took: list[float] = []

    async def raw(session: Any, event: Any) -> Any:
        if event == trouble == "hangs":
            await asyncio.Event().wait()
        if event == trouble:
            await asyncio.sleep(0.01)
            raise StaleSessionError
        return await store.append(session, event)

    async def main() -> int:
        append = policy(store.refresh, queue)(raw)

        async def good(number: int) -> bool:
            await asyncio.sleep(number)
            began = seconds()
            try:
                with limits(deadline=deadline):
                    await append(store.open(), number)
            except StaleSessionRetryError:
                return False
            finally:
                took.append(seconds() - began)
            return True

        bad = [asyncio.ensure_future(append(store.open(), trouble)) for _ in range(others)]
        await asyncio.sleep(0.001)
        stored = await asyncio.gather(*(good(number) for number in range(120)))
        for task in bad:
            task.cancel()
        await asyncio.gather(*bad, return_exceptions=True)
        return sum(stored)

    random.seed(1)
    lost = 120 - run(main)
    return {"median wait": statistics.median(took), "longest wait": max(took), "not stored": lost}


def foreign_writer(queue: bool, every: float, deadline: float) -> Figures:
    """40 appends at once to a session that another process keeps writing to, for each seed."""
    stored = 0
    took: list[float] = []

    async def main() -> None:
        nonlocal stored
        version = 0

        async def foreign() -> None:
            nonlocal version
            while True:
                await asyncio.sleep(rng.expovariate(1 / every))
                version += 1

        async def raw(session: Version, event: int) -> None:
            nonlocal version
            await asyncio.sleep(0.005)
            if session.number != version:
                raise StaleSessionError
            version += 1
            await asyncio.sleep(0.002)

        async def refresh(session: Version) -> Version:
            await asyncio.sleep(0.005)
            read = version
            await asyncio.sleep(0.005)
            return Version(read)

        append = policy(refresh, queue, deadline=deadline)(raw)

        async def one(event: int) -> None:
            nonlocal stored
            began = seconds()
            try:
                await append(Version(version), event)
            except StaleSessionRetryError as error:
                assert error.attempts, "a call gave up without an attempt"  # noqa: PT017
            else:
                took.append(seconds() - began)
                stored += 1

        writing = asyncio.ensure_future(foreign())
        await asyncio.gather(*(one(event) for event in range(40)))
        writing.cancel()

    for seed in SEEDS:
        random.seed(seed)
        rng = random.Random(seed)
        run(main)
    return {"not stored": 40 * len(SEEDS) - stored, "median wait": statistics.median(took)}


def nested_in_opposite_order(queue: bool) -> Figures:
    store = VersionedStore()
    store.faults.delay = 0.01
    retried = policy(store.refresh, queue)
    inner = retried(store.append)

    @retried
    async def outer(session: Any, event: int, other: str) -> Any:
        await asyncio.sleep(0.01)
        await inner(store.open(other), f"copy of {event}")
        return await store.append(session, event)

    async def main() -> float:
        await asyncio.gather(outer(store.open("a"), 1, "b"), outer(store.open("b"), 2, "a"))
        return seconds()

    random.seed(1)
    return {"seconds": run(main)}


CALLS = {"calls per event": 1.7}
SOON = {"median wait": 0.1, "not stored": 0.0}

TABLE = [
    Row("20 callers x 5 events in one process", partial(in_one_process, writers=20, each=5), {"calls per event": 1.0}),
    Row("4 processes x 5 callers x 5 events", partial(in_processes, processes=4, writers=5, each=5), CALLS),
    Row("8 processes x 10 callers x 2 events", partial(in_processes, processes=8, writers=10, each=2), CALLS),
    Row("behind 1 that is always rejected", partial(behind, others=1, trouble="rejected"), SOON),
    Row("behind 100 that are always rejected", partial(behind, others=100, trouble="rejected"), SOON),
    Row("behind 1 that hangs", partial(behind, others=1, trouble="hangs"), {"longest wait": 6.0, "not stored": 0.0}),
    Row("behind 10 that hang", partial(behind, others=10, trouble="hangs"), {"longest wait": 10.0, "not stored": 0.0}),
    Row(
        "behind 10 that hang, with a deadline of 4 s",
        partial(behind, others=10, trouble="hangs", deadline=4.0),
        {"not stored": 0.0},
    ),
    # As many as without a queue, give or take what jitter makes of 320.
    Row(
        "a foreign writer every 8 ms, deadline 10 s",
        partial(foreign_writer, every=0.008, deadline=10.0),
        {"not stored": 10.0},
    ),
    Row("a foreign writer every 15 ms", partial(foreign_writer, every=0.015, deadline=90.0), {"median wait": 1.2}),
    Row("appends nested in opposite order", nested_in_opposite_order, {"seconds": 1.0}),
]
