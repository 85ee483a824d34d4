"""A scheduler that enumerates schedules: which task goes on next, when time passes, when a task is cancelled.

Left alone a run is first come, first served: what became ready first goes on first, and the clock moves when nothing
is ready. Every step is a choice, and the first option is that default. A schedule is the list of what was chosen; every
choice but the first is a deviation. `explore` runs a scenario under every schedule with at most so many deviations,
each once; `replay` runs it under one of them.
"""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from .virtual import VirtualLoop, _clock

Schedule = tuple[int, ...]
Scenario = Callable[["Run"], None]

_SPINS = 20
"""Callbacks in a row after which time passes: a cancel scope asks again and again, until its task has listened."""

_STEPS = 5_000

_NOT_THE_SAME = "the scenario does something else when it is run again"


class ScheduleError(AssertionError):
    """Raised when a scenario fails. `replay` of its `schedule` makes it fail again."""

    def __init__(self, schedule: Schedule, log: list[object]) -> None:
        super().__init__("\n  ".join([f"under the schedule {list(schedule)}:", *map(str, log)]))
        self.schedule = schedule


class Run:
    """One run of a scenario under one schedule.

    Attributes:
        cancelled: the name of the task that the schedule cancelled, or None.
    """

    def __init__(self, loop: VirtualLoop, schedule: Schedule, *, cancels: bool) -> None:
        self.loop = loop
        self.schedule = schedule
        self.cancelled: str | None = None
        self.options: list[int] = []
        self.log: list[object] = []
        self._ready = loop._ready  # type: ignore[attr-defined]
        self._cancels = cancels
        self._tasks: dict[str, asyncio.Task[Any]] = {}
        self._cancellations: dict[str, Callable[[], object]] = {}

    def start(self, coroutine: Coroutine[Any, Any, Any], name: str) -> asyncio.Task[Any]:
        """Start a task that must end."""
        self._tasks[name] = task = self.loop.create_task(coroutine, name=name)
        return task

    def may_cancel(self, name: str, cancel: Callable[[], object]) -> None:
        """Let schedules that cancel do so to the task of this name, by `cancel`."""
        self._cancellations[name] = cancel

    def choose(self, options: int) -> int:
        """What the schedule says here, from 0 to options - 1; 0 where it says nothing."""
        if options == 1:
            return 0
        position = len(self.options)
        self.options.append(options)
        choice = self.schedule[position] if position < len(self.schedule) else 0
        assert choice < options, _NOT_THE_SAME
        return choice

    def finish(self) -> None:
        """Run until every task is done.

        Raises:
            AssertionError: a task waits for ever; or, when all that were started are done, a task or a timer is left
                over; or something was raised where nobody sees it.
        """
        spins = 0
        for _ in range(_STEPS):
            self._forget_what_was_cancelled()
            if self._is_over():
                break
            spins = 0 if self._step(time_must_pass=spins > _SPINS) else spins + 1
        else:
            raise AssertionError("the tasks never come to rest")
        left = [task.get_name() for task in asyncio.all_tasks(self.loop)]
        assert not left, f"left over: {left}"
        assert not self.loop.timers, f"timers are left over: {self.loop.timers}"
        assert not self.loop.complaints, f"raised, and nobody saw it: {self.loop.complaints}"

    def _is_over(self) -> bool:
        if self._ready:
            return False
        waiting = [name for name, task in self._tasks.items() if not task.done()]
        assert self.loop.timers or not waiting, f"deadlock: {waiting} wait for ever"
        return not waiting

    def _step(self, *, time_must_pass: bool) -> bool:
        """Do what is chosen. False when it was a callback, which may come again without any task going on."""
        later = 1 if self.loop.timers else 0
        ready = 0 if later and time_must_pass else len(self._ready)
        alive = self._cancellable()
        choice = self.choose(ready + later + len(alive))
        if choice < ready:
            return self._go_on(choice)
        if choice < ready + later:
            self._let_time_pass()
        else:
            self.cancelled = alive[choice - ready - later]
            self.log.append(f"{self.cancelled} is cancelled")
            self._cancellations[self.cancelled]()
        return True

    def _cancellable(self) -> list[str]:
        if not self._cancels or self.cancelled is not None:
            return []
        return [name for name in self._cancellations if not self._tasks[name].done()]

    def _go_on(self, position: int) -> bool:
        handle = self._ready[position]
        del self._ready[position]
        task = getattr(handle._callback, "__self__", None)
        is_a_task = isinstance(task, asyncio.Task)
        self.log.append(task.get_name() if is_a_task else handle)
        handle._run()
        return is_a_task

    def _let_time_pass(self) -> None:
        """Move the clock to the next timer; what it sets going is ready then."""
        timers = self.loop._scheduled  # type: ignore[attr-defined]
        self.loop.now = max(self.loop.now, min(self.loop.timers))
        self.log.append(f"it is {self.loop.now:g} s")
        while timers and timers[0].when() <= self.loop.now:
            timer = heapq.heappop(timers)
            timer._scheduled = False
            self._ready.append(timer)

    def _forget_what_was_cancelled(self) -> None:
        for handle in [handle for handle in self._ready if handle.cancelled()]:
            self._ready.remove(handle)


