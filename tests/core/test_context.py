"""`limits` and `no_waiting`: what one context changes for the calls made in it."""

import anyio
import pytest

from stale_retry import (
    AttemptsExhaustedError,
    DeadlineExceededError,
    StaleSessionError,
    constant,
    limits,
    retry_on_stale_session,
)
from stale_retry._context import retry_checks
from stale_retry.testing import VersionedStore, no_waiting


@pytest.fixture
def store():
    store = VersionedStore()
    store.faults.stale = 1000
    return store


def policy(store, **options):
    return retry_on_stale_session(store.refresh, **{"backoff": constant(1), "jitter": None, "observers": (), **options})


@pytest.mark.anyio
@pytest.mark.parametrize("is_async", [True, False])
async def test_what_an_attempt_on_a_refreshed_session_must_pass_ends_the_call_with_its_error(store, is_async):
    store.faults.stale = 1
    checked = []

    def plain():
        checked.append(store.appends)
        raise LookupError("the lease is lost")

    async def asynchronous():
        plain()

    token = retry_checks.set((asynchronous if is_async else plain,))
    try:
        with pytest.raises(LookupError, match="the lease is lost"):
            await policy(store, backoff=constant(0)).call(store.append, store.open(), "event")
    finally:
        retry_checks.reset(token)
    assert checked == [1]
    assert store.events() == []


class TestLimits:
    @pytest.mark.anyio
    async def test_max_attempts_is_what_the_context_says(self, store):
        with no_waiting(), limits(max_attempts=2), pytest.raises(AttemptsExhaustedError) as caught:
            await policy(store, max_attempts=5).call(store.append, store.open(), "event")
        assert caught.value.attempts == 2

    def test_deadline_is_what_the_context_says(self, store, virtually):
        async def main():
            with limits(deadline=2.5), pytest.raises(DeadlineExceededError) as caught:
                await policy(store).call(store.append, store.open(), "event")
            return caught.value.attempts, anyio.current_time()

        assert virtually(main) == (4, pytest.approx(2.49))

    def test_a_longer_deadline_is_possible_too(self, store, virtually):
        async def main():
            with limits(deadline=7.5), pytest.raises(DeadlineExceededError) as caught:
                await policy(store, deadline=2).call(store.append, store.open(), "event")
            return caught.value.attempts

        assert virtually(main) == 9

    def test_inner_blocks_override_outer_ones_and_leave_the_rest(self, store, virtually):
        async def main():
            with limits(max_attempts=9, deadline=100):
                with limits(max_attempts=2), pytest.raises(AttemptsExhaustedError):
                    await policy(store, deadline=None, max_attempts=5).call(store.append, store.open(), "event")
                assert store.appends == 2
                with pytest.raises(AttemptsExhaustedError):
                    await policy(store).call(store.append, store.open(), "event")
            return store.appends

        assert virtually(main) == 2 + 9

    def test_what_an_inner_block_does_not_say_stays_as_the_outer_one_says(self, store, virtually):
        async def main():
            with limits(deadline=2.5), limits(max_attempts=50), pytest.raises(DeadlineExceededError):
                await policy(store).call(store.append, store.open(), "event")
            with limits(max_attempts=2), limits(deadline=50), pytest.raises(AttemptsExhaustedError):
                await policy(store).call(store.append, store.open(), "event")
            return store.appends

        assert virtually(main) == 4 + 2

    def test_they_are_checked_as_the_options_are(self):
        with pytest.raises(ValueError, match="max_attempts must be at least 1"):
            limits(max_attempts=0)
        with pytest.raises(TypeError, match="deadline must be seconds"):
            limits(deadline="2")
        with pytest.raises(ValueError, match="deadline must be finite"):
            limits(deadline=float("inf"))

    def test_an_attempt_is_cancelled_after_the_time_that_the_context_leaves(self, virtually):
        # Once the first attempt went by the policy's deadline alone.
        @retry_on_stale_session(lambda session: session, attempt_timeout=30, deadline=60, observers=())
        async def append(session):
            await anyio.sleep_forever()

        async def main():
            with limits(deadline=2), pytest.raises(TimeoutError):
                await append("session")
            return anyio.current_time()

        assert virtually(main) == 2

    def test_they_hold_for_the_queue_too(self, virtually):
        async def append(session, seconds):
            await anyio.sleep(seconds)
            return anyio.current_time()

        async def main():
            queued = retry_on_stale_session(lambda session: session, key=str, observers=())
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(queued.call, append, "session", 60)
                await anyio.sleep(1)
                with limits(deadline=2):
                    return await queued.call(append, "session", 0)

        assert virtually(main) == pytest.approx(2.5)  # without the slot, when a quarter of the deadline is left


class TestNoWaiting:
    def test_waits_take_no_time_and_count_as_if_they_had(self, store, virtually):
        async def main():
            with no_waiting() as events, pytest.raises(DeadlineExceededError) as caught:
                await policy(store, deadline=3.5).call(store.append, store.open(), "event")
            assert [event.wait for event in events] == [1, 1, 1, pytest.approx(0.49), None]
            assert [event.kind for event in events] == ["retrying"] * 4 + ["gave_up"]
            return caught.value.attempts, caught.value.elapsed, anyio.current_time()

        assert virtually(main) == (5, pytest.approx(3.49), 0)

    def test_a_wait_lets_others_go_on_all_the_same(self, virtually):
        others = []

        async def append(session, event):
            if not others:
                raise StaleSessionError
            return event

        async def another():
            others.append("went on")

        async def main():
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(another)
                with no_waiting():
                    retrying = retry_on_stale_session(lambda session: session, backoff=constant(1), jitter=None)
                    return await retrying.call(append, "session", "event")

        assert virtually(main) == "event"

    def test_a_call_that_outlives_the_block_is_no_longer_listened_to(self, store, virtually):
        store.faults.delay = 1

        async def append():
            with pytest.raises(AttemptsExhaustedError):
                await policy(store, max_attempts=3).call(store.append, store.open(), "event")

        async def main():
            async with anyio.create_task_group() as tasks:
                with no_waiting() as events:
                    tasks.start_soon(append)
                    await anyio.sleep(2.5)  # one append, one reload, half an append
            return [event.kind for event in events]

        assert virtually(main) == ["retrying"]
        assert store.appends == 3
