"""The scheduler of the tests: it runs every schedule once, and finds what goes wrong under a rare one."""

import asyncio
import itertools
import math

import pytest

from .scheduler import ScheduleError, explore, replay


async def steps(number, log, name):
    for _ in range(number):
        log.append(name)
        await asyncio.sleep(0)
    log.append(name)


@pytest.mark.parametrize(("number", "tasks"), [(2, 2), (3, 2), (2, 3)])
def test_every_order_of_steps_is_run_and_each_once(number, tasks):
    orders = []

    def scenario(run):
        log = []
        for name in "abc"[:tasks]:
            run.start(steps(number, log, name), name)
        run.finish()
        orders.append(tuple(log))

    explored = explore(scenario, deviations=99)
    each = number + 1
    assert len(set(orders)) == len(orders) == explored.schedules
    assert explored.schedules == math.factorial(tasks * each) // math.factorial(each) ** tasks


def test_a_schedule_with_fewer_deviations_is_among_those_with_more():
    def orders(deviations):
        found = []

        def scenario(run):
            log = []
            for name in "abc":
                run.start(steps(2, log, name), name)
            run.finish()
            found.append(tuple(log))

        explore(scenario, deviations)
        return found

    assert orders(0) == [tuple("abcabcabc")]
    for fewer, more in itertools.pairwise(set(orders(n)) for n in range(4)):
        assert fewer < more


class Toy:
    """An append loop that settles by counting: who finds three events more takes one of them for his own."""

    def __init__(self):
        self.events = []

    async def append(self, event):
        known = len(self.events)
        while True:
            await asyncio.sleep(0)
            if known == len(self.events):
                self.events.append(event)
                return
            await asyncio.sleep(0)
            if len(self.events) >= known + 3:
                return
            known = len(self.events)

    async def append_all(self, *events):
        for event in events:
            await self.append(event)


def a_toy_loses_nothing(run):
    toy = Toy()
    run.start(toy.append_all("a"), "a")
    run.start(toy.append_all("b", "c", "d"), "b")
    run.finish()
    assert sorted(toy.events) == ["a", "b", "c", "d"]


def test_an_event_that_is_lost_under_a_rare_schedule_is_found():
    # Of the five schedules with at most one deviation none loses it.
    explore(a_toy_loses_nothing, deviations=1)
    with pytest.raises(ScheduleError, match="under the schedule") as found:
        explore(a_toy_loses_nothing, deviations=2)
    assert sum(choice != 0 for choice in found.value.schedule) == 2


def test_a_schedule_that_fails_fails_again_in_the_same_way():
    with pytest.raises(ScheduleError) as found:
        explore(a_toy_loses_nothing, deviations=2)
    with pytest.raises(ScheduleError) as again:
        replay(a_toy_loses_nothing, found.value.schedule)
    assert str(again.value) == str(found.value)
    assert "\n  b\n" in str(found.value)  # it tells which task went on


class CarelessLock:
    """A lock that is handed to a waiter, who keeps it if he is cancelled before he goes on."""

    def __init__(self):
        self.held = False
        self.waiting = []

    async def acquire(self):
        if not self.held:
            self.held = True
            return
        turn = asyncio.get_running_loop().create_future()
        self.waiting.append(turn)
        await turn

    def release(self):
        waiting = [turn for turn in self.waiting if not turn.done()]
        self.held = bool(waiting)
        if waiting:
            waiting[0].set_result(None)


def a_lock_is_passed_on(run):
    lock = CarelessLock()

    async def hold():
        await lock.acquire()
        try:
            await asyncio.sleep(1)
        finally:
            lock.release()

    for name in "abc":
        run.may_cancel(name, run.start(hold(), name).cancel)
    run.finish()


def test_a_cancellation_at_the_one_instant_that_matters_is_found():
    explore(a_lock_is_passed_on, deviations=3)
    with pytest.raises(ScheduleError, match="is cancelled") as found:
        explore(a_lock_is_passed_on, deviations=1, cancels=True)
    assert "wait for ever" in str(found.value.__cause__)


