"""What observers are told, and what the default one logs."""

import dataclasses
import logging

import anyio
import pytest

from stale_retry import (
    CLASSIC_SCHEDULE,
    AttemptsExhaustedError,
    RetryEvent,
    StaleSessionError,
    constant,
    retry_on_stale_session,
)
from stale_retry.testing import VersionedStore, no_waiting

pytestmark = pytest.mark.anyio


async def an_append(rejections, **options):
    store = VersionedStore()
    store.faults.stale = rejections
    policy = retry_on_stale_session(store.refresh, backoff=constant(1), jitter=None, name="append", **options)
    try:
        with no_waiting():
            await policy.call(store.append, store.open(), "secret payload")
    except StaleSessionError:
        pass


async def test_a_recovered_append_tells_each_retry_and_the_recovery():
    events = []
    await an_append(2, observers=events.append)
    told = [(event.kind, event.name, event.attempt, event.wait, event.reason) for event in events]
    assert told == [
        ("retrying", "append", 1, 1, None),
        ("retrying", "append", 2, 1, None),
        ("recovered", "append", 3, None, None),
    ]
    assert all(isinstance(event.error, StaleSessionError) for event in events)
    assert [round(event.elapsed) for event in events] == [0, 1, 2]


async def test_an_append_that_succeeds_at_once_tells_nothing():
    events = []
    await an_append(0, observers=events.append)
    assert events == []


async def test_an_append_that_gives_up_tells_why():
    events = []
    await an_append(9, observers=events.append, max_attempts=1)
    assert [(event.kind, event.reason, event.wait) for event in events] == [("gave_up", "max_attempts", None)]


async def test_every_observer_is_told_in_order():
    told = []
    await an_append(1, observers=[lambda event: told.append(1), lambda event: told.append(2)])
    assert told == [1, 2, 1, 2]


async def test_the_default_observer_logs(caplog):
    caplog.set_level(logging.DEBUG, "stale_retry")
    await an_append(1)
    await an_append(9, max_attempts=1)
    assert [(record.name, record.levelname) for record in caplog.records] == [
        ("stale_retry", "WARNING"),
        ("stale_retry", "INFO"),
        ("stale_retry", "ERROR"),
    ]
    assert "secret payload" not in caplog.text


async def test_nobody_is_told_if_the_policy_says_so(caplog):
    caplog.set_level(logging.DEBUG, "stale_retry")
    await an_append(1, observers=())
    assert caplog.records == []


async def test_levels_that_are_off_cost_no_message(caplog):
    caplog.set_level(logging.ERROR, "stale_retry")
    await an_append(1)
    assert caplog.records == []


def test_an_event_is_frozen_and_names_the_type_of_its_error():
    event = RetryEvent("retrying", "append", 1, 0.5, 0.1, StaleSessionError("secret"))
    with pytest.raises(dataclasses.FrozenInstanceError):
        event.kind = "recovered"
    assert event.error_type == "stale_retry.StaleSessionError"
    assert dataclasses.replace(event, error=KeyError()).error_type == "KeyError"
    assert dataclasses.replace(event, error=None).error_type is None


def test_the_seconds_in_the_queue_are_told(virtually):
    events, store = [], VersionedStore()
    policy = retry_on_stale_session(store.refresh, key=lambda session: session.id, jitter=None, observers=events.append)
    rejections = [StaleSessionError()]

    async def slow(session, event):
        await anyio.sleep(1)
        if event == "second" and rejections:
            raise rejections.pop()
        return await store.append(session, event)

    async def main():
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(policy.call, slow, store.open(), "first")
            await anyio.sleep(0.5)
            tasks.start_soon(policy.call, slow, store.open(), "second")

    virtually(main)
    assert [(event.kind, event.queued) for event in events] == [("retrying", 0.5), ("recovered", 0.5)]


async def test_a_reload_that_fails_is_told_as_the_error_that_it_was():
    events, store = [], VersionedStore()
    store.faults.stale, store.faults.refresh = 1, 1
    with no_waiting(), pytest.raises(StaleSessionError) as caught:
        await retry_on_stale_session(store.refresh, observers=events.append).call(store.append, store.open(), "event")
    assert isinstance(events[-1].error, ConnectionError)
    assert events[-1].error is caught.value.__cause__


def test_each_retry_and_each_give_up_is_logged(virtually, caplog):
    store = VersionedStore()
    store.faults.stale = 6
    caplog.set_level(logging.INFO, "stale_retry")

    async def main():
        with pytest.raises(AttemptsExhaustedError):
            await retry_on_stale_session(store.refresh, **CLASSIC_SCHEDULE, name="append").call(
                store.append, store.open(), "event"
            )

    virtually(main)
    assert [(record.levelname, record.message) for record in caplog.records] == [
        ("WARNING", "append: StaleSessionError, attempt 2 in 0.50 s (0.00 s so far)"),
        ("WARNING", "append: StaleSessionError, attempt 3 in 1.00 s (0.50 s so far)"),
        ("WARNING", "append: StaleSessionError, attempt 4 in 1.50 s (1.50 s so far)"),
        ("WARNING", "append: StaleSessionError, attempt 5 in 2.00 s (3.00 s so far)"),
        ("WARNING", "append: StaleSessionError, attempt 6 in 2.50 s (5.00 s so far)"),
        ("ERROR", "append: gave up after attempt 6 and 7.50 s: max_attempts (StaleSessionError)"),
    ]
