"""The default observer: readable lines, and the same as fields."""

import json
import logging

import pytest

from stale_retry import AttemptsExhaustedError, RetryEvent, StaleSessionError, linear, retry_on_stale_session
from stale_retry.observers.logging import log_event
from stale_retry.testing import Faults, VersionedStore, no_waiting

STALE = StaleSessionError("version 3 is stale")
RETRYING = RetryEvent("retrying", "append_event", 2, 0.214, 0.338, STALE)
IN_DOUBT = RetryEvent("retrying", "append_event", 2, 0.214, 0.338, ConnectionError("lost"), in_doubt=True)
RECOVERED = RetryEvent("recovered", "append_event", 3, None, 0.55, STALE)
GAVE_UP = RetryEvent("gave_up", "append_event", 6, None, 7.5, STALE, "max_attempts")


@pytest.fixture
def logged(caplog):
    caplog.set_level(logging.DEBUG, "stale_retry")
    return caplog


@pytest.mark.parametrize(
    ("event", "level", "line"),
    [
        (RETRYING, "WARNING", "append_event: StaleSessionError, attempt 3 in 0.21 s (0.34 s so far)"),
        (
            IN_DOUBT,
            "WARNING",
            "append_event: ConnectionError, may be stored, attempt 3 in 0.21 s (0.34 s so far)",
        ),
        (RECOVERED, "INFO", "append_event: stored after StaleSessionError, attempt 3, 0.55 s"),
        (GAVE_UP, "ERROR", "append_event: gave up after attempt 6 and 7.50 s: max_attempts (StaleSessionError)"),
    ],
    ids=lambda value: getattr(value, "kind", None),
)
def test_each_kind_of_event_is_one_readable_line_at_its_level(logged, event, level, line):
    log_event(event)
    assert [(r.name, r.levelname, r.getMessage()) for r in logged.records] == [("stale_retry", level, line)]


@pytest.mark.parametrize("event", [RETRYING, RECOVERED, GAVE_UP], ids=lambda event: event.kind)
def test_every_field_of_the_event_is_in_the_record_for_structured_handlers(logged, event):
    log_event(event)
    (record,) = logged.records
    fields = {name: value for name, value in vars(record).items() if name.startswith("stale_retry.")}
    assert fields == {
        "stale_retry.kind": event.kind,
        "stale_retry.name": "append_event",
        "stale_retry.attempt": event.attempt,
        "stale_retry.wait": event.wait,
        "stale_retry.elapsed": event.elapsed,
        "stale_retry.error": "stale_retry.StaleSessionError",
        "stale_retry.reason": event.reason,
    }
    assert json.loads(json.dumps(fields)) == fields


def test_a_level_that_is_off_makes_no_record(caplog):
    caplog.set_level(logging.ERROR, "stale_retry")
    for event in (RETRYING, RECOVERED, GAVE_UP):
        log_event(event)
    assert [record.levelname for record in caplog.records] == ["ERROR"]


async def append_through(store, **options):
    retrying = retry_on_stale_session(store.refresh, backoff=linear(0.5), jitter=None, name="append_event", **options)
    with no_waiting() as events:
        await retrying.call(store.append, store.open(), "event")
    return events


@pytest.mark.anyio
async def test_a_policy_without_observers_logs(logged):
    first, second, recovered = await append_through(VersionedStore(Faults(stale=2)))
    assert [record.getMessage() for record in logged.records] == [
        f"append_event: StaleSessionError, attempt 2 in 0.50 s ({first.elapsed:.2f} s so far)",
        f"append_event: StaleSessionError, attempt 3 in 1.00 s ({second.elapsed:.2f} s so far)",
        f"append_event: stored after StaleSessionError, attempt 3, {recovered.elapsed:.2f} s",
    ]


@pytest.mark.anyio
async def test_a_policy_that_gives_up_logs_an_error(logged):
    with pytest.raises(AttemptsExhaustedError):
        await append_through(VersionedStore(Faults(stale=9)), max_attempts=2)
    last = logged.records[-1]
    assert last.levelname == "ERROR"
    assert last.getMessage().startswith("append_event: gave up after attempt 2 and ")
    assert last.getMessage().endswith(" s: max_attempts (StaleSessionError)")


@pytest.mark.anyio
async def test_a_policy_with_no_observers_at_all_logs_nothing(logged):
    await append_through(VersionedStore(Faults(stale=2)), observers=())
    assert logged.records == []


@pytest.mark.anyio
async def test_an_append_that_is_stored_at_once_logs_nothing(logged):
    await append_through(VersionedStore())
    assert logged.records == []


@pytest.mark.anyio
async def test_the_default_observer_combines_with_others(logged):
    told = []
    await append_through(VersionedStore(Faults(stale=1)), observers=[log_event, told.append])
    assert [event.kind for event in told] == ["retrying", "recovered"]
    assert [record.levelname for record in logged.records] == ["WARNING", "INFO"]
