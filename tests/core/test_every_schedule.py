"""Every schedule within a bound, not a sample: an append returned and its event is stored once, or it raised and its
event is not stored, or nobody can know and it is stored once at most.

Two or three writers append one event each on one session of a `VersionedStore`: `a` through a decorated append, `b` in
a block, `c` by `call`. The scheduler starts from first come, first served, and deviates: another task goes on first,
time passes although somebody is ready, a request or an answer is slow, or (once) a writer is cancelled. All schedules
with at most so many deviations are run, a cancellation counting as one of them:

    writers  nobody is cancelled  a task is cancelled  a cancel scope is cancelled
    2        2 deviations         2                    2
    3        2 deviations         1                    1

and with STALE_RETRY_LONG=1 those with one deviation more, each for nine kinds of trouble behind three gates. That is
67,194 schedules: 52 to 3,020 for each set of writers, cancellation, trouble and gate, and never fewer than FEWEST says.
"""

import asyncio
import math
import sys
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import anyio
import pytest

from stale_retry import (
    DeadlineExceededError,
    SessionRefreshError,
    StaleSessionError,
    constant,
    local_gate,
    retry_on_stale_session,
)
from stale_retry.testing import Faults, VersionedStore

from .scheduler import ScheduleError, explore
from .virtual import LONG

BOUNDS = {
    (2, "none"): 2,
    (2, "of the task"): 2,
    (2, "of the scope"): 2,
    (3, "none"): 2,
    (3, "of the task"): 1,
    (3, "of the scope"): 1,
}
"""How many deviations, by the number of writers and the cancellation."""

FEWEST = {
    "none": (80, 290, 310, 510, 80, 70),
    "stale": (100, 360, 370, 510, 80, 70),
    "lost acknowledgement": (40, 180, 190, 380, 70, 60),
    "lost acknowledgement, settled": (120, 480, 550, 670, 90, 90),
    "refresh error": (40, 190, 210, 400, 70, 60),
    "timeout": (120, 270, 280, 620, 60, 60),
    "timeout, settled": (260, 680, 670, 970, 80, 70),
    "late commit, settled": (660, 1520, 1540, 2390, 120, 110),
    "deadline": (90, 300, 320, 770, 80, 80),
}
"""How many schedules at least, in the order of BOUNDS: nine tenths of what the smallest set has."""

SLOW = 10.0
"""Seconds that a request or an answer takes where a schedule says that it is slow."""

LIMITS = {"backoff": constant(1), "jitter": None, "max_attempts": 8, "deadline": None, "observers": ()}
IMPATIENT = {"attempt_timeout": SLOW / 2}
HASTY = {"deadline": SLOW / 2, "max_attempts": None}


@dataclass
class Trouble:
    """What goes wrong, whatever the schedule.

    Attributes:
        faults: those of the store.
        options: those of the policy.
        settled: whether a conflict hook looks for the event, so that what is in doubt is retried.
        slow: whether the first append takes too long, before it is stored or after.
        late: whether the store does what it was asked although nobody waits for the answer any more.
        raises: what a writer may be told who is not cancelled.
    """

    faults: dict[str, int] = field(default_factory=dict)
    options: dict[str, object] = field(default_factory=dict)
    settled: bool = False
    slow: bool = False
    late: bool = False
    raises: tuple[type[Exception], ...] = ()


TROUBLES = {
    "none": Trouble(),
    "stale": Trouble(faults={"stale": 1}),
    "lost acknowledgement": Trouble(faults={"lost_acknowledgements": 1}, raises=(ConnectionError,)),
    "lost acknowledgement, settled": Trouble(faults={"lost_acknowledgements": 1}, settled=True),
    "refresh error": Trouble(faults={"refresh": 1}, raises=(SessionRefreshError,)),
    "timeout": Trouble(options=IMPATIENT, slow=True, raises=(TimeoutError,)),
    "timeout, settled": Trouble(options=IMPATIENT, slow=True, settled=True),
    "late commit, settled": Trouble(options=IMPATIENT, slow=True, late=True, settled=True),
    "deadline": Trouble(options=HASTY, raises=(DeadlineExceededError,)),
}


class ForeignGate:
    """A lock of asyncio's, in a context manager that only an `async with` can leave."""

    def __init__(self):
        self.lock = asyncio.Lock()

    @asynccontextmanager
    async def __call__(self, session):
        async with self.lock:
            yield

    def __len__(self):
        return self.lock.locked()


GATES = {"none": lambda: None, "local": lambda: local_gate(lambda session: session.id), "foreign": ForeignGate}


