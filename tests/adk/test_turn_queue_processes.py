"""Turns of several processes on one PostgreSQL, through google-adk's own runner, one of which is killed in mid-turn."""

import asyncio
import contextlib
import json
import os
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path

import pytest
from google.adk.sessions import DatabaseSessionService

from stale_retry.turns import TurnQueue, sql_lease

from .app import KEY, load

pytestmark = pytest.mark.servers

TIMEOUT = 1.5
"""Seconds that a killed process's lease lasts here."""

DROPS_OPEN_CALLS = find_spec("google.adk.flows.llm_flows.tools") is not None
"""Whether this release leaves a call without a response out of its requests, such as a killed process leaves behind."""

PATIENCE = 5.0
"""Seconds for the other's turns before the one that is waited for, on a machine with other things to do."""


class Process:
    def __init__(self, program, *arguments):
        self.process = subprocess.Popen(
            [sys.executable, "-W", "ignore", "-m", program, *map(str, arguments)],
            cwd=Path(__file__).parents[1],
            env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
            stdout=subprocess.PIPE,
            text=True,
        )

    def hears(self, word):
        assert any(line.startswith(word) for line in self.process.stdout)

    def result(self):
        return json.loads(self.process.communicate(timeout=60)[0].splitlines()[-1])

    def kill(self):
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()


@pytest.fixture
def database(new_postgresql_database):
    url = new_postgresql_database()

    async def create():
        service = DatabaseSessionService(url)
        await service.create_session(**KEY)
        await service.db_engine.dispose()

    asyncio.run(create())
    return url


@pytest.fixture
def start(database):
    """Starts processes on the database, none of which outlives the test."""
    with processes() as starting:
        yield lambda *arguments: starting("adk.talker", database, database, TIMEOUT, *arguments)


@pytest.fixture
def shop(database, tmp_path):
    """Starts processes that deliver messages: `shop(seconds, [[text, key], ...])`. `log` is what they did."""
    log = tmp_path / "log"
    log.touch()
    with processes() as starting:

        def shop(seconds, deliveries):
            return starting("adk.shop", database, TIMEOUT, log, seconds, json.dumps(deliveries))

        shop.log = lambda: log.read_text().split()
        yield shop


@contextlib.contextmanager
def processes():
    started = []

    def starting(*arguments):
        started.append(Process(*arguments))
        return started[-1]

    try:
        yield starting
    finally:
        for process in started:
            process.kill()


def stored_in(url):
    async def read():
        service = DatabaseSessionService(url)
        try:
            return (await load(service)).events
        finally:
            await service.db_engine.dispose()

    return asyncio.run(read())


def spans(events):
    """For each turn, in stored order and without what came between: its question, and how many events it has."""
    found = []
    for event in events:
        if found and found[-1][0] == event.invocation_id:
            found[-1][2] += 1
        else:
            found.append([event.invocation_id, event.content.parts[0].text, 1])
    return [(question, count) for _, question, count in found]


def test_turns_of_three_processes_are_stored_whole_and_in_order_of_each(database, start):
    processes = [start(name, 3, 0.02) for name in "abc"]
    for process in processes:
        assert process.result() == {"answered": [True] * 3, "refused": [], "foreign": 0}
    stored = spans(stored_in(database))
    assert sorted(stored) == [(f"question {name}{number}", 4) for name in "abc" for number in range(3)]
    for name in "abc":
        own = [question for question, _ in stored if question.startswith(f"question {name}")]
        assert own == sorted(own)


def test_when_one_is_killed_in_mid_turn_the_others_go_on_within_the_leases_time(database, start):
    killed = start("killed", 1, 600)
    killed.hears("calls")
    others = [start(name, 2, 0.02) for name in "ab"]
    for process in others:
        process.hears("begins")
    killed.kill()
    at = time.monotonic()
    others[0].hears("calls")
    assert time.monotonic() - at <= TIMEOUT + PATIENCE
    for process in others:
        result = process.result()
        assert result["answered"] == [True] * 2
        if DROPS_OPEN_CALLS:
            assert result["refused"] == []
    stored = spans(stored_in(database))
    assert stored[0] == ("question killed0", 2)
    assert sorted(stored[1:]) == [(f"question {name}{number}", 4) for name in "ab" for number in range(2)]


def test_a_turn_is_stopped_from_another_process_within_two_seconds_and_leaves_a_whole_history(database, start):
    running = start("a", 1, 600)
    running.hears("calls")

    async def stop():
        leases = sql_lease(database)
        try:
            return await TurnQueue(shared=leases).stop(("app", "user", "session"))
        finally:
            await leases.aclose()

    assert asyncio.run(stop())
    at = time.monotonic()
    assert running.result() == {"answered": [False], "refused": [], "foreign": 0}
    assert time.monotonic() - at <= 2 + PATIENCE
    events = stored_in(database)
    calls = [call.id for event in events for call in event.get_function_calls()]
    assert calls == [response.id for event in events for response in event.get_function_responses()]
    after = start("b", 1, 0.02).result()
    assert (after["answered"], after["refused"]) == ([True], [])


BOOKED = ["call", "response", "answer to book it"]


def test_one_message_delivered_three_times_in_two_processes_is_answered_by_one_run(shop):
    here, there = shop(0.3, [["book it", "k"]] * 2), shop(0.3, [["book it", "k"]])
    assert here.result() == {"answers": [BOOKED] * 2, "refused": []}
    assert there.result() == {"answers": [BOOKED], "refused": []}
    assert shop.log() == ["model", "charge", "model"]


def test_a_message_whose_process_was_killed_after_the_tool_is_answered_elsewhere_and_charged_once(database, shop):
    killed = shop(600, [["book it", "k"]])
    killed.hears("begins")
    until = time.monotonic() + 60
    while shop.log() != ["model", "charge", "model"]:
        assert time.monotonic() < until
        time.sleep(0.02)
    killed.kill()
    assert shop(0, [["book it", "k"]] * 2).result() == {"answers": [BOOKED] * 2, "refused": []}
    assert shop.log().count("charge") == 1
    assert [text for text, _ in spans([event for event in stored_in(database) if event.content])].count("book it") == 1
