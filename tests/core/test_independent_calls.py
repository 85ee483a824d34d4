"""Calls share nothing, and a policy keeps nothing between them."""

import anyio
import pytest

from stale_retry import AttemptsExhaustedError, StaleSessionError, constant, retry_on_stale_session
from stale_retry.testing import VersionedStore

from .virtual import run
from .ways import SOON

pytestmark = pytest.mark.anyio


@pytest.fixture
def store():
    return VersionedStore()


class TestConcurrentCallsShareNothing:
    def test_overlapping_calls_report_their_own_attempts(self, virtually):
        events = []

        @retry_on_stale_session(lambda session: session, backoff=constant(1), jitter=None, observers=events.append)
        async def append(session, rejections):
            await anyio.sleep(0.1)
            if session.pop():
                raise StaleSessionError
            return rejections

        async def main():
            async with anyio.create_task_group() as tasks:
                for rejections in (1, 4, 2):
                    tasks.start_soon(append, [False] + [True] * rejections, rejections)

        virtually(main)
        recovered = sorted((event.attempt, round(event.elapsed, 6)) for event in events if event.kind == "recovered")
        assert recovered == [(2, 1.2), (3, 2.3), (5, 4.5)]
        retrying = sorted(event.attempt for event in events if event.kind == "retrying")
        assert retrying == [1, 1, 1, 2, 2, 3, 4]

    def test_each_call_hands_its_own_history_to_the_strategies(self, virtually):
        seen = {}

        def backoff(state):
            assert seen.setdefault(state.args[1], state) is state  # one state a call, and never another call's
            assert state.idle_for == pytest.approx(state.attempt_number - 1)
            assert state.seconds_since_start == pytest.approx(1.1 * (state.attempt_number - 1) + 0.1)
            return 1

        def stop(state):
            assert state.idle_for == pytest.approx(state.attempt_number - 1)  # the waits made, not the coming one
            assert state.upcoming_sleep == 1
            return state.attempt_number > 3 + state.args[1]

        @retry_on_stale_session(lambda session: session, backoff=backoff, stop=stop, jitter=None, observers=())
        async def append(session, number):
            await anyio.sleep(0.1)
            raise StaleSessionError

        ended = {}

        async def writer(number):
            try:
                await append("session", number)
            except AttemptsExhaustedError as error:
                ended[number] = error.attempts

        async def main():
            async with anyio.create_task_group() as tasks:
                for number in range(3):
                    tasks.start_soon(writer, number)

        virtually(main)
        assert ended == {0: 4, 1: 5, 2: 6}
        assert len({id(state) for state in seen.values()}) == 3

    async def test_a_frozen_policy_is_the_same_before_and_after(self, store):
        policy = retry_on_stale_session(lambda session: store.open(), **SOON)
        before = repr(policy)
        store.faults.stale = 3
        await policy.call(store.append, store.open(), "event")
        assert repr(policy) == before
        with pytest.raises(AttributeError, match=r"is frozen; replace\(deadline=\.\.\.\)"):
            policy.deadline = 1
        with pytest.raises(AttributeError, match="is frozen"):
            del policy.deadline
        assert policy.deadline == 90.0


def test_elapsed_time_counts_from_the_entry_of_the_call():
    store = VersionedStore()

    @retry_on_stale_session(store.refresh, max_attempts=2, backoff=constant(2), jitter=None, observers=())
    async def append(session, event):
        await anyio.sleep(5)
        raise StaleSessionError

    async def main():
        with pytest.raises(AttemptsExhaustedError) as caught:
            await append(store.open(), "event")
        return caught.value.elapsed

    assert run(main) == pytest.approx(12)
