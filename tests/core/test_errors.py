"""How a call ends without being stored: which error, with what facts, and what it says."""

import copy
import pickle
import sys

import pytest

from stale_retry import (
    AttemptsExhaustedError,
    DeadlineExceededError,
    SessionGoneError,
    SessionRefreshError,
    StaleSessionError,
    StaleSessionRetryError,
    constant,
    retry_on_stale_session,
)
from stale_retry.testing import VersionedStore, no_waiting

pytestmark = pytest.mark.anyio

KINDS = [AttemptsExhaustedError, DeadlineExceededError, SessionGoneError, SessionRefreshError]

ENDS = {
    "max_attempts": (AttemptsExhaustedError, {"max_attempts": 3}, "max_attempts were made", 3),
    "stop": (AttemptsExhaustedError, {"stop": lambda state: True}, "the stop strategy ended it", 1),
    "deadline": (
        DeadlineExceededError,
        {"deadline": 2.5},
        "the deadline leaves no time for another attempt",
        4,
    ),
    "session_gone": (
        SessionGoneError,
        {"refresh": lambda session: None},
        "the refresh hook returned None, so the session is gone (if the hook updates it in place, return it)",
        1,
    ),
    "refresh_failed": (SessionRefreshError, {}, "the refresh hook or find_stored could not reload the session", 1),
}


async def the_end(reason, **options):
    """The error that the call ended with, the store's last one, and what was observed."""
    _, ending, _, _ = ENDS[reason]
    store = VersionedStore()
    store.faults.stale = 99
    store.faults.refresh = reason == "refresh_failed"
    events = []
    last = None

    usual = {"refresh": store.refresh, "backoff": constant(1), "jitter": None, "observers": events.append}

    @retry_on_stale_session(**{**usual, "name": "append", **ending, **options})
    async def append(session, event):
        nonlocal last
        try:
            return await store.append(session, event)
        except StaleSessionError as error:
            last = error
            raise

    with no_waiting(), pytest.raises(Exception) as caught:
        await append(store.open(), "secret payload")
    assert store.events() == []
    return caught.value, last, events


@pytest.mark.parametrize("reason", ENDS)
async def test_each_end_has_its_error_with_the_facts(reason):
    kind, _, why, attempts = ENDS[reason]
    error, last, events = await the_end(reason)
    assert type(error) is kind
    assert error.attempts == attempts
    assert error.last_error is last
    assert error.elapsed == pytest.approx(events[-1].elapsed, abs=0.5)
    noun = "attempt" if attempts == 1 else "attempts"
    assert f"append gave up after {attempts} {noun} in {error.elapsed:.2f} s: {why}. " in str(error)
    gone = reason == "session_gone"
    assert ("until the session is created again" if gone else "send the event again if it lacks it") in str(error)
    assert "secret payload" not in str(error)
    assert (events[-1].kind, events[-1].reason, events[-1].attempt) == ("gave_up", reason, attempts)
    if reason == "refresh_failed":
        assert isinstance(error.__cause__, ConnectionError)
        assert error.__cause__.__cause__ is last
    else:
        assert error.__cause__ is last


@pytest.mark.parametrize("reason", ENDS)
async def test_with_reraise_it_is_the_stores_own_error_with_the_facts_in_a_note(reason):
    _, _, why, attempts = ENDS[reason]
    error, last, _ = await the_end(reason, reraise=True)
    if reason == "refresh_failed":
        assert type(error) is ConnectionError
        assert error.__cause__ is last
    else:
        assert error is last
    if sys.version_info >= (3, 11):
        [note] = error.__notes__
        assert note.startswith(f"stale_retry: append gave up after {attempts} attempt")
        assert why in note


async def test_every_give_up_can_be_caught_as_what_it_is():
    for kind in KINDS:
        assert issubclass(kind, StaleSessionRetryError)
    assert issubclass(StaleSessionRetryError, StaleSessionError)
    assert issubclass(StaleSessionError, ValueError)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("duplicate", [lambda error: pickle.loads(pickle.dumps(error)), copy.copy, copy.deepcopy])
