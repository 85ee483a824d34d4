"""tenacity's stop and retry strategies, its waits and `TryAgain`, alone and composed."""

import asyncio
import threading

import anyio
import pytest
import tenacity
from tenacity import (
    RetryCallState,
    retry_all,
    retry_any,
    retry_if_exception_message,
    retry_if_exception_type,
    retry_if_not_exception_type,
    stop_after_attempt,
    stop_after_delay,
    stop_any,
    stop_before_delay,
    stop_when_event_set,
)

from stale_retry import (
    AttemptsExhaustedError,
    DeadlineExceededError,
    StaleSessionError,
    constant,
    retry_if_stale_session,
    retry_on_stale_session,
)

from .virtual import run
from .ways import SOON, WAYS, append_in, waits_of

pytestmark = pytest.mark.anyio


def refresh(session):
    return session


class TestAnyTenacityStop:
    def attempts(self, stop, **options):
        waits, ended = waits_of(30, **{"backoff": constant(1), "stop": stop, **options})
        assert isinstance(ended, AttemptsExhaustedError)
        assert ended.attempts == len(waits) + 1
        assert "the stop strategy ended it" in str(ended)
        return ended.attempts

    @pytest.mark.parametrize(
        ("stop", "attempts"),
        [
            (stop_after_attempt(3), 3),
            (stop_after_delay(4), 5),
            (stop_before_delay(4), 4),
            (stop_after_attempt(7) | stop_after_delay(2), 3),
            (stop_after_attempt(7) & stop_after_delay(2), 7),
            (stop_any(stop_after_attempt(2), stop_after_attempt(5)), 2),
            (lambda state: state.attempt_number == 4, 4),
        ],
    )
    def test_strategies_functions_and_compositions(self, stop, attempts):
        assert self.attempts(stop) == attempts

    def test_stop_when_event_set_is_for_a_shutdown(self):
        async def main():
            shutdown = asyncio.Event()
            asyncio.get_running_loop().call_later(3.5, shutdown.set)

            @retry_on_stale_session(
                refresh,
                backoff=constant(1),
                jitter=None,
                deadline=None,
                stop=stop_when_event_set(shutdown) | stop_after_attempt(100),
                observers=(),
            )
            async def append(session):
                raise StaleSessionError

            with pytest.raises(AttemptsExhaustedError) as caught:
                await append("session")
            return caught.value.attempts

        assert run(main) == 5

    def test_max_attempts_and_deadline_hold_beside_it(self):
        _, ended = waits_of(30, backoff=constant(1), stop=stop_after_attempt(9), max_attempts=3)
        assert ended.attempts == 3
        _, ended = waits_of(30, backoff=constant(1), stop=stop_after_attempt(9), deadline=2.5)
        assert isinstance(ended, DeadlineExceededError)


class TestAnyRetryStrategy:
    def outcome(self, on, errors):
        left = list(errors)

        @retry_on_stale_session(refresh, on=on, backoff=constant(1), observers=())
        async def append(session):
            if left:
                raise left.pop(0)
            return "stored"

        async def main():
            try:
                return await append("session")
            except Exception as error:
                return error

        return run(main)

    STALE, TIMEOUT, OTHER = StaleSessionError("stale"), TimeoutError("slow"), KeyError("other")

    @pytest.mark.parametrize(
        ("on", "retried", "not_retried"),
        [
            (StaleSessionError, [STALE], [TIMEOUT, OTHER]),
            ((StaleSessionError, TimeoutError), [STALE, TIMEOUT], [OTHER]),
            (Exception, [STALE, TIMEOUT, OTHER], []),
            (lambda error: "stale" in str(error), [STALE], [TIMEOUT, OTHER]),
            (retry_if_stale_session(), [STALE], [TIMEOUT, OTHER]),
            (retry_if_stale_session() | retry_if_exception_type(TimeoutError), [STALE, TIMEOUT], [OTHER]),
            (retry_if_stale_session() & retry_if_exception_message(match="stale"), [STALE], [TIMEOUT, OTHER]),
            (retry_any(retry_if_stale_session(), retry_if_exception_type(KeyError)), [STALE, OTHER], [TIMEOUT]),
            (retry_all(retry_if_stale_session(), retry_if_exception_message("else")), [], [STALE, TIMEOUT, OTHER]),
            (retry_if_not_exception_type(KeyError), [STALE, TIMEOUT], [OTHER]),
        ],
    )
    def test_types_predicates_strategies_and_compositions(self, on, retried, not_retried):
        assert self.outcome(on, retried) == "stored"
        for error in not_retried:
            assert self.outcome(on, [error]) is error

    def test_a_function_of_the_retry_state_is_a_strategy(self):
        def by_name(retry_state):
            return isinstance(retry_state.outcome.exception(), StaleSessionError) and retry_state.attempt_number < 3

        def by_annotation(state: RetryCallState):
            return by_name(state)

        def by_text(state: "RetryCallState"):
            return by_name(state)

        def by_dotted_text(state: "tenacity.RetryCallState"):
            return by_name(state)

        for on in (by_name, by_annotation, by_text, by_dotted_text):
            assert self.outcome(on, [self.STALE] * 2) == "stored"
            assert self.outcome(on, [self.STALE] * 3) is self.STALE
            assert self.outcome(on, [self.OTHER]) is self.OTHER

    def test_a_predicate_whose_signature_cannot_be_read_is_asked_with_the_error(self):
        class Opaque:
            __signature__ = "none"

            def __call__(self, error):
                return isinstance(error, StaleSessionError)

        assert self.outcome(Opaque(), [self.STALE]) == "stored"
        assert self.outcome(Opaque(), [self.OTHER]) is self.OTHER


