"""The deadline, in virtual time: it covers waits, queue, refresh and conflict hooks, and never an append in flight."""

import time

import anyio
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from stale_retry import (
    DeadlineExceededError,
    InDoubtError,
    StaleSessionError,
    StaleSessionRetryError,
    constant,
    retry_on_stale_session,
    retry_with,
)

from .virtual import EPSILON, examples
from .ways import SOON, keys_in_use

durations = st.floats(0, 20)


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


@examples(150)
@given(
    deadline=st.floats(0.01, 30),
    attempts=st.lists(durations, min_size=1, max_size=8),
    refreshes=st.lists(durations, min_size=1, max_size=8),
    hooks=st.lists(durations, min_size=1, max_size=8),
    waits=st.lists(durations, min_size=1, max_size=8),
    jitters=st.lists(st.floats(0, 2), min_size=1, max_size=8),
    queue_is_busy_for=st.none() | durations,
    attempt_timeout=st.none() | st.floats(0.01, 20),
    rejections=st.integers(0, 12),
)
@example(  # asyncio may take a wait of less than a nanosecond for over as it begins
    deadline=30,
    attempts=[6.3e-10],
    refreshes=[20],
    hooks=[0],
    waits=[1],
    jitters=[1],
    queue_is_busy_for=0,
    attempt_timeout=None,
    rejections=2,
)
def test_whatever_takes_how_long_nothing_but_an_append_in_flight_outlasts_the_deadline(
    virtually, deadline, attempts, refreshes, hooks, waits, jitters, queue_is_busy_for, attempt_timeout, rejections
):
    began, ended, waited_until = [], [], []
    key = None if queue_is_busy_for is None else str

    def nth(series, n):
        return series[n % len(series)]

    async def slow_refresh(session):
        await anyio.sleep(nth(refreshes, len(began)))
        return session

    async def on_conflict(conflict):
        await anyio.sleep(nth(hooks, len(began)))

    def observe(event):
        if event.kind == "retrying":
            waited_until.append(anyio.current_time() + event.wait)

    @retry_on_stale_session(
        slow_refresh,
        on=(StaleSessionError, TimeoutError),
        backoff=lambda state: nth(waits, len(began)),
        jitter=lambda delay: delay * nth(jitters, len(began)),
        deadline=deadline,
        attempt_timeout=attempt_timeout,
        key=key,
        on_conflict=on_conflict,
        observers=observe,
    )
    async def append(session, event="ours"):
        if event == "theirs":
            held.set()
            await anyio.sleep(queue_is_busy_for)
            return
        began.append(anyio.current_time())
        try:
            await anyio.sleep(nth(attempts, len(began) - 1))
            if len(began) <= rejections:
                raise StaleSessionError
        finally:
            ended.append(anyio.current_time())

    held = anyio.Event()

    async def main():
        async with anyio.create_task_group() as tasks:
            if key is not None:
                holder = retry_with(append, attempt_timeout=None, deadline=None, max_attempts=1)
                tasks.start_soon(holder, "session", "theirs")
                await held.wait()
            gave_up = None
            try:
                await append("session")
            except (StaleSessionRetryError, InDoubtError) as error:
                gave_up = error
            now = anyio.current_time()
        return gave_up, now

    gave_up, at = virtually(main)
    if gave_up is None:
        assert len(began) > rejections
        assert at == ended[-1]
    else:
        assert isinstance(gave_up, InDoubtError if gave_up.in_doubt else DeadlineExceededError)
        assert gave_up.reason == "deadline"
        assert gave_up.attempts == len(began)
        assert gave_up.elapsed == pytest.approx(at)
        # It ends where the last append did, or when a wait would have been in vain, or at the deadline.
        assert at <= max(deadline, *ended) + EPSILON if ended else at <= deadline + EPSILON
    assert all(instant <= deadline + EPSILON for instant in began)
    assert all(instant <= deadline + EPSILON for instant in waited_until)
    assert keys_in_use() == 0
    if attempt_timeout is None:
        assert [end - begin for begin, end in zip(began, ended, strict=True)] == pytest.approx(
            [nth(attempts, n) for n in range(len(began))], abs=EPSILON
        )
    else:
        assert all(
            end <= min(begin + attempt_timeout, deadline) + EPSILON for begin, end in zip(began, ended, strict=True)
        )