async def test_the_errors_can_be_pickled_and_copied(kind, duplicate):
    error = kind("gave up", attempts=3, elapsed=1.5, last_error=StaleSessionError("rejected"))
    again = duplicate(error)
    assert type(again) is kind
    assert str(again) == "gave up"
    assert (again.attempts, again.elapsed) == (3, 1.5)
    assert str(again.last_error) == "rejected"


@pytest.mark.parametrize("kind", [KeyError, ValueError])  # a StaleSessionError is a ValueError, but not the reverse
async def test_an_error_that_is_not_stale_propagates_as_it_is(kind):
    store = VersionedStore()
    error = kind("other")
    events = []

    @retry_on_stale_session(store.refresh, observers=events.append)
    async def append(session, event):
        raise error

    with pytest.raises(kind) as caught:
        await append(store.open(), "event")
    assert caught.value is error
    assert error.__cause__ is None
    assert error.__context__ is None
    assert events == []
    assert store.refreshes == 0


async def test_an_error_that_is_not_stale_propagates_as_it_is_from_a_later_attempt_too():
    store = VersionedStore()
    error = KeyError("other")
    errors = [StaleSessionError(), error]

    @retry_on_stale_session(store.refresh, backoff=constant(0), observers=())
    async def append(session, event):
        raise errors.pop(0)

    with pytest.raises(KeyError) as caught:
        await append(store.open(), "event")
    assert caught.value is error
    assert store.refreshes == 1


async def test_refresh_is_not_called_after_the_last_attempt():
    for attempts in (1, 2, 5):
        store = VersionedStore()
        store.faults.stale = 99
        with no_waiting(), pytest.raises(AttemptsExhaustedError):
            await retry_on_stale_session(store.refresh, max_attempts=attempts, observers=()).call(
                store.append, store.open(), "event"
            )
        assert (store.appends, store.refreshes) == (attempts, attempts - 1)


class TestARefreshErrorThatOnAccepts:
    """It counts as a failed attempt."""

    def policy(self, store, **options):
        return retry_on_stale_session(
            store.refresh, on=(StaleSessionError, ConnectionError), backoff=constant(0), observers=(), **options
        )

    async def test_the_call_goes_on_and_the_session_is_reloaded_again(self):
        store = VersionedStore()
        store.faults.stale, store.faults.refresh = 1, 3
        assert await self.policy(store).call(store.append, store.open(), "event") == "event"
        assert (store.appends, store.refreshes) == (2, 4)

    async def test_it_counts_against_max_attempts_and_is_no_call_of_the_append(self):
        store = VersionedStore()
        store.faults.stale, store.faults.refresh = 1, 9
        with pytest.raises(AttemptsExhaustedError) as caught:
            await self.policy(store, max_attempts=4).call(store.append, store.open(), "event")
        assert caught.value.attempts == 1
        assert isinstance(caught.value.last_error, ConnectionError)
        assert (store.appends, store.refreshes) == (1, 3)

    async def test_another_refresh_error_after_it_ends_the_call(self):
        errors = [ConnectionError("first"), KeyError("second")]

        def refresh(session):
            raise errors.pop(0)

        @retry_on_stale_session(refresh, on=(StaleSessionError, ConnectionError), backoff=constant(0), observers=())
        async def append(session):
            raise StaleSessionError

        with pytest.raises(SessionRefreshError) as caught:
            await append("session")
        assert caught.value.attempts == 1
        assert isinstance(caught.value.__cause__, KeyError)
        assert isinstance(caught.value.last_error, ConnectionError)

    async def test_an_on_that_raises_over_it_leads_to_all_of_them(self):
        stale, broken = StaleSessionError("stale"), ConnectionError("unreadable")

        def refresh(session):
            raise broken

        def on(error):
            if error is broken:
                raise ZeroDivisionError
            return True

        @retry_on_stale_session(refresh, on=on, backoff=constant(0), observers=())
        async def append(session):
            raise stale

        with pytest.raises(ZeroDivisionError) as caught:
            await append("session")
        assert caught.value.__cause__ is broken or caught.value.__context__ is broken
        assert broken.__cause__ is stale
