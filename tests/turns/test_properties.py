"""Any interleaving of arrivals, cancellations and endings: one at a time, in order, and nobody forgotten."""

import asyncio
import contextlib
import copy
from dataclasses import dataclass

import anyio
import pytest
from core.virtual import VirtualLoop, examples
from hypothesis import given
from hypothesis import strategies as st

from stale_retry.turns import SessionBusyError, TurnInterruptedError, TurnQueue

from .crowd import Crowd
from .stores import Leases


@dataclass(frozen=True)
class Visit:
    """One turn: when it comes, how long it runs, when it is cancelled, and how it ends by itself."""

    arrives: int
    runs: int
    cancelled: int | None
    ending: str
    nested: bool


VISITS = st.lists(
    st.builds(
        Visit,
        arrives=st.integers(0, 12),
        runs=st.integers(0, 4),
        cancelled=st.none() | st.integers(0, 16),
        ending=st.sampled_from(["returns", "raises", "generator"]),
        nested=st.booleans(),
    ),
    min_size=1,
    max_size=8,
)


class Played:
    def __init__(self, turns, visits):
        self.loop = VirtualLoop()
        self.turns = turns
        self.crowd = Crowd(turns)
        self.arrived = []
        self.outcomes = {}
        self.cancelled = set()
        self.loop.run_virtually(self.play(visits))
        self.loop.finish()

    async def play(self, visits):
        async with anyio.create_task_group() as tasks:
            for number, visit in enumerate(visits):
                tasks.start_soon(self.visit, number, visit)

    async def visit(self, number, visit):
        await asyncio.sleep(visit.arrives)
        self.arrived.append(number)
        task = asyncio.create_task(self.turn(number, visit))
        if visit.cancelled is not None:
            await asyncio.wait({task}, timeout=visit.cancelled)
            if task.cancel():
                self.cancelled.add(number)
        (self.outcomes[number],) = await asyncio.gather(task, return_exceptions=True)

    async def turn(self, number, visit):
        if visit.ending == "generator":
            return [item async for item in self.items(number, visit)]
        return await self.block(number, visit)

    async def block(self, number, visit):
        async with self.turns("session"):
            with self.crowd.runs(number):
                await asyncio.sleep(visit.runs)
                if visit.nested:
                    async with self.turns("session"):
                        await asyncio.sleep(0)
                if visit.ending == "raises":
                    raise ZeroDivisionError
        self.crowd.log.append((number, "ended"))
        return

    async def items(self, number, visit):
        async with self.turns("session"):
            with self.crowd.runs(number):
                for _ in range(visit.runs):
                    await asyncio.sleep(1)
                    yield number
        self.crowd.log.append((number, "ended"))


def check_everybody(played, visits, refusals):
    assert len(played.turns) == 0
    assert len(played.outcomes) == len(visits)
    for number, visit in enumerate(visits):
        outcome = played.outcomes[number]
        if isinstance(outcome, asyncio.CancelledError):
            assert number in played.cancelled
        elif isinstance(outcome, refusals):
            pass
        elif visit.ending == "raises":
            assert isinstance(outcome, ZeroDivisionError)
        else:
            assert not isinstance(outcome, BaseException)
            assert number in played.crowd.ended


@examples(300)
@given(VISITS)
def test_every_turn_that_was_not_cancelled_runs_in_the_order_of_arrival(visits):
    played = Played(TurnQueue(longest=None, deadline=None, observers=()), visits)
    check_everybody(played, visits, refusals=())
    began = played.crowd.began
    assert began == [number for number in played.arrived if number in began]


