"""Who waits, how long, how many."""

import dataclasses
import logging

import anyio
import pytest

from stale_retry.turns import TurnEvent, TurnQueue

from .crowd import Crowd, in_order


def told(events):
    return [(event.kind, event.waiting, round(event.waited, 1)) for event in events]


def test_an_observer_hears_of_waiting_starting_and_ending(virtually):
    async def main():
        events = []
        crowd = Crowd(TurnQueue(observers=events.append, name="chat"))
        async with anyio.create_task_group() as tasks:
            await in_order(tasks, (crowd.turn, "a"), (crowd.turn, "b"), apart=0.5)
        assert told(events) == [
            ("started", 0, 0.0),
            ("waiting", 1, 0.0),
            ("ended", 0, 0.0),
            ("started", 0, 0.5),
            ("ended", 0, 0.5),
        ]
        assert [event.running for event in events] == [
            None if e.kind == "waiting" else pytest.approx(e.running) for e in events
        ]
        assert events[2].running == pytest.approx(1.0)
        assert {event.name for event in events} == {"chat"}
        assert all(event.reason is None for event in events)

    virtually(main)


def test_an_observer_hears_why_a_turn_was_refused(virtually):
    async def main():
        events = []
        turns = TurnQueue(longest=1, deadline=2, observers=events.append)
        crowd = Crowd(turns)
        async with anyio.create_task_group() as tasks:
            await in_order(tasks, (crowd.turn, "long", 5), (crowd.turn, "second"), (crowd.turn, "third"))
        refused = [(event.reason, event.running) for event in events if event.kind == "refused"]
        assert refused == [("longest", None), ("deadline", None)]

    virtually(main)


def test_an_observer_hears_of_an_interruption_when_it_begins(virtually):
    async def main():
        events = []
        turns = TurnQueue("interrupt", observers=events.append)
        crowd = Crowd(turns)
        async with anyio.create_task_group() as tasks:
            await in_order(tasks, (crowd.turn, "old", 5), (crowd.turn, "new"))
        kinds = [(event.kind, event.reason) for event in events]
        assert kinds.index(("interrupted", "newer")) < kinds.index(("ended", "newer"))
        assert kinds[-1] == ("ended", None)

    virtually(main)


def test_a_turn_inside_a_turn_reports_nothing(virtually):
    async def main():
        events = []
        turns = TurnQueue(observers=events.append)
        async with turns("session"), turns("session"):
            pass
        assert [event.kind for event in events] == ["started", "ended"]

    virtually(main)


def test_an_observer_that_raises_is_logged_and_disturbs_no_turn(virtually, caplog):
    def raises(event):
        raise ZeroDivisionError

    async def main():
        events = []
        crowd = Crowd(TurnQueue("interrupt", observers=[raises, events.append]))
        async with anyio.create_task_group() as tasks:
            await in_order(tasks, (crowd.turn, "old", 5), (crowd.turn, "new"))
        assert crowd.ended == ["new"]
        assert len(events) == 6

    virtually(main)
    assert "raises raised" in caplog.text


def test_an_event_is_frozen():
    event = TurnEvent("started", "turns", 0, 0.0)
    with pytest.raises(dataclasses.FrozenInstanceError):
        event.waiting = 1


def test_the_default_is_the_log(virtually, caplog):
    async def main():
        crowd = Crowd(TurnQueue("interrupt", name="chat"))
        async with anyio.create_task_group() as tasks:
            await in_order(tasks, (crowd.turn, "old", 5), (crowd.turn, "new"))
        crowd = Crowd(TurnQueue("reject"))
        async with anyio.create_task_group() as tasks:
            await in_order(tasks, (crowd.turn, "running", 5), (crowd.turn, "refused"))

    caplog.set_level(logging.DEBUG, "stale_retry")
    virtually(main)
    lines = [(record.levelname, record.getMessage()) for record in caplog.records]
    assert lines[0][0] == "DEBUG"
    assert ("WARNING", "chat: a turn was interrupted, waited 0.00 s, 1 waiting, ran 0.01 s: newer") in lines
    assert ("INFO", "chat: a turn is waiting, waited 0.00 s, 1 waiting") in lines
    assert ("WARNING", "turns: a turn was refused, waited 0.00 s, 0 waiting: busy") in lines
    assert all(getattr(record, "stale_retry.kind") for record in caplog.records)


def test_what_is_not_logged_is_not_written(virtually, caplog):
    from stale_retry.turns.events import log_turn

    async def main():
        events = []
        async with TurnQueue(observers=[log_turn, events.append])("session"):
            pass
        assert len(events) == 2

    caplog.set_level(logging.WARNING, "stale_retry")
    virtually(main)
    assert caplog.records == []


def test_no_key_is_told_to_anybody(virtually, caplog):
    secret = "a key that names a user"

    async def main():
        events = []
        turns = TurnQueue("interrupt", observers=[events.append])
        logged = TurnQueue("interrupt")
        for queue in (turns, logged):
            crowd = Crowd(queue)
            errors = []

            async def turn(crowd=crowd, errors=errors):
                errors.append(str(await crowd.turn("turn", 1.0, secret)))

            async with anyio.create_task_group() as tasks:
                await in_order(tasks, (turn,), (turn,))
            assert any("newer turn" in error for error in errors)
            assert not any(secret in error for error in errors)
        assert events
        assert not any(secret in repr(event) for event in events)

    caplog.set_level(logging.DEBUG, "stale_retry")
    virtually(main)
    assert caplog.records
    assert secret not in caplog.text
