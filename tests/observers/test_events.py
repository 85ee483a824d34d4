"""What an observer is told: the whole record, in order, of each call."""

import dataclasses

import anyio
import pytest
from tenacity import stop_after_attempt

from stale_retry import (
    InDoubtError,
    RetryEvent,
    StaleSessionError,
    StaleSessionRetryError,
    linear,
    retry_on_stale_session,
)
from stale_retry.testing import Faults, VersionedStore, no_waiting

pytestmark = pytest.mark.anyio


async def by_decorator(retrying, store, session, event):
    return await retrying(store.append)(session, event)


async def by_call(retrying, store, session, event):
    return await retrying.call(store.append, session, event)


async def by_attempts(retrying, store, session, event):
    async for attempt in retrying.attempts(session):
        with attempt:
            await store.append(attempt.session, event)


@pytest.fixture(params=[by_decorator, by_call, by_attempts], ids=lambda way: way.__name__)
def way(request):
    return request.param


class Told(list):
    """An observer that keeps what it is told, seconds to the nearest ten so that they can be compared."""

    def __call__(self, event):
        self.append(dataclasses.replace(event, elapsed=round(event.elapsed, -1), queued=round(event.queued, -1)))


def policy(store, told, **options):
    """Waits 500, 1000, 1500 ... seconds."""
    defaults = {"backoff": linear(500), "jitter": None, "max_attempts": 99, "deadline": None, "name": "append_event"}
    return retry_on_stale_session(store.refresh, observers=told, **{**defaults, **options})


class Rejected(VersionedStore):
    """Rejects appends with errors that the test knows."""

    def __init__(self, times, **faults):
        super().__init__(Faults(**faults))
        self.errors = [StaleSessionError(f"rejection {n}") for n in range(1, times + 1)]
        self._left = list(self.errors)

    async def append(self, session, event):
        if self._left:
            raise self._left.pop(0)
        return await super().append(session, event)


def retrying_event(attempt, error, elapsed=0):
    return RetryEvent("retrying", "append_event", attempt, attempt * 500, elapsed, error)


async def test_an_append_that_recovers_reports_each_retry_and_then_its_recovery(way):
    store, told = Rejected(3), Told()
    with no_waiting():
        await way(policy(store, told), store, store.open(), "event")
    first, second, third = store.errors
    assert told == [
        retrying_event(1, first, 0),
        retrying_event(2, second, 500),
        retrying_event(3, third, 1500),
        RetryEvent("recovered", "append_event", 4, None, 3000, third),
    ]


async def test_an_append_that_is_settled_by_a_hook_counts_as_recovered(way):
    store, told = Rejected(1), Told()
    with no_waiting():
        retrying = policy(store, told, on_conflict=lambda conflict: conflict.settle("stored"))
        await way(retrying, store, store.open(), "event")
    (error,) = store.errors
    assert told == [retrying_event(1, error), RetryEvent("recovered", "append_event", 1, None, 500, error)]


@pytest.mark.parametrize(
    ("options", "retries", "attempt", "elapsed", "reason"),
    [
        ({"max_attempts": 2}, 1, 2, 500, "max_attempts"),
        ({"max_attempts": 1}, 0, 1, 0, "max_attempts"),
        ({"stop": stop_after_attempt(2)}, 1, 2, 500, "stop"),
    ],
)
async def test_an_append_that_gives_up_reports_the_reason_last(way, options, retries, attempt, elapsed, reason):
    store, told = Rejected(9), Told()
    with no_waiting(), pytest.raises(StaleSessionRetryError):
        await way(policy(store, told, **options), store, store.open(), "event")
    assert told == [
        *(retrying_event(n, store.errors[n - 1], sum(k * 500 for k in range(1, n))) for n in range(1, retries + 1)),
        RetryEvent("gave_up", "append_event", attempt, None, elapsed, store.errors[attempt - 1], reason),
    ]


async def test_a_deadline_cuts_the_last_wait_that_is_reported(way):
    store, told = Rejected(9), Told()
    with no_waiting(), pytest.raises(StaleSessionRetryError):
        await way(policy(store, told, deadline=2000), store, store.open(), "event")
    assert [(event.kind, event.attempt, round(event.wait or 0, -1), event.elapsed) for event in told] == [
        ("retrying", 1, 500, 0),
        ("retrying", 2, 1000, 500),
        ("retrying", 3, 500, 1500),
        ("gave_up", 4, 0, 2000),
    ]
    assert told[-1].reason == "deadline"


async def test_a_session_that_is_gone_is_reported_with_the_stale_error(way):
    store, told = Rejected(1, gone=True), Told()
    with no_waiting(), pytest.raises(StaleSessionRetryError):
        await way(policy(store, told), store, store.open(), "event")
    (error,) = store.errors
    assert told == [
        retrying_event(1, error),
        RetryEvent("gave_up", "append_event", 1, None, 500, error, "session_gone"),
    ]


async def test_a_refresh_that_failed_is_reported_with_its_own_error(way):
    store, told = Rejected(1, refresh=1), Told()
    with no_waiting(), pytest.raises(StaleSessionRetryError) as gave_up:
        await way(policy(store, told), store, store.open(), "event")
    (error,) = store.errors
    assert isinstance(gave_up.value.__cause__, ConnectionError)
    assert told == [
        retrying_event(1, error),
        RetryEvent("gave_up", "append_event", 1, None, 500, gave_up.value.__cause__, "refresh_failed"),
    ]


async def test_a_look_for_the_event_that_failed_is_reported_as_a_failed_refresh(way):
    def find_stored(session):
        raise LookupError

    store, told = Rejected(1), Told()
    with no_waiting(), pytest.raises(InDoubtError) as gave_up:
        await way(policy(store, told, find_stored=find_stored), store, store.open(), "event")
    assert isinstance(gave_up.value.__cause__, LookupError)
    assert [(event.kind, event.reason) for event in told] == [("retrying", None), ("gave_up", "refresh_failed")]
    assert told[-1].error is gave_up.value.__cause__


