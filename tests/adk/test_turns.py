"""Twenty users' turns on one session at once, through real runners."""

import pytest

from stale_retry.adk import RetryingSessionService

from .app import KEY, ids, load, runner_of, turns

TURNS = 20


@pytest.mark.asyncio
async def test_every_one_of_twenty_concurrent_turns_is_answered_and_stored_once(database):
    service = RetryingSessionService(database)
    outcomes = await turns(runner_of(service), TURNS)
    stored = await database.get_session(**KEY)
    assert outcomes == [["pong"]] * TURNS
    assert len(stored.events) == 2 * TURNS == len(set(ids(stored)))


@pytest.mark.asyncio
async def test_without_the_wrapper_turns_are_lost(database):
    outcomes = await turns(runner_of(database), TURNS)
    assert sum(isinstance(outcome, ValueError) for outcome in outcomes) >= TURNS / 2
    assert len((await load(database)).events) < 2 * TURNS
