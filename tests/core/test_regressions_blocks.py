"""Blocks: what may be opened around them, how they may be left, and what an `Attempts` refuses."""

import asyncio
import gc
import sys
from contextlib import asynccontextmanager, suppress

import anyio
import pytest

from stale_retry import (
    StaleSessionError,
    retry_on_stale_session,
)

from .ways import SOON

if sys.version_info < (3, 11):
    pass

pytestmark = pytest.mark.anyio


class Watched:
    """A gate of the user's own, which knows who is inside."""

    def __init__(self, opening=None):
        self.entered = self.left = 0
        self.opening = opening

    @asynccontextmanager
    async def __call__(self, session):
        self.entered += 1
        try:
            if self.opening is None:
                yield
            else:
                async with self.opening():
                    yield
        finally:
            self.left += 1


@asynccontextmanager
async def a_scope():
    with anyio.fail_after(60):
        yield


lock_of_the_session = anyio.Lock
GATES = {
    "local": lambda: local_gate(str),
    "a lock": lambda: lambda session: lock_of_the_session(),
    "a semaphore": lambda: lambda session: anyio.Semaphore(1),
    "a scope": lambda: Watched(a_scope),
    "a task group": lambda: Watched(anyio.create_task_group),
    "several": lambda: [local_gate(str), Watched(a_scope), Watched(anyio.create_task_group)],
}


def rejecting(count):
    made = []

    async def append(session, event):
        await anyio.lowlevel.checkpoint()
        made.append(session)
        if len(made) <= count:
            raise StaleSessionError

    append.made = made
    return append


@pytest.mark.parametrize("gate", GATES)
@pytest.mark.parametrize("asynchronously", [False, True], ids=["with", "async with"])
class TestAroundABlock:
    async def test_a_cancel_scope_may_be_opened_and_cancels_nothing_later(self, gate, asynchronously):
        append = rejecting(2)
        policy = retry_on_stale_session(lambda session: session, gate=GATES[gate](), **SOON)
        async for attempt in policy.attempts("session"):
            with anyio.fail_after(5):
                if asynchronously:
                    async with attempt:
                        await append(attempt.session, "event")
                else:
                    with attempt:
                        await append(attempt.session, "event")
        assert len(append.made) == 3
        await anyio.sleep(0.005)

    async def test_a_task_group_may_be_opened_and_one_may_surround_the_loop(self, gate, asynchronously):
        append = rejecting(2)
        policy = retry_on_stale_session(lambda session: session, gate=GATES[gate](), **SOON)
        async with anyio.create_task_group() as outer:
            outer.start_soon(anyio.lowlevel.checkpoint)
            async for attempt in policy.attempts("session"):
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(anyio.lowlevel.checkpoint)
                    if asynchronously:
                        async with attempt:
                            await append(attempt.session, "event")
                    else:
                        with attempt:
                            await append(attempt.session, "event")
        assert len(append.made) == 3

    async def test_the_append_may_be_made_in_a_task_group_inside(self, gate, asynchronously):
        append = rejecting(2)
        policy = retry_on_stale_session(lambda session: session, gate=GATES[gate](), **SOON)
        async for attempt in policy.attempts("session"):
            if asynchronously:
                async with attempt, anyio.create_task_group() as tasks:
                    tasks.start_soon(append, attempt.session, "event")
            else:
                with attempt:
                    async with anyio.create_task_group() as tasks:
                        tasks.start_soon(append, attempt.session, "event")
        assert len(append.made) == 3

    async def test_a_scope_around_the_block_that_is_cancelled_leaves_every_gate(self, gate, asynchronously):
        append, gates = rejecting(1), GATES[gate]()
        policy = retry_on_stale_session(lambda session: session, gate=gates, **SOON)
        with anyio.CancelScope() as scope:
            async for attempt in policy.attempts("session"):
                if asynchronously:
                    async with attempt:
                        await append(attempt.session, "event")
                        scope.cancel()
                        await anyio.sleep_forever()
                else:
                    with attempt:
                        await append(attempt.session, "event")
                        scope.cancel()
                        await anyio.sleep_forever()
        for _ in range(10):
            await anyio.sleep(0.001)
        for one in gates if isinstance(gates, list) else [gates]:
            if isinstance(one, Watched):
                assert (one.entered, one.left) == (1, 1)
            elif hasattr(one, "loops"):
                assert len(one) == 0


class TestAForeignGateThatIsDropped:
    """A loop that is left between `async for` and `with`, behind a gate that only retries queue at."""

    async def left(self, how):
        gate, append = Watched(), rejecting(1)
        policy = retry_on_stale_session(lambda session: session, gate=gate, **SOON)

        async def turn():
            async for attempt in policy.attempts("session"):
                if attempt.number == 2:
                    if how == "break":
                        break
                    if how == "return":
                        return
                    if how == "an error":
                        raise KeyError
                    scope.cancel()
                    await anyio.sleep_forever()
                with attempt:
                    await append(attempt.session, "event")

        with anyio.CancelScope() as scope, suppress(KeyError):
            await turn()
        for _ in range(10):  # what was cancelled is kept until its task is next switched, and the gate has its own
            await anyio.sleep(0.001)
        return gate

    @pytest.mark.parametrize("how", ["break", "return", "an error", "a cancellation"])
    async def test_is_left(self, how):
        gate = await self.left(how)
        assert (gate.entered, gate.left) == (1, 1)

    async def test_is_left_when_it_is_collected_in_another_thread(self):
        gate, append = Watched(), rejecting(1)
        policy = retry_on_stale_session(lambda session: session, gate=gate, **SOON)
        attempts = policy.attempts("session")
        async for attempt in attempts:
            if attempt.number == 2:
                break
            with attempt:
                await append(attempt.session, "event")
        holder = [attempts]
        del attempts, attempt
        await anyio.to_thread.run_sync(holder.clear)
        await anyio.sleep(0.01)
        assert (gate.entered, gate.left) == (1, 1)


@pytest.mark.filterwarnings("ignore:a place at a local gate was dropped:ResourceWarning")
@pytest.mark.parametrize("gate", [Watched()(str)], ids=["foreign", "local"])
def test_one_that_outlives_its_event_loop_is_dropped_and_the_gate_serves_the_next_loop(gate):
    held = []

    async def main():
        append = rejecting(1)
        policy = retry_on_stale_session(lambda session: session, gate=gate, **SOON)
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