@dataclass
class Explored:
    """What `explore` has done.

    Attributes:
        schedules: how many, each once.
        longest: the choices of the longest one.
        cancelled: how many of them cancelled a task.
    """

    schedules: int = 0
    longest: int = 0
    cancelled: int = 0


def explore(scenario: Scenario, deviations: int, *, cancels: bool = False) -> Explored:
    """Run the scenario under every schedule with at most so many deviations.

    With `cancels` the schedule also cancels one of the started tasks, at whatever step; that is a deviation too.

    Raises:
        ScheduleError: from what the scenario raised.
    """
    explored = Explored()
    left: list[Schedule] = [()]
    with _a_loop() as loop:
        while left:
            schedule = left.pop()
            run = _made(Run(loop, schedule, cancels=cancels), scenario)
            explored.schedules += 1
            explored.longest = max(explored.longest, len(run.options))
            explored.cancelled += run.cancelled is not None
            if len(schedule) - schedule.count(0) < deviations:
                left.extend(_with_one_deviation_more(schedule, run.options))
    return explored


def replay(scenario: Scenario, schedule: Sequence[int], *, cancels: bool = False) -> None:
    """Run the scenario under one schedule.

    Raises:
        ScheduleError: from what the scenario raised.
    """
    with _a_loop() as loop:
        _made(Run(loop, tuple(schedule), cancels=cancels), scenario)


def _with_one_deviation_more(schedule: Schedule, options: list[int]) -> Iterator[Schedule]:
    """Every schedule that does the same and deviates once more, after its last deviation."""
    for position in range(len(schedule), len(options)):
        as_before = schedule + (0,) * (position - len(schedule))
        for choice in range(1, options[position]):
            yield (*as_before, choice)


def _made(run: Run, scenario: Scenario) -> Run:
    run.loop.now = 0.0
    run.loop._scheduled.clear()  # type: ignore[attr-defined]  # timers of the run before, all of them cancelled
    try:
        scenario(run)
        assert len(run.options) >= len(run.schedule), _NOT_THE_SAME
    except BaseException as error:
        raise ScheduleError(run.schedule, run.log) from error
    return run


@contextmanager
def _a_loop() -> Iterator[VirtualLoop]:
    """One loop for many runs: each leaves it as it was."""
    loop = VirtualLoop()
    asyncio._set_running_loop(loop)
    try:
        with _clock(loop.time):
            yield loop
    finally:
        asyncio._set_running_loop(None)
        for task in asyncio.all_tasks(loop):  # of the run that failed
            task.cancel()
        loop.step()
        loop.finish()
