"""Deadlines, gates and nested calls: what a small change of the engine would break unseen."""

import time
from contextlib import asynccontextmanager

import anyio
import pytest

from stale_retry import (
    AttemptsExhaustedError,
    DeadlineExceededError,
    StaleSessionError,
    limits,
    retry_on_stale_session,
)

from .ways import SOON, append_in

pytestmark = pytest.mark.anyio


class Watched:
    def __init__(self):
        self.entered = self.left = 0

    @asynccontextmanager
    async def __call__(self, session):
        self.entered += 1
        try:
            yield
        finally:
            self.left += 1


def rejecting(count, seconds=0.0):
    made = []

    async def append(session, event):
        made.append(session)
        await anyio.sleep(seconds)
        if len(made) <= count:
            raise StaleSessionError
        return "stored"

    append.made = made
    return append


@pytest.mark.parametrize("local", [False, True])
def test_gates_are_left_when_a_hook_quietly_outlives_the_deadline(virtually, local):
    gate, own = Watched()(str)

    async def outlives(conflict):
        with anyio.CancelScope(shield=True):
            await anyio.sleep(60)

    async def main():
        append = rejecting(9)
        gates = [own, gate] if local else gate
        policy = retry_on_stale_session(lambda session: session, gate=gates, on_conflict=outlives, deadline=5, **SOON)
        with pytest.raises(DeadlineExceededError) as caught:
            await policy.call(append, "session", "event")
        assert caught.value.attempts == len(append.made) == 1
        assert (gate.entered, gate.left, len(own)) == (1, 1, 0)

    virtually(main)


@pytest.mark.parametrize("blocking", ["refresh", "on_conflict", "gate"])
async def test_no_attempt_is_made_past_the_deadline_after_a_hook_that_blocks(blocking):
    append = rejecting(9)

    def block(argument):
        time.sleep(0.03)
        return {"refresh": "session", "on_conflict": None, "gate": anyio.Lock()}[blocking]

    options = {"refresh": lambda session: session, **SOON, "deadline": 0.02, blocking: block}
    with pytest.raises(DeadlineExceededError):
        await retry_on_stale_session(**options).call(append, "session", "event")
    assert len(append.made) == 1


@pytest.mark.parametrize("way", ["decorator", "with", "async with"])
@pytest.mark.parametrize("gate", [None, Watched()(str), [local_gate(str), Watched()]])
def test_the_deadline_cancels_no_append_in_flight_whatever_gate_it_is_behind(virtually, way, gate):
    append = rejecting(1, seconds=60)

    async def main():
        policy = retry_on_stale_session(lambda session: session, gate=gate, deadline=61, **SOON)
        return await append_in(way, policy, append, "session", "event")

    assert virtually(main) == "stored"
    assert len(append.made) == 2


def test_a_deadline_can_pass_while_a_shared_gate_is_queued_for_and_none_is_held_then(virtually):
    lock = anyio.Lock()

    async def main():
        async with lock:
            with pytest.raises(DeadlineExceededError) as caught:
                await retry_on_stale_session(
                    lambda session: session, gate=lambda session: lock, deadline=5, **SOON
                ).call(rejecting(9), "session", "event")
        assert caught.value.attempts == 1
        assert not lock.locked()

    virtually(main)


def test_a_deadline_beyond_every_float_is_no_limit_and_a_negative_one_is_refused():
    assert retry_on_stale_session(lambda session: session, deadline=10**400, max_attempts=2).deadline is None
    with pytest.raises(ValueError, match="would retry for ever"):
        retry_on_stale_session(lambda session: session, deadline=10**400)
    with pytest.raises(ValueError, match="deadline must be above zero"):
        retry_on_stale_session(lambda session: session, deadline=-(10**400), max_attempts=2)


