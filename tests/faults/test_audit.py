"""The auditor sees what it is there to see."""

import pytest

from .audit import Stored, compare
from .journal import Entry, Journal, read


def stored(message, id=None, **delta):
    return Stored(id or message, message, {"last": message, **delta})


def sent_and_acknowledged(*messages):
    return [Entry(kind, message, message) for message in messages for kind in ("sent", "acknowledged")]


WHOLE = ["a 0", "b 0", "a 1"]


def test_a_whole_history_has_nothing_to_complain_of():
    report = compare(sent_and_acknowledged(*WHOLE), [stored(m) for m in WHOLE], {"last": "a 1"})
    assert report.nothing_lost_nothing_twice
    assert (report.sent, report.acknowledged, report.stored) == (3, 3, 3)


@pytest.mark.parametrize(
    ("events", "state", "harm", "what"),
    [
        (["a 0", "a 1"], {"last": "a 1"}, "lost", {"b 0"}),
        (["a 0", "a 1"], {"last": "a 1"}, "lost_in_silence", {"b 0"}),
        (["a 0", "b 0", "b 0", "a 1"], {"last": "a 1"}, "twice", {"b 0"}),
        (["a 1", "b 0", "a 0"], {"last": "a 0"}, "disordered", {"a"}),
        (["a 0", "b 0", "a 1"], {"last": "b 0"}, "wrong_state", {"last"}),
        (["a 0", "b 0", "a 1"], {}, "wrong_state", {"last"}),
        (["a 0", "b 0", "a 1"], {"last": "a 1", "other": 1}, "wrong_state", {"other"}),
    ],
)
def test_harm_is_seen(events, state, harm, what):
    twice = [stored(message, id=str(place)) for place, message in enumerate(events)]
    report = compare(sent_and_acknowledged(*WHOLE), twice, state)
    assert getattr(report, harm) == what
    assert not report.nothing_lost_nothing_twice


def test_what_was_never_acknowledged_is_not_lost_in_silence():
    report = compare([Entry("sent", "a 0", "a 0"), Entry("failed", "a 0", "a 0", "E")], [], {})
    assert report.lost == {"a 0"}
    assert not report.lost_in_silence


def test_refused_attempts_count_as_calls():
    entries = [*sent_and_acknowledged("a 0"), Entry("refused", "a 0", "a 0", "StaleSessionError")]
    report = compare(entries, [stored("a 0")], {"last": "a 0"})
    assert report.calls == 2
    assert report.calls_per_event == 2


def test_a_journal_is_read_up_to_the_last_whole_line(tmp_path):
    path = tmp_path / "journal"
    assert read(path) == []
    journal = Journal(path)
    try:
        raise ConnectionError from TimeoutError()
    except ConnectionError as error:
        journal.write("failed", "a 0", "id", error)
    journal.close()
    whole = path.read_bytes()
    path.write_bytes(whole + whole[:-3])
    assert read(path) == [Entry("failed", "a 0", "id", "ConnectionError < TimeoutError")]