async def test_an_append_that_find_stored_finds_counts_as_recovered(way):
    store, told = Rejected(1), Told()
    with no_waiting():
        await way(policy(store, told, find_stored=lambda session: True), store, store.open(), "event")
    (error,) = store.errors
    assert told == [retrying_event(1, error), RetryEvent("recovered", "append_event", 1, None, 500, error)]


async def test_what_may_be_stored_is_reported_as_in_doubt(way):
    store, told = Rejected(0, lost_acknowledgements=9), Told()
    options = {"in_doubt": ConnectionError, "on_conflict": lambda conflict: None, "max_attempts": 2}
    with no_waiting(), pytest.raises(InDoubtError):
        await way(policy(store, told, **options), store, store.open(), "event")
    assert [(event.kind, event.in_doubt) for event in told] == [("retrying", True), ("gave_up", True)]


async def test_a_conflict_hook_that_aborts_is_reported_with_its_own_error(way):
    class Overtaken(Exception):
        pass

    def abort(conflict):
        raise Overtaken

    store, told = Rejected(1), Told()
    with no_waiting(), pytest.raises(Overtaken) as overtaken:
        await way(policy(store, told, on_conflict=abort), store, store.open(), "event")
    (error,) = store.errors
    assert told == [
        retrying_event(1, error),
        RetryEvent("gave_up", "append_event", 1, None, 500, overtaken.value, "aborted"),
    ]


async def test_a_first_attempt_that_is_stored_reports_nothing(way):
    store, told = Rejected(0), Told()
    await way(policy(store, told), store, store.open(), "event")
    assert (store.events(), told) == (["event"], [])


async def test_an_error_that_is_not_stale_reports_nothing(way):
    store, told = Rejected(0, lost_acknowledgements=1), Told()
    with pytest.raises(ConnectionError):
        await way(policy(store, told), store, store.open(), "event")
    assert told == []


async def test_an_error_that_is_not_stale_after_a_retry_reports_no_outcome(way):
    store, told = Rejected(1, lost_acknowledgements=1), Told()
    with no_waiting(), pytest.raises(ConnectionError):
        await way(policy(store, told), store, store.open(), "event")
    assert told == [retrying_event(1, store.errors[0])]


async def test_a_cancelled_wait_reports_no_outcome(way):
    store, told = Rejected(1), Told()
    with anyio.CancelScope() as scope:
        await way(policy(store, [told, lambda event: scope.cancel()]), store, store.open(), "event")
    assert scope.cancelled_caught
    assert told == [retrying_event(1, store.errors[0])]


async def test_each_of_many_concurrent_appends_has_a_whole_record_of_its_own(way):
    store, told, writers = VersionedStore(), Told(), 12
    retrying = policy(store, told)
    sessions = [store.open() for _ in range(writers)]
    own = {}

    async def write(n):
        with no_waiting() as own[n]:
            await way(retrying.replace(name=f"writer {n}"), store, sessions[n], n)

    async with anyio.create_task_group() as group:
        for n in range(writers):
            group.start_soon(write, n)

    assert sorted(store.events()) == list(range(writers))
    attempts = []
    for n in range(writers):
        record = [event for event in told if event.name == f"writer {n}"]
        seen_by_itself = Told()
        for event in own[n]:
            seen_by_itself(event)
        assert seen_by_itself == record
        attempts.append(len(record) or 1)
        elapsed = [sum(k * 500 for k in range(1, attempt)) for attempt in range(1, attempts[-1] + 1)]
        assert [(e.kind, e.attempt, e.wait, e.elapsed, e.reason) for e in record] == (
            [("retrying", k, k * 500, elapsed[k - 1], None) for k in range(1, attempts[-1])]
            + ([("recovered", attempts[-1], None, elapsed[-1], None)] if record else [])
        )
    assert min(attempts) == 1
    assert max(attempts) > 1


async def test_observers_are_told_in_the_order_they_were_given(way):
    store, order = Rejected(1), []
    observers = [lambda event: order.append(("first", event.kind)), lambda event: order.append(("second", event.kind))]
    with no_waiting():
        await way(policy(store, observers), store, store.open(), "event")
    assert order == [("first", "retrying"), ("second", "retrying"), ("first", "recovered"), ("second", "recovered")]


async def test_an_observer_that_raises_disturbs_neither_the_append_nor_the_next_observer(way, caplog):
    def broken(event):
        raise KeyError("broken observer")

    store, told = Rejected(1), Told()
    with no_waiting() as events:
        await way(policy(store, [broken, told]), store, store.open(), "event")
    assert store.events() == ["event"]
    assert [event.kind for event in told] == [event.kind for event in events] == ["retrying", "recovered"]
    assert [(record.levelname, record.name) for record in caplog.records] == [("ERROR", "stale_retry")] * 2
    assert "broken observer" in caplog.text


async def test_an_event_cannot_be_changed_by_an_observer():
    event = RetryEvent("recovered", "append_event", 2, None, 500, StaleSessionError())
    with pytest.raises(dataclasses.FrozenInstanceError):
        event.attempt = 3


@pytest.mark.parametrize(
    ("error", "name"),
    [
        (None, None),
        (TimeoutError(), "TimeoutError"),
        (StaleSessionError("text"), "stale_retry.StaleSessionError"),
    ],
)
async def test_the_error_type_is_the_qualified_name_of_the_error(error, name):
    assert RetryEvent("gave_up", "append_event", 2, None, 500, error, "aborted").error_type == name
