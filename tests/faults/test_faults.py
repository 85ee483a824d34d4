"""Each fault on real servers and processes: nothing is lost and nothing is twice, and without us something is."""

import os
import random
import time

import pytest

from .scenarios import SCENARIOS

pytestmark = [pytest.mark.asyncio, pytest.mark.servers]

ROUNDS = 8
SOAK_MINUTES = float(os.environ.get("STALE_RETRY_SOAK_MINUTES", "0"))


@pytest.mark.parametrize("name", SCENARIOS)
async def test_nothing_is_lost_and_nothing_is_stored_twice(bench, name):
    report = await SCENARIOS[name].play(bench, "documented")
    assert report.every_event_is_stored_once, report
    assert report.nothing_lost_nothing_twice or not SCENARIOS[name].keeps_state, report
    assert report.stored == report.sent == 20


@pytest.mark.parametrize("name", SCENARIOS)
async def test_the_same_fault_bites_those_who_are_not_prepared_for_it(bench, name):
    strategy, harm = SCENARIOS[name].bites
    for _ in range(ROUNDS):
        report = await SCENARIOS[name].play(bench, strategy)
        if getattr(report, harm):
            break
    else:
        pytest.fail(f"{strategy} survived {ROUNDS} rounds")
    assert not report.lost_in_silence, "the store acknowledged what it did not keep, which is not what this fault does"


async def test_nothing_is_lost_or_twice_however_long_it_goes_on(bench):
    """One round of any fault, or as many as fit into STALE_RETRY_SOAK_MINUTES."""
    seed = random.randrange(2**32)
    chance = random.Random(seed)
    end = time.monotonic() + SOAK_MINUTES * 60
    rounds = 0
    while rounds == 0 or time.monotonic() < end:
        rounds += 1
        name = chance.choice(list(SCENARIOS))
        bench.seed = chance.randrange(2**32)
        bench.strength = chance.randint(1, 6)
        bench.size = {
            "processes": chance.randint(2, 4 if SOAK_MINUTES else 2),
            "writers": chance.randint(1, 5 if SOAK_MINUTES else 2),
            "events": chance.randint(4, 20 if SOAK_MINUTES else 6),
        }
        report = await SCENARIOS[name].play(bench, "documented")
        facts = f"seed {seed}, round {rounds}, {name}, {bench.size}: {report}"
        assert report.every_event_is_stored_once, facts
        assert report.nothing_lost_nothing_twice or not SCENARIOS[name].keeps_state, facts
