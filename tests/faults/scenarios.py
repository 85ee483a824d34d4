"""Every fault by name: what is done to whom, and what it does to writers that are not prepared for it."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from . import proxy, strikes
from .audit import Report
from .crew import Crew
from .proxy import Proxy
from .runs import new_session, run
from .servers import Postgres
from .stores import Store

POOL = {"pool_size": 5, "max_overflow": 5}


@dataclass
class Bench:
    """Where scenarios are run.

    Attributes:
        size: how many processes, writers in each, and events of each writer.
        strength: how often a fault strikes in one run.
    """

    crew: Crew
    postgres: Postgres
    directory: Path
    size: dict[str, int] = field(default_factory=lambda: {"processes": 2, "writers": 2, "events": 5})
    strength: int = 3
    seed: int = 1

    def on_postgres(self, **engine: Any) -> Store:
        return Store("postgres", self.postgres.url, {**POOL, **engine})

    def on_sqlite(self, kind: str, **engine: Any) -> Store:
        return Store(kind, str(self.directory / f"{kind}.db"), engine)

    async def run(self, strategy: str, store: Store, **options: Any) -> Report:
        return await run(self.crew, store, strategy, **{**self.size, **options})

    @asynccontextmanager
    async def behind_proxy(
        self, at: Literal["commit", "answer"], fault: proxy.Fault, *, every: int, times: int
    ) -> AsyncIterator[tuple[Store, Proxy]]:
        store = self.on_postgres()
        await new_session(store)
        async with proxy.connection(self.postgres.url) as admin:
            await admin.execute(strikes.WAIT_AT_COMMIT)
        with tempfile.TemporaryDirectory(prefix="stale-retry-proxy-") as directory:
            Path(directory).chmod(0o755)
            async with Proxy(Path(directory), self.postgres.url, at, fault, every=every, times=times) as between:
                yield Store("postgres", between.url, store.engine), between
                assert between.strikes, "the fault never struck"


@dataclass(frozen=True)
class Scenario:
    """A fault.

    Attributes:
        title: for the table.
        play: one run of it with a strategy.
        bites: the strategy that it defeats, and how: "lost" or "twice".
        keeps_state: whether the store sees every conflict, so that the state is right too.
    """

    title: str
    play: Callable[[Bench, str], Awaitable[Report]]
    bites: tuple[str, Literal["lost", "twice"]]
    keeps_state: bool = True


@asynccontextmanager
async def armed(between: Proxy) -> AsyncIterator[None]:
    between.armed = True
    yield


def at_commits(at: Literal["commit", "answer"], fault: proxy.Fault, *, times: int | None = None) -> Any:
    async def play(bench: Bench, strategy: str) -> Report:
        async with bench.behind_proxy(at, fault, every=4, times=times or bench.strength) as (through, between):
            return await bench.run(strategy, bench.on_postgres(), through=through, before=lambda _: armed(between))

    return play


async def connections_terminated(bench: Bench, strategy: str) -> Report:
    fault = strikes.terminate_all_backends(bench.postgres, bench.strength)
    return await bench.run(strategy, bench.on_postgres(), fault=fault)


async def server_restarted(bench: Bench, strategy: str) -> Report:
    fault = strikes.restart_server(bench.postgres, max(1, bench.strength // 3))
    return await bench.run(strategy, bench.on_postgres(), fault=fault)


async def pool_dry(bench: Bench, strategy: str) -> Report:
    store = bench.on_postgres(pool_size=1, max_overflow=0, pool_timeout=0.05)
    return await bench.run(strategy, store, dry=bench.strength)


async def statement_timeout(bench: Bench, strategy: str) -> Report:
    store = Store("postgres", bench.postgres.url, POOL, {"statement_timeout": "50"})
    return await bench.run(strategy, store, before=strikes.row_lock(bench.postgres, bench.strength))


async def sqlite_locked(bench: Bench, strategy: str) -> Report:
    store = bench.on_sqlite("sqlite-immediate", timeout=0.05)
    patient = bench.on_sqlite("sqlite-immediate")
    return await bench.run(strategy, patient, through=store, before=strikes.file_lock(bench.strength))


async def writers_killed(bench: Bench, strategy: str) -> Report:
    fault = strikes.kill_writers(max(1, bench.strength // 3), bench.seed)
    return await bench.run(strategy, bench.on_postgres(), fault=fault)


def without_fault(kind: str) -> Any:
    async def play(bench: Bench, strategy: str) -> Report:
        store = bench.on_postgres() if kind == "postgres" else bench.on_sqlite(kind)
        return await bench.run(strategy, store)

    return play


SCENARIOS = {
    "conflicts_on_postgres": Scenario("conflicts alone, PostgreSQL", without_fault("postgres"), ("bare", "lost")),
    "conflicts_on_sqlite": Scenario(
        "conflicts alone, SQLite file, `DatabaseSessionService` with the engine above",
        without_fault("sqlite-immediate"),
        ("bare", "lost"),
    ),
    "conflicts_on_sqlite_service": Scenario(
        "conflicts alone, SQLite file, `SqliteSessionService`",
        without_fault("sqlite-service"),
        ("bare", "lost"),
        keeps_state=False,
    ),
    "terminated_before_commit": Scenario(
        "connection terminated before the commit", at_commits("commit", strikes.terminate_before), ("retrying", "lost")
    ),
    "terminated_during_commit": Scenario(
        "connection terminated during the commit", at_commits("commit", strikes.terminate_during), ("retrying", "lost")
    ),
    "terminated_after_commit": Scenario(
        "connection terminated after the commit, before its answer",
        at_commits("answer", strikes.terminate_after),
        ("resend", "twice"),
    ),
    "cut_during_commit": Scenario(
        "connection lost during the commit, which goes on",
        at_commits("commit", strikes.cut_during),
        ("resend", "twice"),
    ),
    "connections_terminated": Scenario(
        "all connections terminated, again and again", connections_terminated, ("retrying", "lost")
    ),
    "server_restarted": Scenario("server stopped and started", server_restarted, ("retrying", "lost")),
    "pool_dry": Scenario("connection pool dry", pool_dry, ("retrying", "lost")),
    "statement_timeout": Scenario("statement timeout", statement_timeout, ("retrying", "lost")),
    "sqlite_locked": Scenario("SQLite file locked", sqlite_locked, ("retrying", "lost")),
    "killed_after_commit": Scenario(
        "writer killed after the commit, before its answer",
        at_commits("answer", strikes.kill_client_after, times=1),
        ("resend", "twice"),
    ),
    "writers_killed": Scenario("writers killed at random", writers_killed, ("forget", "lost")),
}
