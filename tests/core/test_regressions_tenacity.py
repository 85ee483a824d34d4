"""A strategy that was written for tenacity works here: its state holds what it holds there."""

import asyncio
import threading

import anyio
import pytest
import tenacity
from tenacity import RetryCallState

from stale_retry import AttemptsExhaustedError, StaleSessionError, constant, retry_on_stale_session

from .ways import SOON, append_in

pytestmark = pytest.mark.anyio


def snapshot(state):
    outcome, statistics = state.outcome, state.retry_object.statistics
    return {
        "fn": state.fn.__name__,
        "args": state.args,
        "kwargs": dict(state.kwargs),
        "attempt": state.attempt_number,
        "failed": outcome.failed,
        "error": type(outcome.exception()),
        "since": round(state.seconds_since_start, 3),
        "idle": round(state.idle_for, 3),
        "upcoming": round(state.upcoming_sleep, 3),
        "statistics": {key: round(value, 3) for key, value in statistics.items() if key != "start_time"},
    }


class TestTheStateThatStrategiesAreHanded:
    def seen_by(self, virtually, way):
        """What `on`, backoff and stop see of three attempts that take 0.5 s each, with waits of 1 s."""
        seen = {"on": [], "backoff": [], "stop": []}

        def on(retry_state):
            seen["on"].append(snapshot(retry_state))
            return isinstance(retry_state.outcome.exception(), StaleSessionError)

        def backoff(retry_state):
            seen["backoff"].append(snapshot(retry_state))
            return 1.0

        def stop(retry_state):
            seen["stop"].append(snapshot(retry_state))
            return False

        made = []

        async def append(session, event, *, author):
            made.append(session)
            await anyio.sleep(0.5)
            if len(made) < 3:
                raise StaleSessionError

        async def main():
            if way == "tenacity":
                retrying = tenacity.AsyncRetrying(retry=on, wait=backoff, stop=stop, sleep=anyio.sleep)
                return await retrying(append, "session", "event", author="me")
            policy = retry_on_stale_session(
                lambda session: session, on=on, backoff=backoff, stop=stop, jitter=None, observers=()
            )
            if way == "decorator":
                return await policy(append)("session", "event", author="me")
            return await policy.call(append, "session", "event", author="me")

        virtually(main)
        return seen

    @pytest.mark.parametrize("way", ["decorator", "call"])
    def test_is_the_same_as_under_tenacitys_own_loop(self, virtually, way):
        theirs, ours = self.seen_by(virtually, "tenacity"), self.seen_by(virtually, way)
        for of in (theirs, ours):
            for one in (*of["on"], *of["backoff"]):
                # What tenacity counts once the strategies were asked, and what a wait that is just being asked for
                # was before.
                del one["statistics"], one["upcoming"]
            for one in of["stop"]:
                del one["statistics"]["delay_since_first_attempt"]
        assert ours == theirs

    async def test_has_the_statistics_of_the_attempt_that_is_judged(self):
        seen = []

        def stop(retry_state):
            statistics = retry_state.retry_object.statistics
            seen.append(statistics["attempt_number"])
            assert statistics["idle_for"] == pytest.approx(0.001 * (len(seen) - 1))
            assert statistics["delay_since_first_attempt"] >= statistics["idle_for"]
            assert statistics["start_time"] == retry_state.start_time
            return len(seen) == 3

        async def append(session, event):
            raise StaleSessionError

        with pytest.raises(AttemptsExhaustedError):
            await retry_on_stale_session(lambda session: session, stop=stop, **SOON).call(append, "session", "event")
        assert seen == [1, 2, 3]

    async def test_has_the_arguments_of_the_attempt_that_is_judged(self):
        seen = []

        def backoff(retry_state):
            seen.append((retry_state.args, retry_state.kwargs))
            return 0

        async def append(session, event):
            if session < 2:
                raise StaleSessionError

        def rebase(conflict):
            conflict.arguments["event"] += "!"

        policy = retry_on_stale_session(
            lambda session: session + 1, backoff=backoff, jitter=None, observers=(), on_conflict=rebase
        )
        await policy.call(append, 0, event="e")
        assert seen == [((0,), {"event": "e"}), ((1,), {"event": "e!"})]

    async def test_of_a_reload_that_failed_is_that_of_the_attempt_it_takes_the_place_of(self):
        seen, reloads = [], iter([OSError("down"), "fresh"])

        def on(retry_state):
            seen.append((retry_state.attempt_number, type(retry_state.outcome.exception())))
            return retry_state.outcome.failed

        def refresh(session):
            answer = next(reloads)
            if isinstance(answer, OSError):
                raise answer
            return answer

        async def append(session, event):
            if session != "fresh":
                raise StaleSessionError

        await retry_on_stale_session(refresh, on=on, **SOON).call(append, "session", "event")
        assert seen == [(1, StaleSessionError), (2, OSError), (3, type(None))]

    async def test_of_a_block_has_a_function_with_a_name(self):
        names = []

        def backoff(retry_state):
            names.append(retry_state.fn.__name__)
            return 0

        policy = retry_on_stale_session(lambda session: session, backoff=backoff, jitter=None, observers=())
        async for attempt in policy.attempts("session"):
            with attempt:
                if attempt.number == 1:
                    raise StaleSessionError
        assert names == ["block"]


class TestTenacitysNames:
    @pytest.mark.parametrize("way", ["decorator", "with", "async with"])
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

    async def test_a_function_is_a_strategy_by_its_annotation_however_that_is_written(self):
        def plain(state: RetryCallState) -> bool:
            return state.outcome.failed

        def text(state: "RetryCallState") -> bool:
            return state.outcome.failed

        def dotted(state: "tenacity.RetryCallState") -> bool:
            return state.outcome.failed

        def by_name(retry_state):
            return retry_state.outcome.failed

        for on in (plain, text, dotted, by_name):
            left = [StaleSessionError]

            async def append(session, event, left=left):
                if left:
                    raise left.pop()
                return "stored"

            policy = retry_on_stale_session(lambda session: session, on=on, **SOON)
            assert await policy.call(append, "session", "event") == "stored"

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
