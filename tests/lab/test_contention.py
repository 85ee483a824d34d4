"""What is counted, and what is noted on the timeline, by a store that does exactly as it is told."""

from __future__ import annotations

import itertools

import anyio
import pytest

from stale_retry import StaleSessionError
from stale_retry.lab.contention import Run, Timeline, contend
from stale_retry.lab.report import broken_promises, run_as_json
from stale_retry.lab.simulation import DistantStore, VirtualTimeLoop, simulate
from stale_retry.lab.strategies import CLASSIC, IMMEDIATE, NONE, OURS, QUEUE, Strategy


class ObedientStore:
    """Stores, refuses, forgets or doubles each event as the plan says."""

    def __init__(self, plan: dict[str, str]) -> None:
        self.timeline = Timeline()
        self.plan = plan
        self.events: list[str] = []

    async def load(self):
        return "session"

    async def stored(self):
        return self.events

    def append_with(self, strategy):
        return self._append

    async def _append(self, session, token):
        with self.timeline.attempt():
            deed = self.plan[token]
            self.events += {"store": [token], "double": [token, token], "lie": [token]}.get(deed, [])
            if deed in ("reject", "lie"):
                raise StaleSessionError
            if deed == "fail":
                raise ConnectionError
        return session


def run_of(plan: list[str]) -> Run:
    renamed = {f"writer 0 event {number}": deed for number, deed in enumerate(plan)}
    return anyio.run(lambda: contend(ObedientStore(renamed), NONE, writers=1, events=len(plan)))


def test_stored_and_lost_are_counted_by_reading_back_and_not_by_what_writers_were_told():
    run = run_of(["store", "forget", "forget", "reject", "fail", "lie"])
    assert (run.stored, run.lost, run.append_calls, run.rejected) == (2, 4, 6, 2)
    assert run.errors == {"StaleSessionError": 2, "ConnectionError": 1}


def test_each_broken_promise_is_told_apart():
    run = run_of(["double", "forget", "lie", "lie"])
    assert run_as_json(run)["stored_twice"] == 1
    assert broken_promises(run) == [
        "1 of 4 events were stored twice",
        "1 of 4 events were acknowledged, but not stored",
        "2 of 4 events were refused, but stored",
    ]


def test_an_event_stored_twice_counts_as_stored_once():
    assert run_of(["double"]).stored == 1


def simulated(strategy: Strategy, writers: int, *, latency: float = 0.01) -> Run:
    loop = VirtualTimeLoop()
    try:
        return loop.run_until_complete(contend(DistantStore(latency), strategy, writers=writers, events=1))
    finally:
        loop.close()


def test_the_marks_of_a_writer_follow_each_other_without_overlap():
    for marks in simulated(OURS, 5).marks.values():
        for earlier, later in itertools.pairwise(marks):
            assert earlier.end <= later.start + 1e-9
        assert marks[-1].kind == "stored"


def test_a_rejected_append_is_noted_as_attempt_wait_reload_attempt():
    (loser,) = (marks for marks in simulated(CLASSIC, 2).marks.values() if len(marks) > 1)
    assert [mark.kind for mark in loser] == ["rejected", "wait", "reload", "stored"]
    assert loser[1].end - loser[1].start == pytest.approx(0.5)


def test_waiting_for_a_place_in_the_queue_is_noted_before_the_first_attempt():
    first, *others = ([mark.kind for mark in marks] for marks in simulated(QUEUE, 8).marks.values())
    assert first == ["stored"]
    assert others == [["place", "reload", "stored"]] * 7


def test_an_immediate_retry_has_no_wait_to_note():
    marks = [mark.kind for marks in simulated(IMMEDIATE, 3).marks.values() for mark in marks]
    assert "reload" in marks
    assert "wait" not in marks


def test_the_classic_schedule_ends_after_its_seven_and_a_half_seconds_of_waits():
    run = simulated(CLASSIC, 30)
    assert run.errors == {"AttemptsExhaustedError": run.lost}
    assert run.lost > 0
    assert 7.5 < run.seconds < 7.8


def test_a_simulation_repeats():
    def figures():
        return [
            (result.strategy.name, result.writers, result.lost, result.seconds, result.calls)
            for result in simulate([4, 7], events=2, latency=0.02, seeds=2)
        ]

    assert figures() == figures()


def test_in_the_simulation_attempt_limits_lose_appends_and_our_defaults_none():
    lost = {result.strategy.name: result.lost for result in simulate([40], events=1, latency=0.01, seeds=2)}
    assert lost["none"] == pytest.approx(39 / 40)
    assert lost["none"] > lost["immediate"] > lost["classic"] > 0.5
    assert lost["ours"] == lost["additive"] == lost["queue"] == 0


def test_virtual_time_passes_without_waiting_and_a_deadlock_is_told():
    loop = VirtualTimeLoop()
    try:
        loop.run_until_complete(anyio.sleep(86_400))
        assert loop.time() == pytest.approx(86_400)
        with pytest.raises(RuntimeError, match="every task waits"):
            loop.run_until_complete(loop.create_future())
    finally:
        loop.close()