def test_one_task_is_cancelled_at_most_and_at_every_step():
    cancelled_at = []

    def scenario(run):
        log = []
        task = run.start(steps(3, log, "a"), "a")
        run.may_cancel("a", task.cancel)
        run.finish()
        assert task.cancelled() == (run.cancelled == "a")
        if run.cancelled:
            cancelled_at.append(len(log))

    explored = explore(scenario, deviations=2, cancels=True)
    assert sorted(cancelled_at) == [0, 1, 2, 3]
    assert explored.cancelled == 4


class TestWhatARunMustNotLeave:
    def test_a_task_that_waits_for_ever(self):
        async def wait():
            await asyncio.get_running_loop().create_future()

        def scenario(run):
            run.start(wait(), "a")
            run.finish()

        with pytest.raises(ScheduleError) as found:
            explore(scenario, deviations=0)
        assert "deadlock: ['a'] wait for ever" in str(found.value.__cause__)

    def test_a_task_that_never_comes_to_rest(self):
        async def spin():
            while True:
                await asyncio.sleep(0)

        def scenario(run):
            run.start(spin(), "a")
            run.finish()

        with pytest.raises(ScheduleError) as found:
            explore(scenario, deviations=0)
        assert "never come to rest" in str(found.value.__cause__)

    def test_a_task_of_somebody_else(self):
        async def leave_one_behind():
            asyncio.get_running_loop().create_task(asyncio.sleep(60), name="forgotten")

        def scenario(run):
            run.start(leave_one_behind(), "a")
            run.finish()

        with pytest.raises(ScheduleError) as found:
            explore(scenario, deviations=0)
        assert "left over: ['forgotten']" in str(found.value.__cause__)

    def test_a_timer(self):
        async def set_a_timer():
            asyncio.get_running_loop().call_later(5, print)

        def scenario(run):
            run.start(set_a_timer(), "a")
            run.finish()

        with pytest.raises(ScheduleError) as found:
            explore(scenario, deviations=0)
        assert "timers are left over: [5.0]" in str(found.value.__cause__)

    def test_an_error_that_nobody_sees(self):
        async def raise_in_a_callback():
            asyncio.get_running_loop().call_soon(lambda: 1 / 0)

        def scenario(run):
            run.start(raise_in_a_callback(), "a")
            run.finish()

        with pytest.raises(ScheduleError) as found:
            explore(scenario, deviations=0)
        assert "nobody saw it" in str(found.value.__cause__)


def test_a_scenario_that_is_not_the_same_when_it_is_run_again_is_refused():
    runs = itertools.count()

    def scenario(run):
        for n in range(3 if next(runs) == 0 else 1):
            run.start(steps(1, [], "a"), f"task {n}")
        run.finish()

    with pytest.raises(ScheduleError) as found:
        explore(scenario, deviations=1)
    assert "does something else" in str(found.value.__cause__)


def test_time_passes_while_a_task_is_ready_if_the_schedule_says_so():
    seen = []

    def scenario(run):
        log = []

        async def wait():
            await asyncio.sleep(1)
            log.append("timer")

        run.start(wait(), "a")
        run.start(steps(1, log, "b"), "b")
        run.finish()
        seen.append(tuple(log))

    explore(scenario, deviations=0)
    assert seen == [("b", "b", "timer")]
    explore(scenario, deviations=3)
    assert set(seen) == {("b", "b", "timer"), ("b", "timer", "b"), ("timer", "b", "b")}


def test_a_choice_of_the_scenario_is_part_of_the_schedule():
    seen = []

    def scenario(run):
        seen.append((run.choose(2), run.choose(1), run.choose(3)))

    explore(scenario, deviations=2)
    assert sorted(seen) == [(a, 0, b) for a in range(2) for b in range(3)]
    seen.clear()
    replay(scenario, [1, 2])
    assert seen == [(1, 0, 2)]