class World:
    """Writers on one session of one store, under one schedule."""

    def __init__(self, run, trouble, natively):
        self.run = run
        self.natively = natively
        self.store = VersionedStore(Faults(**trouble.faults))
        self.slow, self.late = trouble.slow, trouble.late
        self.deadline = trouble.options.get("deadline", math.inf)
        self.answers = {}
        self.requests = 0

    def start(self, event, write):
        self.answers[event] = "cancelled"
        task = self.run.start(self.writer(event, write), event)
        if self.natively:
            self.run.may_cancel(event, task.cancel)

    async def writer(self, event, write):
        try:
            with anyio.CancelScope() as scope:
                if not self.natively:
                    self.run.may_cancel(event, scope.cancel)
                session = self.store.open()
                session.writer, session.opened = event, self.run.loop.now
                self.answers[event] = await write(self, session, event)
        except Exception as error:
            self.answers[event] = error

    async def ask(self, session, event):
        """Have the event stored, by somebody who also does it if nobody waits any more."""
        answer = self.run.loop.create_future()

        async def answer_it():
            try:
                stored = await self.commit(session, event)
            except Exception as error:
                if not answer.done():
                    answer.set_exception(error)
            else:
                if not answer.done():
                    answer.set_result(stored)

        self.requests += 1
        self.run.start(answer_it(), f"request {self.requests}, of {event}")
        return await answer

    async def commit(self, session, event):
        slow, self.slow = self.slow, False
        request_is_slow = slow and self.run.choose(2) == 0
        await self.travel(slow=request_is_slow)
        await self.store.append(session, event)
        await self.travel(slow=slow and not request_is_slow)
        return event

    async def travel(self, *, slow=False):
        await asyncio.sleep(SLOW if slow or self.run.choose(2) else 0)


async def append(world, session, event):
    assert not (world.natively and world.run.cancelled == event), "an attempt after the cancellation"
    assert world.run.loop.now <= session.opened + world.deadline, "an attempt after the deadline"
    return await (world.ask if world.late else world.commit)(session, event)


async def refresh(world, session):
    fresh = await world.store.refresh(session)
    await world.travel()
    fresh.writer, fresh.opened = session.writer, session.opened
    return fresh


def settle_if_stored(conflict):
    event = conflict.fresh.writer
    return conflict.settle(event) if event in conflict.fresh.events else None


def writers(number, gate, trouble, cancellation):
    """The scenario: so many writers, who append in different ways."""
    policy = retry_on_stale_session(refresh, gate=gate, **{**LIMITS, **trouble.options})
    if trouble.settled:
        policy = policy.replace(on=(StaleSessionError, ConnectionError, TimeoutError), on_conflict=settle_if_stored)

    async def block(world, session, event):
        async for attempt in policy.attempts(world, session):
            async with attempt:
                await append(world, attempt.session, event)
        return event

    async def called(world, session, event):
        return await policy.call(append, world, session, event=event)

    ways = {"a": policy(append), "b": block, "c": called}

    def scenario(run):
        world = World(run, trouble, natively=cancellation == "of the task")
        for event in "abc"[:number]:
            world.start(event, ways[event])
        run.finish()
        check(world, trouble)
        assert gate is None or len(gate) == 0

    return scenario


def check(world, trouble):
    for event, answer in world.answers.items():
        stored = world.store.events().count(event)
        if answer == event:
            assert stored == 1
        elif isinstance(answer, StaleSessionError):
            assert stored == 0
        else:
            assert stored <= 1
        if world.run.cancelled == event:
            # Before Python 3.11 a task does not count its cancellations: one that meets a time limit's own is lost.
            assert answer == "cancelled" or not world.natively or sys.version_info < (3, 11)
        else:
            assert answer == event or isinstance(answer, trouble.raises), repr(answer)


@pytest.mark.parametrize("gate", GATES)
@pytest.mark.parametrize("trouble", TROUBLES)
@pytest.mark.parametrize(("number", "cancellation"), BOUNDS)
def test_an_event_is_stored_once_or_its_writer_is_told_and_nobody_waits_for_ever(number, cancellation, trouble, gate):
    scenario = writers(number, GATES[gate](), TROUBLES[trouble], cancellation)
    explored = explore(scenario, BOUNDS[number, cancellation] + LONG, cancels=cancellation != "none")
    fewest = dict(zip(BOUNDS, FEWEST[trouble], strict=True))[number, cancellation]
    assert explored.schedules >= fewest, "schedules are missing: the enumeration no longer sees what it saw"


class LeakyGate(ForeignGate):
    """Who is cancelled while he holds it keeps it."""

    @asynccontextmanager
    async def __call__(self, session):
        await self.lock.acquire()
        yield
        self.lock.release()


def test_a_gate_that_is_kept_by_who_is_cancelled_is_found():
    explore(writers(2, LeakyGate(), TROUBLES["none"], "none"), 2)
    with pytest.raises(ScheduleError, match="is cancelled"):
        explore(writers(2, LeakyGate(), TROUBLES["none"], "of the task"), 2, cancels=True)