@examples(300)
@given(VISITS, st.sampled_from(["enqueue", "reject", "interrupt"]), st.integers(1, 3), st.integers(1, 5))
def test_a_turn_that_does_not_run_was_cancelled_or_told_why(visits, when_busy, longest, deadline):
    events = []
    turns = TurnQueue(when_busy, longest=longest, deadline=deadline, observers=events.append)
    played = Played(turns, visits)
    refusals = (SessionBusyError,) if when_busy != "interrupt" else (SessionBusyError, TurnInterruptedError)
    check_everybody(played, visits, refusals)
    kinds = [event.kind for event in events]
    assert kinds.count("started") == kinds.count("ended")
    refused = [outcome for outcome in played.outcomes.values() if isinstance(outcome, SessionBusyError)]
    assert kinds.count("refused") == len(refused)
    assert all(error.waiting <= longest for error in refused)
    assert all(error.waited <= deadline + 1e-6 for error in refused)


@examples(100)
@given(VISITS)
def test_one_key_never_waits_for_another(visits):
    async def main(turns):
        began = asyncio.get_running_loop().time()
        crowd = Crowd(turns)

        async def turn(number, visit):
            async with crowd.turns(number):
                await asyncio.sleep(visit.runs)

        await asyncio.gather(*(turn(number, visit) for number, visit in enumerate(visits)))
        return asyncio.get_running_loop().time() - began

    loop = VirtualLoop()
    took = loop.run_virtually(main(TurnQueue(observers=())))
    loop.finish()
    assert took == pytest.approx(max(visit.runs for visit in visits))


class Processes(Played):
    """The same turns in queues that share nothing but a store of leases; some turns are stopped, and the store may be
    down for a while.
    """

    def __init__(self, when_busy, visits, stops, outage):
        self.leases = Leases(timeout=6, poll=0.3)
        self.stops = stops
        self.outage = outage
        stores = [self.leases, copy.copy(self.leases)]
        self.leases.is_down = stores[1].is_down = False
        self.stores = stores
        self.queues = [TurnQueue(when_busy, shared=store, deadline=30, observers=()) for store in stores]
        super().__init__(self.queues[0], visits)

    async def turn(self, number, visit):
        self.turns = self.queues[number % 2]
        turns = self.turns
        async with turns("session"):
            with self.crowd.runs(number):
                await asyncio.sleep(visit.runs)
                if visit.nested:
                    async with turns("session"):
                        await asyncio.sleep(0)
                if visit.ending == "raises":
                    raise ZeroDivisionError
        self.crowd.log.append((number, "ended"))

    async def play(self, visits):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self.disturb)
            for number, visit in enumerate(visits):
                tasks.start_soon(self.visit, number, visit)
        await asyncio.sleep(5)

    async def disturb(self):
        async with anyio.create_task_group() as tasks:
            for at, which in self.stops:
                tasks.start_soon(self.stop, at, which)
            if self.outage is not None:
                await asyncio.sleep(self.outage)
                for store in self.stores:
                    store.is_down = True
                await asyncio.sleep(2)
                for store in self.stores:
                    store.is_down = False

    async def stop(self, at, which):
        await asyncio.sleep(at)
        with contextlib.suppress(ConnectionError):
            await self.queues[which].stop("session", waiting=True)


@examples(300)
@given(
    VISITS,
    st.sampled_from(["enqueue", "reject", "interrupt"]),
    st.lists(st.tuples(st.integers(0, 12), st.integers(0, 1)), max_size=2),
    st.none() | st.integers(0, 8),
)
def test_turns_of_two_processes_never_run_at_once_and_each_learns_its_fate(visits, when_busy, stops, outage):
    played = Processes(when_busy, visits, stops, outage)
    assert [len(queue) for queue in played.queues] == [0, 0]
    assert not played.loop.complaints
    for number, visit in enumerate(visits):
        outcome = played.outcomes[number]
        if isinstance(outcome, asyncio.CancelledError):
            assert number in played.cancelled
        elif isinstance(outcome, ConnectionError):
            assert outage is not None
        elif isinstance(outcome, TurnInterruptedError):
            assert when_busy == "interrupt" or stops
        elif not isinstance(outcome, SessionBusyError):
            assert number in played.crowd.ended or visit.ending == "raises"
    if outage is None:
        assert played.leases.held == {}
