"""Cancelled while it waits or runs, at whatever await, a turn is in nobody's way."""

import asyncio
import sys

import anyio
import pytest
from core.virtual import VirtualLoop

from stale_retry.turns import SessionBusyError, TurnInterruptedError, TurnQueue

from .crowd import Crowd, in_order


def queue(*args, **options):
    return TurnQueue(*args, observers=(), **options)


def test_a_turn_that_is_cancelled_while_it_waits_leaves_the_queue(virtually):
    async def main():
        crowd = Crowd(queue())
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(crowd.turn, "first")
            await anyio.sleep(0.1)
            with anyio.move_on_after(0.2):
                await crowd.turn("cancelled")
            assert crowd.turns.waiting("session") == 0
            tasks.start_soon(crowd.turn, "next")
        assert crowd.ended == ["first", "next"]
        assert len(crowd.turns) == 0

    virtually(main)


def test_a_turn_that_is_cancelled_while_it_runs_lets_the_next_one_begin(virtually):
    async def main():
        crowd = Crowd(queue())

        async def short_of_time():
            with anyio.move_on_after(0.5):
                await crowd.turn("cancelled", 10)

        async with anyio.create_task_group() as tasks:
            await in_order(tasks, (short_of_time,), (crowd.turn, "next"))
        assert crowd.ended == ["next"]
        assert anyio.current_time() == pytest.approx(began + 1.5)

    began = 0.0
    virtually(main)


def test_every_third_of_ten_is_cancelled_and_the_others_all_run(virtually):
    async def main():
        crowd = Crowd(queue())
        scopes = {}

        async def turn(number):
            with anyio.CancelScope() as scopes[number]:
                await crowd.turn(number)

        async with anyio.create_task_group() as tasks:
            await in_order(tasks, *((turn, number) for number in range(10)))
            for number in (0, 3, 6, 9):
                scopes[number].cancel()
        assert crowd.ended == [1, 2, 4, 5, 7, 8]
        assert len(crowd.turns) == 0

    virtually(main)


class Schedule:
    """Three turns of one key and one of another's, driven a step of the event loop at a time."""

    def __init__(self, when_busy):
        self.loop = VirtualLoop()
        self.turns = queue(when_busy, deadline=3.5)
        self.crowd = Crowd(self.turns)
        self.tasks = [self.loop.create_task(self.turn(number)) for number in range(3)]

    async def turn(self, number):
        async with self.turns("session"):
            with self.crowd.runs(number):
                await asyncio.sleep(1)
                async with self.turns("session"):
                    await asyncio.sleep(0)
                await asyncio.sleep(1)

    def steps(self):
        """Goes on until all is done; yields before every step."""
        while not all(task.done() for task in self.tasks):
            yield
            if self.loop.idle:
                assert self.loop.advance(), "deadlock: every task waits and no timer is set"
            else:
                self.loop.step()

    def outcomes(self):
        return [None if task.cancelled() else task.exception() for task in self.tasks]


def steps_of(when_busy):
    schedule = Schedule(when_busy)
    count = sum(1 for _ in schedule.steps())
    schedule.outcomes()
    schedule.loop.finish()
    return count


@pytest.mark.parametrize("when_busy", ["enqueue", "reject", "interrupt"])
def test_two_cancellations_at_any_two_steps_never_stop_the_others(when_busy):
    steps = range(steps_of(when_busy) + 1)
    assert len(steps) > 5
    tried = 0
    for first in steps:
        for second in steps[first:]:
            for one in range(3):
                for other in range(3):
                    check(when_busy, {first: one}, {second: other})
                    tried += 1
    assert tried >= 9 * len(steps)


def check(when_busy, *cancellations):
    """Before Python 3.11 asyncio cannot tell apart two cancellations of one instant, of which one is the queue's."""
    schedule = Schedule(when_busy)
    cancelled = set()
    for number, _ in enumerate(schedule.steps()):
        for cancellation in cancellations:
            if number in cancellation and not schedule.tasks[cancellation[number]].done():
                schedule.tasks[cancellation[number]].cancel()
                cancelled.add(cancellation[number])
    outcomes = schedule.outcomes()
    schedule.loop.finish()
    assert len(schedule.turns) == 0
    assert schedule.turns._queues._queues == {}
    for number, task in enumerate(schedule.tasks):
        if number in cancelled and (sys.version_info >= (3, 11) or task.cancelled()):
            assert task.cancelled(), f"the cancellation of {number} was swallowed: {outcomes[number]!r}"
        else:
            assert not task.cancelled()
            allowed = {"enqueue": SessionBusyError, "reject": SessionBusyError, "interrupt": TurnInterruptedError}
            assert outcomes[number] is None or isinstance(outcomes[number], allowed[when_busy])
            if when_busy == "enqueue" and number < 2:
                assert outcomes[number] is None
    assert not schedule.loop.complaints


def test_a_cancellation_after_a_turn_hits_nothing_of_it(on_asyncio):
    async def main():
        turns = queue("interrupt")
        async with turns("session"):
            pass
        assert sys.version_info < (3, 11) or asyncio.current_task().cancelling() == 0
        await asyncio.sleep(1)

    on_asyncio(main)
