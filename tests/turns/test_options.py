"""Every option is checked when the queue is made, and the message names it."""

import pickle
import re
from datetime import timedelta

import pytest

from stale_retry.turns import SessionBusyError, TurnError, TurnInterruptedError, TurnLostError, TurnQueue

WRONG = [
    ({"when_busy": "wait"}, ValueError, "when_busy must be 'enqueue', 'reject' or 'interrupt', got 'wait'"),
    ({"when_busy": None}, ValueError, "when_busy"),
    ({"when_busy": ["enqueue"]}, ValueError, "when_busy"),
    ({"longest": 0}, ValueError, "longest must be at least 1"),
    ({"longest": True}, TypeError, "longest must be a whole number"),
    ({"longest": 1.5}, TypeError, "longest"),
    ({"deadline": 0}, ValueError, "deadline must be above zero"),
    ({"deadline": float("nan")}, ValueError, "deadline"),
    ({"deadline": "600"}, TypeError, "deadline must be seconds, a timedelta or None"),
    ({"deadline": True}, TypeError, "deadline"),
    ({"deadline": timedelta(seconds=-1)}, ValueError, "deadline"),
    ({"deadline": -(10**400)}, ValueError, "deadline must be above zero"),
    ({"reader_patience": 0}, ValueError, "reader_patience must be above zero"),
    ({"shared": object()}, TypeError, "shared must be a store of leases"),
    ({"shared": lambda key: None}, TypeError, "shared"),
    ({"observers": 1}, TypeError, "observers must be a function of the event"),
    ({"observers": [1]}, TypeError, "observers"),
    ({"observers": "print"}, TypeError, "observers"),
    ({"observers": [TurnQueue]}, TypeError, "observers"),
    ({"name": ""}, ValueError, "name must not be empty"),
    ({"name": None}, TypeError, "name must be a string"),
]


@pytest.mark.parametrize(
    ("options", "kind", "message"), WRONG, ids=lambda value: re.sub(" at 0x[0-9a-f]+", "", str(value))[:40]
)
def test_a_wrong_option_is_refused_by_name(options, kind, message):
    with pytest.raises(kind, match=message.replace("(", r"\(")):
        TurnQueue(**options)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"longest": None, "deadline": None},
        {"deadline": timedelta(minutes=5)},
        {"deadline": float("inf")},
        {"observers": print},
        {"observers": []},
        {"observers": (print, print)},
    ],
)
def test_these_are_right(options):
    TurnQueue(**options)


def test_a_key_must_be_hashable_and_an_abort_hook_callable():
    turns = TurnQueue()
    with pytest.raises(TypeError, match="the key of a turn must be hashable, but is a list; use a string"):
        turns(["session"])
    with pytest.raises(TypeError, match="abort must be a plain function"):
        turns("session", abort=True)
    with pytest.raises(TypeError, match="events must be an async generator, or a function of the turn"):
        turns.stream("session", [1])


def test_the_errors_can_be_pickled_and_have_a_common_base():
    busy = SessionBusyError("busy", reason="longest", waiting=3, waited=1.5)
    copy = pickle.loads(pickle.dumps(busy))
    assert (copy.args, copy.reason, copy.waiting, copy.waited) == (("busy",), "longest", 3, 1.5)
    interrupted = pickle.loads(pickle.dumps(TurnInterruptedError("ended", reason="stopped", started=True)))
    assert (interrupted.args, interrupted.reason, interrupted.started) == (("ended",), "stopped", True)
    lost = pickle.loads(pickle.dumps(TurnLostError("lost")))
    assert lost.args == ("lost",)
    assert all(isinstance(error, TurnError) for error in (copy, interrupted, lost))
