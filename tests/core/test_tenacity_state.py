"""A strategy that was written for tenacity works here: its state holds what it holds there."""

import anyio
import pytest
import tenacity

from stale_retry import AttemptsExhaustedError, StaleSessionError, retry_on_stale_session

from .ways import SOON

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
