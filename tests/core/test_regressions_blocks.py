"""Blocks: what may be opened around them, how they may be left, and what an `Attempts` refuses."""

import asyncio
import gc
import sys

import anyio
import pytest

from stale_retry import (
    StaleSessionError,
    retry_on_stale_session,
)

from .ways import SOON, keys_in_use

if sys.version_info < (3, 11):
    pass

pytestmark = pytest.mark.anyio


KEYS = {"no queue": None, "a queue": str}


def rejecting(count):
    made = []

    async def append(session, event):
        await anyio.lowlevel.checkpoint()
        made.append(session)
        if len(made) <= count:
            raise StaleSessionError

    append.made = made
    return append


@pytest.mark.parametrize("key", KEYS)
class TestAroundABlock:
    async def test_a_cancel_scope_may_be_opened_and_cancels_nothing_later(self, key):
        append = rejecting(2)
        policy = retry_on_stale_session(lambda session: session, key=KEYS[key], **SOON)
        async for attempt in policy.attempts("session"):
            with anyio.fail_after(5):
                with attempt:
                    await append(attempt.session, "event")
        assert len(append.made) == 3
        await anyio.sleep(0.005)

    async def test_a_task_group_may_be_opened_and_one_may_surround_the_loop(self, key):
        append = rejecting(2)
        policy = retry_on_stale_session(lambda session: session, key=KEYS[key], **SOON)
        async with anyio.create_task_group() as outer:
            outer.start_soon(anyio.lowlevel.checkpoint)
            async for attempt in policy.attempts("session"):
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(anyio.lowlevel.checkpoint)
                    with attempt:
                        await append(attempt.session, "event")
        assert len(append.made) == 3

    async def test_the_append_may_be_made_in_a_task_group_inside(self, key):
        append = rejecting(2)
        policy = retry_on_stale_session(lambda session: session, key=KEYS[key], **SOON)
        async for attempt in policy.attempts("session"):
            with attempt:
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(append, attempt.session, "event")
        assert len(append.made) == 3

    async def test_a_scope_around_the_block_that_is_cancelled_frees_the_slot(self, key):
        append = rejecting(1)
        policy = retry_on_stale_session(lambda session: session, key=KEYS[key], **SOON)
        with anyio.CancelScope() as scope:
            async for attempt in policy.attempts("session"):
                with attempt:
                    await append(attempt.session, "event")
                    scope.cancel()
                    await anyio.sleep_forever()
        assert keys_in_use() == 0


@pytest.mark.filterwarnings("ignore:a slot was dropped:ResourceWarning")
def test_a_slot_that_outlives_its_event_loop_is_dropped_and_the_key_serves_the_next_loop():
    held = []
    policy = retry_on_stale_session(lambda session: session, key=str, **SOON)

    async def main():
        append = rejecting(1)
        async for attempt in policy.attempts("session"):
            if attempt.number == 2:
                held.append(attempt)
                return
            with attempt:
                await append(attempt.session, "event")

    loop = asyncio.new_event_loop()
    loop.run_until_complete(main())
    loop.close()
    held.clear()
    gc.collect()
    asyncio.run(main())
