"""Deadlines and nested calls."""

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

from .ways import SOON

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


@pytest.mark.parametrize("blocking", ["refresh", "on_conflict"])
async def test_no_attempt_is_made_past_the_deadline_after_a_hook_that_blocks(blocking):
    append = rejecting(9)

    def block(argument):
        time.sleep(0.03)
        return {"refresh": "session", "on_conflict": None}[blocking]

    options = {"refresh": lambda session: session, **SOON, "deadline": 0.02, blocking: block}
    with pytest.raises(DeadlineExceededError):
        await retry_on_stale_session(**options).call(append, "session", "event")
    assert len(append.made) == 1


def test_a_deadline_beyond_every_float_is_no_limit_and_a_negative_one_is_refused():
    assert retry_on_stale_session(lambda session: session, deadline=10**400, max_attempts=2).deadline is None
    with pytest.raises(ValueError, match="are all None"):
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
    key = str

    async def main():
        policy = retry_on_stale_session(lambda session: session, key=key, **SOON)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(policy.call, rejecting(0, seconds=60), "session", "event")
            await anyio.sleep(1)
            began = anyio.current_time()
            with limits(deadline=2):
                assert await policy.call(rejecting(0), "session", "event") == "stored"
            assert anyio.current_time() - began == pytest.approx(1.5)  # without the slot, in the last quarter

    virtually(main)
