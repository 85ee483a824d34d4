"""A run counts what was stored, lost and told, here with a store that does exactly as it is told."""

from __future__ import annotations

import anyio

from stale_retry import StaleSessionError
from stale_retry.lab.contention import NONE, Run, Timeline, contend
from stale_retry.lab.report import broken_promises, run_as_json


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
    assert (run.stored, run.lost, run.append_calls, run.count("rejected")) == (2, 4, 6, 2)
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