@pytest.mark.parametrize("option", ["on", "in_doubt", "backoff", "stop"])
@pytest.mark.parametrize("is_coroutine", [True, False])
async def test_a_plain_strategy_that_answers_with_an_awaitable_is_told(option, is_coroutine):
    async def answer():
        raise AssertionError("never awaited")

    class Awaitable:
        def __await__(self):
            raise AssertionError("never awaited")

    async def append(session):
        raise StaleSessionError if option != "in_doubt" else TimeoutError

    strategy = lambda state: answer() if is_coroutine else Awaitable()  # noqa: E731
    options = {"observers": (), "find_stored": lambda session: None, option: strategy}
    with pytest.raises(TypeError, match="answered with an awaitable; strategies must be plain functions"):
        await retry_on_stale_session(refresh, **options).call(append, "session")


class TestInOneCall:
    @pytest.mark.parametrize("way", WAYS)
    async def test_try_again_is_honoured_whatever_on_says(self, way):
        made = []

        async def append(session, event):
            made.append(session)
            if len(made) == 1:
                raise tenacity.TryAgain
            return "stored"

        policy = retry_on_stale_session(lambda session: session, **SOON)
        assert await append_in(way, policy, append, "session", "event") == "stored"
        assert len(made) == 2

    @pytest.mark.parametrize(
        "on",
        [
            tenacity.retry_if_exception_type(StaleSessionError) | tenacity.retry_if_exception_type(OSError),
            tenacity.retry_if_exception_type(StaleSessionError) & tenacity.retry_if_exception_message(match="lost"),
            tenacity.retry_if_exception_message("lost"),
            tenacity.retry_if_not_exception_type(OSError),
            tenacity.retry_if_exception(lambda error: "lost" in str(error)),
            tenacity.retry_if_exception_cause_type(KeyError),
        ],
    )
    async def test_its_judges_of_errors_compose(self, on):
        made = []

        async def append(session, event):
            made.append(session)
            if len(made) == 1:
                raise StaleSessionError("lost") from KeyError()
            return "stored"

        assert await retry_on_stale_session(lambda session: session, on=on, **SOON).call(append, "s", "e") == "stored"

    def test_stop_after_delay_counts_the_time_of_the_attempts(self, virtually):
        async def append(session, event):
            await anyio.sleep(3)
            raise StaleSessionError

        async def main():
            policy = retry_on_stale_session(
                lambda session: session,
                stop=tenacity.stop_after_delay(10),
                backoff=constant(1),
                jitter=None,
                observers=(),
            )
            with pytest.raises(AttemptsExhaustedError) as caught:
                await policy.call(append, "session", "event")
            return caught.value.attempts

        assert virtually(main) == 3

    async def test_stop_after_delay_counts_them_on_a_real_clock_too(self):
        async def append(session, event):
            await anyio.sleep(0.02)
            raise StaleSessionError

        policy = retry_on_stale_session(lambda session: session, stop=tenacity.stop_after_delay(0.01), **SOON)
        with pytest.raises(AttemptsExhaustedError) as caught:
            await policy.call(append, "session", "event")
        assert caught.value.attempts == 1

    @pytest.mark.parametrize("event", [threading.Event, asyncio.Event])
    async def test_stop_when_event_set_ends_a_call_at_its_next_rejection(self, event):
        shutdown = event()
        shutdown.set()

        async def append(session, event):
            raise StaleSessionError

        policy = retry_on_stale_session(lambda session: session, stop=tenacity.stop_when_event_set(shutdown), **SOON)
        with pytest.raises(AttemptsExhaustedError) as caught:
            await policy.call(append, "session", "event")
        assert (caught.value.attempts, caught.value.reason) == (1, "stop")

    def test_its_waits_chain_and_add(self):
        wait = tenacity.wait_chain(tenacity.wait_fixed(1), tenacity.wait_fixed(2)) + tenacity.wait_fixed(0.5)
        policy = retry_on_stale_session(lambda session: session, backoff=wait)
        assert policy.schedule(4) == [1.5, 2.5, 2.5, 2.5]

    def test_a_backoff_may_look_at_everything_in_a_schedule_too(self):
        def backoff(retry_state):
            assert retry_state.outcome.failed
            return retry_state.retry_object.statistics["idle_for"] + retry_state.attempt_number

        assert retry_on_stale_session(lambda session: session, backoff=backoff).schedule(3) == [1, 2, 3]