class TestGivingUpInsideAGroup:
    @pytest.mark.parametrize("reraise", [False, True])
    @pytest.mark.parametrize("hopeless_first", [False, True])
    async def test_one_child_that_gave_up_among_stale_ones_ends_the_outer_call(self, reraise, hopeless_first):
        made, gave_up = [], None

        async def hopeless():
            async def append(session, event):
                raise StaleSessionError

            policy = retry_on_stale_session(lambda session: session, max_attempts=2, reraise=reraise, **SOON)
            try:
                await policy.call(append, "session", "event")
            finally:
                gave_up.set()

        async def plain():
            with anyio.CancelScope(shield=True):
                await gave_up.wait()
            raise StaleSessionError

        async def append(session, event):
            nonlocal gave_up
            gave_up = anyio.Event()
            made.append(session)
            async with anyio.create_task_group() as tasks:
                for child in (hopeless, plain) if hopeless_first else (plain, hopeless):
                    tasks.start_soon(child)

        policy = retry_on_stale_session(lambda session: session, on=lambda error: True, max_attempts=3, **SOON)
        with pytest.raises(BaseException) as caught:  # a group
            await policy.call(append, "session", "event")
        assert len(made) == 1
        assert not isinstance(caught.value, AttemptsExhaustedError)

    def test_it_counts_even_if_the_clock_did_not_move_between(self, virtually):
        made = []

        async def hopeless():
            async def append(session, event):
                raise StaleSessionError

            policy = retry_on_stale_session(lambda session: session, max_attempts=1, reraise=True, **SOON)
            await policy.call(append, "session", "event")

        async def append(session, event):
            made.append(session)
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(hopeless)

        async def main():
            policy = retry_on_stale_session(lambda session: session, on=lambda error: True, max_attempts=3, **SOON)
            with pytest.raises(BaseException) as caught:
                await policy.call(append, "session", "event")
            assert not isinstance(caught.value, AttemptsExhaustedError)

        virtually(main)
        assert len(made) == 1


def test_limits_of_a_context_hold_for_a_queue_too(virtually):
    gate = local_gate(str)

    async def main():
        policy = retry_on_stale_session(lambda session: session, gate=gate, **SOON)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(policy.call, rejecting(0, seconds=60), "session", "event")
            await anyio.sleep(1)
            began = anyio.current_time()
            with limits(deadline=2), pytest.raises(DeadlineExceededError) as caught:
                await policy.call(rejecting(0), "session", "event")
            assert anyio.current_time() - began == pytest.approx(2)
            assert isinstance(caught.value.last_error, TimeoutError)
            assert "not had in time" in str(caught.value.last_error)
            assert "0 attempts" in str(caught.value)

    virtually(main)


async def test_a_call_that_is_cancelled_behind_a_gate_leaves_it_and_says_nothing(caplog):
    gate = Watched()
    policy = retry_on_stale_session(lambda session: session, gate=gate, **SOON)

    async def append(session, event):
        if gate.entered:
            scope.cancel()
            await anyio.sleep_forever()
        raise StaleSessionError

    with anyio.CancelScope() as scope:
        await policy.call(append, "session", "event")
    assert (gate.entered, gate.left) == (1, 1)
    assert not caplog.records


def test_of_two_local_gates_the_free_one_is_kept_while_the_other_is_queued_for(virtually):
    first, second = local_gate(str)(str)

    async def main():
        policy = retry_on_stale_session(lambda session: session, **SOON)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(policy.replace(gate=second).call, rejecting(0, seconds=5), "session", "event")
            await anyio.sleep(1)
            tasks.start_soon(policy.replace(gate=[first, second]).call, rejecting(0, seconds=5), "session", "event")
            await anyio.sleep(1)
            assert (len(first), len(second)) == (1, 1)
        assert anyio.current_time() >= 10
        assert (len(first), len(second)) == (0, 0)

    virtually(main)


async def test_a_place_that_is_given_back_before_its_waiter_goes_on_is_free():
    gate = local_gate(str)
    first, second = gate("session"), gate("session")
    assert first.take()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(second.wait)
        await anyio.sleep(0.001)
        first.release()
        second.release()
    assert len(gate) == 0
    assert first.take()
    first.release()
