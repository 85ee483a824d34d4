"""What a retry helper must not do, one test a finding of the review of the first one that was proposed for google-adk.

The proposal is google/adk-python#3586, for the stale sessions of google/adk-python#1049: five retries after 0.5, 1,
1.5, 2 and 2.5 s, ninety seconds in all, each on the reloaded session.
"""

import logging

import anyio
import pytest

from stale_retry import (
    CLASSIC_SCHEDULE,
    AttemptsExhaustedError,
    DeadlineExceededError,
    SessionGoneError,
    StaleSessionError,
    retry_on_stale_session,
)
from stale_retry.testing import VersionedStore


@pytest.fixture
def store():
    return VersionedStore()


@pytest.fixture
def classic(store):
    return retry_on_stale_session(store.refresh, **CLASSIC_SCHEDULE)


def test_exhausted_attempts_raise(virtually, store, classic):
    store.faults.stale = 6

    async def main():
        with pytest.raises(AttemptsExhaustedError, match=r"gave up after 6 attempts in 7\.50 s") as caught:
            await classic.call(store.append, store.open(), "event")
        assert isinstance(caught.value.__cause__, StaleSessionError)

    virtually(main)
    assert store.appends == 6
    assert store.refreshes == 5
    assert store.events() == []


def test_an_expired_deadline_raises(virtually, store, classic):
    @classic
    async def append(session, event):
        await anyio.sleep(91)
        raise StaleSessionError

    async def main():
        with pytest.raises(DeadlineExceededError) as caught:
            await append(store.open(), "event")
        assert caught.value.attempts == 1

    virtually(main)
    assert store.refreshes == 0


def test_a_wait_that_would_pass_the_deadline_is_cut(virtually, store, classic):
    store.faults.stale = 99

    async def main():
        with pytest.raises(DeadlineExceededError):
            await classic.replace(deadline=4).call(store.append, store.open(), "event")
        return anyio.current_time()

    assert virtually(main) == pytest.approx(3.99)  # 0.5 + 1 + 1.5, and two more seconds would be five
    assert store.appends == 5


def test_a_gone_session_fails_fast_without_a_further_attempt(virtually, store, classic):
    async def main():
        session = store.open()
        store.faults.gone = True
        with pytest.raises(SessionGoneError):
            await classic.call(store.append, session, "event")
        return anyio.current_time()

    assert virtually(main) == 0.5
    assert store.appends == 1
    assert store.refreshes == 1


class TestTheRefreshedSessionReachesTheCaller:
    def test_returned_by_the_append(self, virtually, store, classic):
        @classic
        async def append(session, event):
            await store.append(session, event)
            return session

        async def main():
            session = store.open()
            await store.append(store.open(), "theirs")
            session = await append(session, "first")
            await append(session, "second")

        virtually(main)
        assert store.events() == ["theirs", "first", "second"]
        assert store.appends == 1 + 2 + 1

    def test_updated_in_place_by_the_hook(self, virtually, store):
        async def refresh(session):
            fresh = await store.refresh(session)
            session.version, session.events = fresh.version, fresh.events
            return session

        append = retry_on_stale_session(refresh, **CLASSIC_SCHEDULE)(store.append)

        async def main():
            session = store.open()
            await store.append(store.open(), "theirs")
            await append(session, "first")
            await append(session, "second")
            return session.events

        assert virtually(main) == ["theirs", "first", "second"]
        assert store.appends == 1 + 2 + 1

    def test_as_the_session_of_the_attempt(self, virtually, store, classic):
        async def main():
            session = store.open()
            await store.append(store.open(), "theirs")
            async for attempt in classic.attempts(session):
                with attempt:
                    await store.append(attempt.session, "first")
            await store.append(attempt.session, "second")

        virtually(main)
        assert store.events() == ["theirs", "first", "second"]


def test_other_value_errors_are_not_retried(virtually, store, classic):
    error = ValueError("the event has no author")

    @classic
    async def append(session, event):
        raise error

    async def main():
        with pytest.raises(ValueError, match="no author") as caught:
            await append(store.open(), "event")
        return caught.value, anyio.current_time()

    assert virtually(main) == (error, 0)
    assert store.refreshes == 0


def test_each_retry_and_each_give_up_is_logged(virtually, store, classic, caplog):
    store.faults.stale = 6
    caplog.set_level(logging.INFO, "stale_retry")

    async def main():
        with pytest.raises(AttemptsExhaustedError):
            await classic.replace(name="append").call(store.append, store.open(), "event")

    virtually(main)
    assert [(record.levelname, record.message) for record in caplog.records] == [
        ("WARNING", "append: StaleSessionError, attempt 2 in 0.50 s (0.00 s so far)"),
        ("WARNING", "append: StaleSessionError, attempt 3 in 1.00 s (0.50 s so far)"),
        ("WARNING", "append: StaleSessionError, attempt 4 in 1.50 s (1.50 s so far)"),
        ("WARNING", "append: StaleSessionError, attempt 5 in 2.00 s (3.00 s so far)"),
        ("WARNING", "append: StaleSessionError, attempt 6 in 2.50 s (5.00 s so far)"),
        ("ERROR", "append: gave up after attempt 6 and 7.50 s: max_attempts (StaleSessionError)"),
    ]
