"""What observers are told, and what the default one logs."""

import dataclasses
import logging

import anyio
import pytest

from stale_retry import RetryEvent, StaleSessionError, constant, retry_on_stale_session
from stale_retry.testing import VersionedStore, no_waiting

from .ways import append_in

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


def test_the_seconds_at_every_gate_are_summed_up(virtually):
    class Busy:
        def __init__(self, seconds):
            self.seconds = seconds

        def __call__(self, session):
            return self

        async def __aenter__(self):
            await anyio.sleep(self.seconds)

        async def __aexit__(self, *_):
            pass

    events, store = [], VersionedStore()
    store.faults.stale = 2
    policy = retry_on_stale_session(
        store.refresh, gate=[Busy(1), Busy(3)], backoff=constant(0), jitter=None, observers=events.append
    )
    virtually(lambda: policy.call(store.append, store.open(), "event"))
    assert [(event.kind, event.queued) for event in events] == [("retrying", 0), ("retrying", 4), ("recovered", 8)]


@pytest.mark.parametrize("way", ["decorator", "with", "async with"])
def test_the_seconds_that_a_gate_takes_to_be_left_are_none_of_them(virtually, way):
    events, store = [], VersionedStore()

    class Slow:
        def __init__(self):
            self.lock = anyio.Lock()

        def __call__(self, session):
            return self

        async def __aenter__(self):
            await self.lock.acquire()

        async def __aexit__(self, *_):
            await anyio.sleep(1)
            self.lock.release()

    policy = retry_on_stale_session(
        store.refresh, gate=Slow(), backoff=constant(0), jitter=None, observers=events.append
    )

    async def main():
        await append_in(way, policy, store.append, store.open(), "event")

    store.faults.stale = 3
    virtually(main)
    assert [event.queued for event in events] == [0, 0, 0, 0]


async def test_a_reload_that_fails_is_told_as_the_error_that_it_was():
    events, store = [], VersionedStore()
    store.faults.stale, store.faults.refresh = 1, 1
    with no_waiting(), pytest.raises(StaleSessionError) as caught:
        await retry_on_stale_session(store.refresh, observers=events.append).call(store.append, store.open(), "event")
    assert isinstance(events[-1].error, ConnectionError)
    assert events[-1].error is caught.value.__cause__
