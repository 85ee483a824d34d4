"""The deadline is used: the last wait is cut, once, so that a last attempt fits in."""

import statistics
from datetime import timedelta

import anyio
import pytest

from stale_retry import (
    DeadlineExceededError,
    StaleSessionError,
    constant,
    full_jitter,
    linear,
    retry_on_stale_session,
    retry_with,
)


def refresh(session):
    return session


def always_stale(**options):
    @retry_on_stale_session(**{"refresh": refresh, "jitter": None, "observers": (), **options})
    async def append(session):
        raise StaleSessionError

    return append


async def the_end_of(call):
    """What the call raised, and when."""
    with pytest.raises(Exception) as caught:
        await call
    return caught.value, anyio.current_time()


class TestWaiting:
    def test_a_wait_that_would_pass_the_deadline_is_cut_for_a_last_attempt(self, virtually):
        async def main():
            return await the_end_of(always_stale(backoff=constant(10), deadline=25)("session"))

        error, at = virtually(main)
        assert isinstance(error, DeadlineExceededError)
        assert (error.attempts, error.elapsed, at) == (4, pytest.approx(24.99), pytest.approx(24.99))
        assert "the deadline leaves no time for another attempt" in str(error)

    def test_a_wait_that_would_end_with_the_deadline_is_cut_too(self, virtually):
        async def main():
            return await the_end_of(always_stale(backoff=constant(10), deadline=20)("session"))

        error, at = virtually(main)
        assert isinstance(error, DeadlineExceededError)
        assert (error.attempts, at) == (3, pytest.approx(19.99))

    def test_an_endless_wait_is_not_begun_either(self, virtually):
        async def main():
            return await the_end_of(
                always_stale(backoff=lambda state: float("inf"), deadline=None, max_attempts=3)("session")
            )

        error, at = virtually(main)
        assert isinstance(error, DeadlineExceededError)
        assert at == 0

    def test_the_jitter_is_part_of_the_wait(self, virtually):
        async def main():
            return await the_end_of(always_stale(backoff=constant(1), jitter=lambda delay: 100, deadline=25)("session"))

        error, at = virtually(main)
        assert (error.attempts, at) == (2, pytest.approx(24.99))

    def test_a_timedelta_is_a_deadline(self, virtually):
        async def main():
            return await the_end_of(always_stale(backoff=linear(1), deadline=timedelta(seconds=5))("session"))

        error, at = virtually(main)
        assert (error.attempts, at) == (4, pytest.approx(4.99))

    def test_without_a_deadline_there_is_none(self, virtually):
        async def main():
            return await the_end_of(always_stale(backoff=constant(1e6), deadline=None, max_attempts=4)("session"))

        error, at = virtually(main)
        assert (error.attempts, at) == (4, 3e6)


class TestIsUsed:
    """The last wait is cut, once, so that a last attempt fits in."""

    @pytest.mark.parametrize("deadline", [1, 2, 5, 30])
    def test_to_nineteen_twentieths_by_the_median_call(self, virtually, deadline):
        shares = []

        async def one():
            error, _ = await the_end_of(retry_with(always_stale(), deadline=deadline, jitter=full_jitter)("session"))
            shares.append(error.elapsed / deadline)

        async def main():
            async with anyio.create_task_group() as tasks:
                for _ in range(200):
                    tasks.start_soon(one)

        virtually(main)
        assert statistics.median(shares) >= 0.95
        assert max(shares) <= 1
        assert min(shares) >= 0.95  # the tenth percentile of a call that does not cut its wait is 0.37 at one second

    @pytest.mark.parametrize(("append", "reload"), [(0.2, 0.1), (0.001, 0.001), (0.5, 0.25), (0.0, 1.0)])
    def test_but_for_one_and_a_half_times_the_longest_refresh_and_append_so_far(self, virtually, append, reload):
        began, reloads = [], []

        async def refresh(session):
            reloads.append(anyio.current_time())
            await anyio.sleep(reload)
            return session

        @retry_on_stale_session(refresh, backoff=constant(3), jitter=None, deadline=10, observers=())
        async def call(session):
            began.append(anyio.current_time())
            await anyio.sleep(append)
            raise StaleSessionError

        async def main():
            return await the_end_of(call("session"))

        error, at = virtually(main)
        assert error.attempts == len(began)
        assert reloads[-1] == pytest.approx(10 - max(1.5 * (append + reload), 0.01))
        assert began[-1] == pytest.approx(reloads[-1] + reload)
        assert at == pytest.approx(began[-1] + append)

    def test_and_the_wait_is_cut_only_once(self, virtually):
        told = []

        async def main():
            append = always_stale(backoff=constant(0.4), deadline=1, observers=told.append)
            return await the_end_of(append("session"))

        error, _ = virtually(main)
        assert [event.wait for event in told if event.wait] == pytest.approx([0.4, 0.4, 0.19])
        assert error.attempts == 4

    def test_and_stop_and_observers_see_the_cut_wait(self, virtually):
        seen, told = [], []

        def stop(retry_state):
            seen.append(retry_state.upcoming_sleep)
            return False

        async def main():
            append = always_stale(backoff=constant(10), deadline=5, stop=stop, observers=told.append)
            return await the_end_of(append("session"))

        virtually(main)
        assert seen == [pytest.approx(4.99)]
        assert [event.wait for event in told] == [pytest.approx(4.99), None]

    def test_by_an_append_that_is_stored_at_the_last_attempt(self, virtually):
        left = [StaleSessionError()]

        @retry_on_stale_session(refresh, backoff=constant(60), jitter=None, deadline=5, observers=())
        async def append(session):
            if left:
                raise left.pop()
            return "stored"

        async def main():
            return await append("session"), anyio.current_time()

        assert virtually(main) == ("stored", pytest.approx(4.99))
