"""`attempt_timeout` cancels an append that takes too long, which leaves doubt."""

from datetime import timedelta

import anyio
import pytest

from stale_retry import StaleSessionError, constant, retry_on_stale_session


def refresh(session):
    return session


async def the_end_of(call):
    """What the call raised, and when."""
    with pytest.raises(Exception) as caught:
        await call
    return caught.value, anyio.current_time()


class TestAnAttempt:
    @pytest.mark.parametrize("rejections", [0, 1])
    @pytest.mark.parametrize(("timeout", "after"), [(3, 3), (timedelta(seconds=4), 4), (60, None)])
    def test_with_attempt_timeout_it_is_after_that_or_the_time_left(self, virtually, rejections, timeout, after):
        calls = 0

        @retry_on_stale_session(
            refresh, deadline=10, attempt_timeout=timeout, backoff=constant(1), jitter=None, observers=()
        )
        async def append(session):
            nonlocal calls
            calls += 1
            if calls <= rejections:
                raise StaleSessionError
            await anyio.sleep_forever()

        async def main():
            return await the_end_of(append("session"))

        error, at = virtually(main)
        assert type(error) is TimeoutError
        assert "the event may be stored" in str(error)
        assert at == (10 if after is None else rejections + after)

    def test_an_attempt_that_timed_out_is_retried_if_on_says_so(self, virtually):
        began = []

        @retry_on_stale_session(
            refresh,
            on=TimeoutError,
            attempt_timeout=2,
            deadline=None,
            max_attempts=5,
            backoff=constant(1),
            jitter=None,
            observers=(),
        )
        async def append(session):
            began.append(anyio.current_time())
            if len(began) < 4:
                await anyio.sleep_forever()
            return "stored"

        async def main():
            return await append("session")

        assert virtually(main) == "stored"
        assert began == [0, 3, 6, 9]

    def test_an_attempt_that_is_quick_enough_is_left_alone(self, virtually):
        @retry_on_stale_session(refresh, attempt_timeout=2)
        async def append(session):
            await anyio.sleep(1.9)
            return "stored"

        async def main():
            return await append("session")

        assert virtually(main) == "stored"

    def test_an_append_that_answers_its_cancellation_is_believed(self, virtually):
        @retry_on_stale_session(refresh, attempt_timeout=2)
        async def append(session):
            try:
                await anyio.sleep_forever()
            except anyio.get_cancelled_exc_class():
                return "stored all the same"

        async def main():
            return await append("session")

        assert virtually(main) == "stored all the same"
