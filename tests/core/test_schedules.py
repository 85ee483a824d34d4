"""How long is waited: the classic schedule, the common waits, and whatever tenacity can compose."""

import math

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tenacity import (
    wait_chain,
    wait_combine,
    wait_exponential_jitter,
    wait_fixed,
    wait_incrementing,
    wait_none,
    wait_random,
    wait_random_exponential,
)

from stale_retry import (
    CLASSIC_SCHEDULE,
    AttemptsExhaustedError,
    StaleSessionError,
    additive_jitter,
    constant,
    equal_jitter,
    exponential,
    full_jitter,
    linear,
    proportional_jitter,
    retry_on_stale_session,
)

from .virtual import EPSILON, examples, run
from .ways import waits_of

delays = st.floats(0, 1e6)


def refresh(session):
    return session


class TestTheClassicSchedule:
    @pytest.mark.parametrize("backend", ["asyncio", "trio"])
    def test_waits_exactly_half_a_second_more_each_time_and_ends_after_the_sixth_attempt(self, backend):
        waits, ended = waits_of(99, backend=backend, **CLASSIC_SCHEDULE)
        assert waits == [0.5, 1.0, 1.5, 2.0, 2.5]
        assert isinstance(ended, AttemptsExhaustedError)
        assert ended.attempts == 6
        assert ended.elapsed == 7.5

    def test_is_that_of_the_policy_too(self):
        policy = retry_on_stale_session(refresh, **CLASSIC_SCHEDULE)
        assert policy.schedule(5) == [0.5, 1.0, 1.5, 2.0, 2.5]
        assert policy.deadline == 90.0
        assert policy.max_attempts == 6
        assert policy.jitter is None


class TestTheCommonWaits:
    @pytest.mark.parametrize(
        ("backoff", "expected"),
        [
            (linear(0.5), [0.5, 1, 1.5, 2, 2.5, 3]),
            (linear(0.5, max=1.5), [0.5, 1, 1.5, 1.5, 1.5, 1.5]),
            (linear(2, max=1), [1, 1, 1, 1, 1, 1]),
            (linear(0), [0, 0, 0, 0, 0, 0]),
            (exponential(0.05, max=2.0), [0.05, 0.1, 0.2, 0.4, 0.8, 1.6]),
            (exponential(1), [1, 2, 4, 8, 16, 32]),
            (exponential(1, factor=3, max=20), [1, 3, 9, 20, 20, 20]),
            (exponential(1, factor=1), [1, 1, 1, 1, 1, 1]),
            (constant(0.2), [0.2, 0.2, 0.2, 0.2, 0.2, 0.2]),
            (constant(0), [0, 0, 0, 0, 0, 0]),
        ],
    )
    def test_series(self, backoff, expected):
        assert retry_on_stale_session(refresh, backoff=backoff).schedule(6) == pytest.approx(expected)

    def test_the_defaults(self):
        assert retry_on_stale_session(refresh).schedule(8) == pytest.approx([0.05, 0.1, 0.2, 0.4, 0.8, 1.6, 2, 2])
        assert retry_on_stale_session(refresh).jitter is full_jitter

    @given(step=delays, n=st.integers(1, 1000), most=delays)
    def test_linear_is_its_formula(self, step, n, most):
        waits = retry_on_stale_session(refresh, backoff=linear(step, max=most)).schedule(n)
        assert waits[n - 1] == pytest.approx(min(step * n, most))

    @given(initial=st.floats(1e-3, 10), factor=st.floats(1, 4), n=st.integers(1, 20), most=delays)
    def test_exponential_is_its_formula(self, initial, factor, n, most):
        waits = retry_on_stale_session(refresh, backoff=exponential(initial, factor=factor, max=most)).schedule(n)
        assert waits[n - 1] == pytest.approx(min(initial * factor ** (n - 1), most))

    def test_exponential_never_overflows(self):
        assert retry_on_stale_session(refresh, backoff=exponential(1, max=2)).schedule(2000)[-1] == 2
        assert math.isfinite(retry_on_stale_session(refresh, backoff=exponential(1)).schedule(2000)[-1])


class TestJitter:
    @given(delay=delays)
    def test_full_jitter_is_within_zero_and_the_delay(self, delay):
        assert 0 <= full_jitter(delay) <= delay

    @given(delay=delays)
    def test_equal_jitter_is_within_half_the_delay_and_the_delay(self, delay):
        assert delay / 2 <= equal_jitter(delay) <= delay

    @given(delay=delays, fraction=st.floats(0, 1))
    def test_proportional_jitter_is_within_the_fraction(self, delay, fraction):
        slack = delay * EPSILON
        assert delay * (1 - fraction) - slack <= proportional_jitter(fraction)(delay) <= delay * (1 + fraction) + slack

    @given(delay=delays, spread=delays)
    def test_additive_jitter_is_within_the_spread(self, delay, spread):
        assert delay <= additive_jitter(spread)(delay) <= delay + spread

    @pytest.mark.parametrize("jitter", [full_jitter, equal_jitter, proportional_jitter(0.5), additive_jitter(1.0)])
    def test_it_varies(self, jitter):
        assert len({jitter(1.0) for _ in range(20)}) > 1

    def test_it_is_asked_for_each_wait_with_the_delay_of_the_backoff(self):
        asked = []

        def jitter(delay):
            asked.append(delay)
            return delay * 10

        waits, _ = waits_of(3, backoff=linear(1), jitter=jitter, max_attempts=9)
        assert asked == [1, 2, 3]
        assert waits == [10, 20, 30]

    def test_a_jitter_below_zero_waits_not_at_all(self):
        waits, ended = waits_of(2, backoff=linear(1), jitter=lambda delay: -delay, max_attempts=9)
        assert waits == [0, 0]
        assert ended == "stored"


