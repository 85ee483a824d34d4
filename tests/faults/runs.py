"""One run: writers in several processes append to one session, a fault strikes, and the reader compares."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import tempfile
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from .audit import Report, compare
from .crew import Crew, Worker, until
from .journal import Entry, read
from .stores import APP, Store, close
from .writers import Job

_numbers = itertools.count(1)


@dataclass
class Scene:
    """What a fault sees of a run.

    Attributes:
        store: what the auditor reads.
        workers: one for each process.
        session: the id of the session that all of them write to.
        writers: how many there are in all.
        expected: how many messages they have to send in all.
    """

    store: Store
    session: str
    workers: list[Worker]
    jobs: list[Job]
    writers: int
    expected: int

    def entries(self) -> list[Entry]:
        return [entry for job in self.jobs for entry in read(Path(job.journal))]

    def count(self, *kinds: str) -> int:
        return sum(entry.kind in kinds for entry in self.entries())

    @property
    def answered(self) -> int:
        """How many appends have come to an end, well or not."""
        return self.count("acknowledged", "failed")

    async def until_answered(self, count: int) -> None:
        await until(lambda: self.answered >= min(count, self.expected), f"{count} appends have come to an end")

    async def until_refused(self, count: int) -> None:
        """Until the store has answered that many attempts with an error."""
        await until(lambda: self.count("refused") >= count, f"{count} attempts are refused")


Fault = Callable[[Scene], Awaitable[None]]


async def new_session(store: Store) -> str:
    session = f"session-{next(_numbers)}"
    service = store.open()
    await service.create_session(**APP, session_id=session)
    await close(service)
    return session


async def run(
    crew: Crew,
    store: Store,
    strategy: str,
    *,
    processes: int = 2,
    writers: int = 3,
    events: int = 4,
    through: Store | None = None,
    fault: Fault | None = None,
    before: Callable[[Scene], contextlib.AbstractAsyncContextManager[Any]] | None = None,
    **job: Any,
) -> Report:
    """Append `processes` times `writers` times `events` messages and say what became of them.

    Args:
        store: what is read in the end, and written to unless `through` is given.
        fault: runs beside the writers; what it kills is started again and goes on.
        before: a context that is entered when the sessions are loaded, before the first append.
    """
    with tempfile.TemporaryDirectory(prefix="stale-retry-run-") as directory:
        session = await new_session(store)
        names = [[f"p{p}w{w}" for w in range(writers)] for p in range(processes)]
        jobs = [
            Job(through or store, session, strategy, names[p], events, str(Path(directory) / f"{p}.jsonl"), **job)
            for p in range(processes)
        ]
        workers = await crew.take(processes)
        scene = Scene(store, session, workers, jobs, processes * writers, processes * writers * events)
        striking: asyncio.Future[Any] | None = None
        finished = False
        try:
            for worker, its_job in zip(workers, jobs, strict=True):
                worker.give(its_job)
            for worker in workers:
                await worker.heard("ready")
            async with before(scene) if before else contextlib.nullcontext():
                began = time.monotonic()
                for worker in workers:
                    worker.tell("start")
                if fault is not None:
                    striking = asyncio.ensure_future(fault(scene))
                await asyncio.gather(*(_finish(crew, scene, place) for place in range(processes)))
            seconds = time.monotonic() - began
            if striking is not None:
                await striking
            finished = True
        finally:
            if striking is not None:
                striking.cancel()
                await asyncio.gather(striking, return_exceptions=True)
            for worker in scene.workers:
                crew.take_back(worker, idle=finished)
        stored, state = await store.read(session)
        return compare(scene.entries(), stored, state, seconds)


async def _finish(crew: Crew, scene: Scene, place: int) -> None:
    """Wait for a process; one that was killed is replaced by one that goes on where it stopped."""
    while await scene.workers[place].heard("done", "dead") == "dead":
        said = "dead"
        while said == "dead":  # the fault may strike again before it is ready
            crew.take_back(scene.workers[place], idle=False)
            (scene.workers[place],) = await crew.take(1)
            scene.workers[place].give(replace(scene.jobs[place], resume=True))
            said = await scene.workers[place].heard("ready", "dead")
        scene.workers[place].tell("start")