class TestAppends:
    def test_a_slow_first_attempt_uses_the_deadline_up(self, virtually):
        calls = 0

        @retry_on_stale_session(refresh, deadline=10, observers=())
        async def append(session):
            nonlocal calls
            calls += 1
            await anyio.sleep(11)
            raise StaleSessionError

        async def main():
            return await the_end_of(append("session"))

        error, at = virtually(main)
        assert isinstance(error, DeadlineExceededError)
        assert (calls, at, error.elapsed) == (1, 11, 11)

    def test_so_does_a_slow_first_attempt_of_a_block(self, virtually):
        async def block():
            async for attempt in retry_on_stale_session(refresh, deadline=10, observers=()).attempts("session"):
                with attempt:
                    await anyio.sleep(11)
                    raise StaleSessionError

        async def main():
            return await the_end_of(block())

        error, at = virtually(main)
        assert isinstance(error, DeadlineExceededError)
        assert (error.attempts, at) == (1, 11)

    def test_that_of_a_block_counts_from_when_its_attempts_were_asked_for(self, virtually):
        async def main():
            attempts = retry_on_stale_session(refresh, deadline=10, observers=()).attempts("session")
            await anyio.sleep(11)
            with pytest.raises(DeadlineExceededError) as caught:
                async for attempt in attempts:
                    with attempt:
                        raise StaleSessionError
            return caught.value.elapsed

        assert virtually(main) == 11

    @pytest.mark.parametrize("rejections", [0, 1])
    def test_an_append_in_flight_is_not_cancelled(self, virtually, rejections):
        calls = 0

        @retry_on_stale_session(refresh, deadline=10, backoff=constant(1), jitter=None, observers=())
        async def append(session):
            nonlocal calls
            calls += 1
            if calls <= rejections:
                raise StaleSessionError
            await anyio.sleep(1000)
            return "stored"

        async def main():
            return await append("session"), anyio.current_time()

        assert virtually(main) == ("stored", 1000 + rejections)


class TestHooksThatHang:
    @pytest.mark.parametrize("key", [None, str])
    @pytest.mark.parametrize("hanging", ["refresh", "on_conflict", "find_stored"])
    def test_end_at_the_deadline(self, virtually, hanging, key):
        async def hang(session):
            await anyio.sleep_forever()

        append = always_stale(**{"backoff": constant(1), "deadline": 10, "key": key, hanging: hang})

        async def main():
            return await the_end_of(append("session"))

        error, at = virtually(main)
        assert error.reason == "deadline"
        assert isinstance(error, InDoubtError if hanging == "find_stored" else DeadlineExceededError)
        assert isinstance(error.__cause__, StaleSessionError)
        assert error.attempts == 1
        assert at == (11 if hanging == "find_stored" else 10)  # a last look has a second more
        assert keys_in_use() == 0

    def test_a_refresh_that_swallows_its_cancellation_ends_it_too(self, virtually):
        async def refresh(session):
            try:
                await anyio.sleep(60)
            except anyio.get_cancelled_exc_class():
                return session

        append = always_stale(backoff=constant(1), deadline=10, refresh=refresh)

        async def main():
            return await the_end_of(append("session"))

        error, at = virtually(main)
        assert isinstance(error, DeadlineExceededError)
        assert (error.attempts, at) == (1, 10)

    def test_a_call_that_was_settled_as_the_deadline_passed_is_settled(self, virtually):
        async def settle(conflict):
            try:
                await anyio.sleep(60)
            except anyio.get_cancelled_exc_class():
                return conflict.settle("stored")

        append = always_stale(backoff=constant(1), deadline=10, on_conflict=settle)

        async def main():
            return await append("session")

        assert virtually(main) == "stored"

    def test_a_refresh_that_fails_when_it_is_cancelled_failed(self, virtually):
        async def refresh(session):
            try:
                await anyio.sleep_forever()
            except anyio.get_cancelled_exc_class():
                raise ConnectionError("the driver dislikes that") from None

        events = []
        append = always_stale(backoff=constant(1), deadline=10, refresh=refresh, observers=events.append)

        async def main():
            return await the_end_of(append("session"))

        error, at = virtually(main)
        assert isinstance(error, StaleSessionRetryError)
        assert isinstance(error.__cause__, ConnectionError)
        assert at == 10

    def test_with_reraise_it_is_the_stores_error(self, virtually):
        async def hang(_):
            await anyio.sleep_forever()

        append = always_stale(backoff=constant(1), deadline=10, refresh=hang, reraise=True)

        async def main():
            return await the_end_of(append("session"))

        error, at = virtually(main)
        assert type(error) is StaleSessionError
        assert at == 10


def test_a_cancellation_from_outside_is_not_taken_for_the_deadline(virtually):
    async def hang(_):
        await anyio.sleep_forever()

    append = always_stale(backoff=constant(1), deadline=10, refresh=hang)

    async def main():
        with anyio.move_on_after(5) as scope:
            await append("session")
        return scope.cancelled_caught, anyio.current_time()

    assert virtually(main) == (True, 5)


@pytest.mark.anyio
@pytest.mark.parametrize("blocking", ["refresh", "on_conflict"])
async def test_no_attempt_is_made_past_the_deadline_after_a_hook_that_blocks(blocking):
    made = []

    def block(argument):
        time.sleep(0.03)
        return {"refresh": "session", "on_conflict": None}[blocking]

    async def append(session):
        made.append(session)
        raise StaleSessionError

    options = {"refresh": refresh, **SOON, "deadline": 0.02, blocking: block}
    with pytest.raises(DeadlineExceededError):
        await retry_on_stale_session(**options).call(append, "session")
    assert len(made) == 1


def test_one_beyond_every_float_is_no_limit_and_a_negative_one_is_refused():
    assert retry_on_stale_session(lambda session: session, deadline=10**400, max_attempts=2).deadline is None
    with pytest.raises(ValueError, match="are all None"):
        retry_on_stale_session(lambda session: session, deadline=10**400)
    with pytest.raises(ValueError, match="deadline must be above zero"):
        retry_on_stale_session(lambda session: session, deadline=-(10**400), max_attempts=2)