def a_function(state):
    return 0.25 * state.attempt_number


class AClass:
    def __call__(self, retry_state):
        return 0.25 * retry_state.attempt_number


WAITS = {
    "wait_fixed": wait_fixed(2),
    "wait_none": wait_none(),
    "wait_incrementing": wait_incrementing(start=1, increment=2),
    "wait_chain": wait_chain(wait_fixed(1), wait_fixed(5), wait_fixed(2)),
    "a sum": linear(1) + constant(0.5),
    "sum()": sum([constant(0.1), linear(1), wait_fixed(3)]),
    "wait_combine": wait_combine(linear(1), exponential(1)),
    "a chain of sums": wait_chain(linear(1) + constant(0.5), exponential(1, max=4)),
    "a function": a_function,
    "a class": AClass(),
}


class TestAnyTenacityWait:
    @pytest.mark.parametrize("name", WAITS)
    @pytest.mark.parametrize("backend", ["asyncio", "trio"])
    def test_the_schedule_is_what_is_waited(self, name, backend):
        waits, _ = waits_of(8, backend=backend, backoff=WAITS[name], max_attempts=20)
        assert waits == pytest.approx(retry_on_stale_session(refresh, backoff=WAITS[name]).schedule(8))

    @examples(40)
    @given(
        backoff=st.recursive(
            st.builds(linear, st.floats(0, 10))
            | st.builds(constant, st.floats(0, 10))
            | st.builds(lambda initial, most: exponential(initial, max=most), st.floats(0, 10), st.floats(0, 10)),
            lambda inner: (
                st.builds(lambda one, other: one + other, inner, inner)
                | st.lists(inner, min_size=1, max_size=4).map(lambda several: wait_chain(*several))
            ),
            max_leaves=5,
        ),
        retries=st.integers(0, 12),
    )
    def test_the_schedule_is_what_is_waited_for_any_composition(self, backoff, retries):
        waits, _ = waits_of(retries, backoff=backoff, max_attempts=20)
        assert waits == pytest.approx(retry_on_stale_session(refresh, backoff=backoff).schedule(retries), abs=1e-6)

    @pytest.mark.parametrize(
        ("backoff", "most"),
        [
            (wait_random_exponential(multiplier=1, max=60), [1, 2, 4, 8, 16, 32, 60, 60]),
            (wait_random(0, 3), [3] * 8),
            (wait_exponential_jitter(1, max=8, jitter=1), [2, 3, 5, 8, 8, 8, 8, 8]),
        ],
    )
    def test_a_random_wait_is_within_its_own_range(self, backoff, most):
        waits, ended = waits_of(8, backoff=backoff, max_attempts=20)
        assert all(0 <= wait <= limit + EPSILON for wait, limit in zip(waits, most, strict=True))
        assert len(set(waits)) > 1
        assert ended == "stored"

    def test_a_schedule_of_nothing_is_empty(self):
        assert retry_on_stale_session(refresh).schedule(0) == []

    def test_the_schedule_knows_nothing_of_limits(self):
        assert retry_on_stale_session(refresh, backoff=linear(1), max_attempts=2, deadline=1).schedule(3) == [1, 2, 3]

    def test_a_wait_may_look_at_the_error(self):
        class Slow(StaleSessionError):
            pass

        def backoff(state):
            return 7 if isinstance(state.outcome.exception(), Slow) else 1

        began = []

        @retry_on_stale_session(refresh, backoff=backoff, jitter=None, observers=())
        async def append(session):
            began.append(anyio.current_time())
            if len(began) < 4:
                raise Slow if len(began) == 2 else StaleSessionError

        async def main():
            await append("session")

        run(main)
        assert began == [0, 1, 8, 9]

    def test_a_wait_may_look_at_the_arguments(self):
        waits = []

        def backoff(state):
            waits.append((state.args, state.kwargs))
            return 0

        @retry_on_stale_session(refresh, backoff=backoff, max_attempts=2, observers=())
        async def append(session, *, event):
            raise StaleSessionError

        async def main():
            with pytest.raises(AttemptsExhaustedError):
                await append("session", event="event")

        run(main)
        assert waits == [(("session",), {"event": "event"})]
