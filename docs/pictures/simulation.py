"""The demo's appends without a database: a store behind a simulated network, in virtual time."""

from __future__ import annotations

import asyncio
import random
import selectors
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import anyio

from stale_retry import additive_jitter, constant, retry_on_stale_session
from stale_retry.lab.contention import CLASSIC, IMMEDIATE, NONE, OURS, Append, Run, Strategy, Timeline, contend
from stale_retry.testing import VersionedSession, VersionedStore

# client-go's retry.DefaultRetry: 5 steps of 10 ms, factor 1, jitter 0.1, which it adds.
CLIENT_GO = Strategy(
    "client-go",
    "client-go's default",
    {"backoff": constant(0.01), "jitter": additive_jitter(0.001), "max_attempts": 5, "deadline": 90},
)
ADDITIVE = Strategy("additive", "ours, jitter added", {"jitter": additive_jitter(1.0)})
QUEUE = Strategy("queue", "ours, in a queue", {"key": lambda session: session.id})

STRATEGIES = (NONE, IMMEDIATE, CLIENT_GO, CLASSIC, ADDITIVE, OURS, QUEUE)

SESSION = "session"
SPREAD = 0.4


@dataclass(frozen=True)
class Simulated:
    """The runs of one strategy at one number of writers, one run a seed."""

    strategy: Strategy
    writers: int
    runs: Sequence[Run]

    @property
    def lost(self) -> float:
        """The share of appends that were lost, from 0 to 1."""
        return sum(run.lost for run in self.runs) / sum(len(run.sent) for run in self.runs)

    @property
    def seconds(self) -> float:
        """Until the last writer was done, on average."""
        return sum(run.seconds for run in self.runs) / len(self.runs)

    @property
    def slowest(self) -> float:
        """Seconds that the slowest append took, on average of the runs."""
        return sum(run.slowest_append for run in self.runs) / len(self.runs)

    @property
    def calls(self) -> float:
        """Calls of the append for each event sent."""
        return sum(run.append_calls for run in self.runs) / sum(len(run.sent) for run in self.runs)


def simulate(writers: Sequence[int], *, events: int, latency: float, seeds: int) -> list[Simulated]:
    """Run every strategy at each number of writers, once for each of `seeds` seeds.

    `latency` is the mean of a round trip to the store in seconds, half of it each way, 40 % more or less at random.
    The same arguments give the same result.
    """
    results: list[Simulated] = []
    for strategy in STRATEGIES:
        for count in writers:
            runs = [_run(strategy, count, events, latency, seed) for seed in range(seeds)]
            results.append(Simulated(strategy, count, runs))
    return results


def _run(strategy: Strategy, writers: int, events: int, latency: float, seed: int) -> Run:
    before = random.getstate()
    random.seed(seed)
    loop = VirtualTimeLoop()
    try:
        return loop.run_until_complete(contend(DistantStore(latency), strategy, writers=writers, events=events))
    finally:
        loop.close()
        random.setstate(before)


class DistantStore:
    """A `VersionedStore` behind a network."""

    def __init__(self, latency: float) -> None:
        self.timeline: Timeline = Timeline()
        self._latency = latency
        self._store = VersionedStore()

    async def load(self) -> VersionedSession:
        return self._store.open(SESSION)

    async def stored(self) -> list[str]:
        return self._store.events(SESSION)

    def append_with(self, strategy: Strategy) -> Append:
        if strategy.options is None:
            return self._append
        retrying = retry_on_stale_session(self._refresh, observers=self.timeline.observe)
        return retrying.replace(**strategy.options)(self._append)

    async def _append(self, session: VersionedSession, token: str) -> VersionedSession:
        with self.timeline.attempt():
            await self._travel()
            try:
                await self._store.append(session, token)
            finally:
                await self._travel()
        return session

    async def _refresh(self, session: VersionedSession) -> VersionedSession | None:
        with self.timeline.reload():
            await self._travel()
            fresh = await self._store.refresh(session)
            await self._travel()
        return fresh

    async def _travel(self) -> None:
        await anyio.sleep(self._latency / 2 * random.uniform(1 - SPREAD, 1 + SPREAD))


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """An event loop whose clock jumps to the next timer instead of waiting for it."""

    def __init__(self) -> None:
        self._now = 0.0
        super().__init__(_JumpingSelector(self._jump))

    def time(self) -> float:
        return self._now

    def _jump(self, seconds: float) -> None:
        self._now += seconds


class _JumpingSelector(selectors.SelectSelector):
    def __init__(self, jump: Callable[[float], None]) -> None:
        super().__init__()
        self._jump = jump

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            raise RuntimeError("every task waits for something that no timer will bring")
        self._jump(max(timeout, 0.0))
        return super().select(0)
