"""The simulation that the pictures show: what its timeline notes, and that it repeats."""

from __future__ import annotations

import itertools
import sys
from pathlib import Path

import anyio
import pytest

from stale_retry.lab.contention import CLASSIC, IMMEDIATE, OURS, Run, Strategy, contend

sys.path.append(str(Path(__file__).parents[2] / "docs" / "pictures"))
from simulation import QUEUE, DistantStore, VirtualTimeLoop, simulate


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


def test_waiting_in_the_queue_is_noted_before_the_first_attempt():
    first, *others = ([mark.kind for mark in marks] for marks in simulated(QUEUE, 8).marks.values())
    assert first == ["stored"]
    assert others == [["queue", "reload", "stored"]] * 7


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
