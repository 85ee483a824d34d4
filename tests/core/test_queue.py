"""The queue of `key=`: who goes first, who refreshes, and how it yields wherever waiting would do harm."""

import asyncio
import contextvars
import gc
import math
from contextlib import suppress
from functools import partial

import anyio
import pytest

from stale_retry import (
    StaleSessionError,
    constant,
    limits,
    retry_on_stale_session,
    retry_transaction,
    retry_with,
)
from stale_retry._queue import Grant, KeyedQueues, Queues, SlotQueue, _check
from stale_retry.testing import VersionedStore

from .queueing import in_order, slot
from .ways import SOON, by_id, keys_in_use, without_the_collector


@pytest.fixture
def store():
    store = VersionedStore()
    store.faults.delay = 0.01
    return store


def queueing(store, **options):
    return retry_on_stale_session(store.refresh, **{"key": by_id, "jitter": None, "observers": (), **options})


class TestTheOrder:
    def test_of_twenty_callers_with_five_events_none_overtakes_and_each_event_takes_one_call(self, virtually, store):
        append = queueing(store)(store.append)

        async def write(caller):
            for number in range(5):
                await append(store.open(), (number, caller))

        async def main():
            async with anyio.create_task_group() as tasks:
                for caller in range(20):
                    tasks.start_soon(write, caller)

        virtually(main)
        callers = [caller for _, caller in store.events()]
        assert all(callers[start : start + 20] == callers[:20] for start in range(0, 100, 20))
        assert store.appends == len(store.events()) == 100

    def test_callers_of_different_keys_do_not_wait_for_each_other(self, virtually, store):
        store.faults.delay = 10
        append = queueing(store)(store.append)

        async def main():
            async with anyio.create_task_group() as tasks:
                for name in "abc":
                    tasks.start_soon(append, store.open(name), "event")
            return anyio.current_time()

        assert virtually(main) == 10

    def test_functions_of_one_policy_queue_together_and_so_does_a_changed_one(self, virtually, store):
        policy = queueing(store)
        inside, most = 0, 0

        async def slow(session, event):
            nonlocal inside, most
            inside += 1
            most = max(most, inside)
            await anyio.sleep(1)
            inside -= 1

        async def rename(session, name):
            await slow(session, name)

        append = policy(slow)
        ways = (append, policy(rename), retry_with(append, deadline=5))

        async def main():
            async with anyio.create_task_group() as tasks:
                for way in ways:
                    tasks.start_soon(way, store.open(), "event")

        virtually(main)
        assert most == 1

    def test_another_policy_has_a_queue_of_its_own(self, virtually, store):
        store.faults.delay = 1

        async def main():
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(queueing(store).call, store.append, store.open("a"), 1)
                tasks.start_soon(queueing(store).call, store.append, store.open("b"), 2)
            return anyio.current_time()

        assert virtually(main) == 1


class TestACallerThatWaited:
    def waits(self, virtually, store, session_of_the_second, *, holder=None):
        """Let a second caller wait for a first one; the refreshes that this took."""
        policy = queueing(store)

        async def main():
            first = store.open()
            second = first if session_of_the_second == "the same" else store.open()
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self.swallowing, policy, holder or store.append, first, "first")
                await anyio.sleep(0.001)
                tasks.start_soon(policy.call, store.append, second, "second")

        virtually(main)
        return store.refreshes

    async def swallowing(self, policy, append, session, event):
        with suppress(OSError):
            await policy.call(append, session, event)

    def test_refreshes_before_its_first_attempt(self, virtually, store):
        assert self.waits(virtually, store, "its own") == 1
        assert store.appends == 2

    def test_does_not_if_nothing_was_stored_meanwhile(self, virtually, store):
        async def full(session, event):
            await anyio.sleep(1)
            raise OSError("the disk is full")

        assert self.waits(virtually, store, "its own", holder=full) == 0

    def test_asks_its_hooks_with_attempt_0(self, virtually, store):
        asked = []
        policy = queueing(store, on_conflict=lambda conflict: asked.append((conflict.attempt, str(conflict.error))))

        async def main():
            async with anyio.create_task_group() as tasks:
                for event in ("first", "second"):
                    tasks.start_soon(policy.call, store.append, store.open(), event)

        virtually(main)
        assert asked == [(0, "others stored while this append waited in the queue")]

    def test_with_a_hook_that_aborts_is_told_why(self, virtually, store):
        def abort(conflict):
            raise KeyError("the history changed")

        policy, raised = queueing(store, on_conflict=abort), []

        async def second():
            with pytest.raises(KeyError) as caught:
                await policy.call(store.append, store.open(), "second")
            raised.append(caught.value)

        async def main():
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(policy.call, store.append, store.open(), "first")
                await anyio.sleep(0.001)
                tasks.start_soon(second)

        virtually(main)
        assert isinstance(raised[0].__cause__, StaleSessionError)

    def test_in_a_block_with_hooks_is_rejected_first_so_that_the_loop_has_run(self, virtually, store):
        policy = queueing(store, on_conflict=lambda conflict: conflict.settle("had"))

        async def block():
            async for attempt in policy.attempts(store.open()):
                with attempt:
                    await store.append(attempt.session, "second")
            return attempt.settled.result, attempt.session.version

        async def main():
            ended = []

            async def second():
                ended.append(await block())

            async with anyio.create_task_group() as tasks:
                tasks.start_soon(policy.call, store.append, store.open(), "first")
                await anyio.sleep(0.001)
                tasks.start_soon(second)
            return ended

        assert virtually(main) == [("had", 1)]


class TestSharing:
    def test_a_nested_call_and_the_tasks_it_starts_do_not_wait_for_their_own_slot(self, virtually, store):
        policy = queueing(store)
        nested = policy(store.append)

        @policy
        async def outer(session, event):
            await nested(session, "nested")
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(nested, session, "in a task")
            return await store.append(session, event)

        async def main():
            await outer(store.open(), "outer")
            return anyio.current_time()

        assert virtually(main) == pytest.approx(0.03)
        assert store.events() == ["nested", "in a task", "outer"]
        assert keys_in_use() == 0

    def test_a_caller_that_waited_inside_its_slot_and_does_no_longer_closes_no_circle(self, virtually, store):
        policy = queueing(store)

        async def first():
            async with slot(policy, store.open("b")):
                await anyio.sleep(1)

        async def outer():
            async with slot(policy, store.open("a")):
                await first()
                await anyio.sleep(2)

        async def crossing():
            async with slot(policy, store.open("b")), slot(policy, store.open("a")):
                assert anyio.current_time() == pytest.approx(4, abs=0.05)

        virtually(partial(in_order, first, outer, crossing))


class TestRevocation:
    """A holder that hangs must not take its session out of the process."""

    @pytest.mark.parametrize(("hanging", "waited"), [(1, 5.0), (3, 5 + 1.25 + 0.3125)])
    def test_a_slot_that_is_held_too_long_goes_to_the_next_each_time_four_times_sooner(
        self, virtually, store, hanging, waited
    ):
        policy = queueing(store, deadline=1000)

        async def hang(session, event):
            await anyio.sleep(10_000)

        async def main():
            async with anyio.create_task_group() as tasks:
                for event in range(hanging):
                    tasks.start_soon(policy.call, hang, store.open(), event)
                await anyio.sleep(0.001)
                await policy.call(store.append, store.open(), "good")
                tasks.cancel_scope.cancel()
                return anyio.current_time()

        assert virtually(main) == pytest.approx(waited, abs=0.05)
        assert keys_in_use() == 0

    def test_the_next_one_comes_after_5_seconds_again_once_a_holder_gave_its_slot_back(self, virtually, store):
        policy, began = queueing(store, deadline=1000), []

        async def hang():
            async with slot(policy, store.open()):
                began.append(anyio.current_time())
                await anyio.sleep(100)

        async def give_back():
            async with slot(policy, store.open()):
                began.append(anyio.current_time())

        virtually(partial(in_order, hang, hang, give_back, hang, give_back))
        assert began == pytest.approx([0, 5, 6.25, 6.25, 11.25], abs=0.05)

    def test_a_revoked_holder_may_still_store(self, virtually, store):
        policy = queueing(store, deadline=1000)

        async def slow(session, event):
            await anyio.sleep(6)
            return await store.append(session, event)

        async def main():
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(policy.call, slow, store.open(), "slow")
                await anyio.sleep(0.001)
                await policy.call(store.append, store.open(), "quick")

        virtually(main)
        assert store.events() == ["quick", "slow"]

    def test_a_caller_goes_on_without_the_slot_when_a_quarter_of_its_deadline_is_left(self, virtually, store):
        policy = queueing(store, deadline=1000)

        async def hang(session, event):
            await anyio.sleep(10_000)

        async def main():
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(policy.call, hang, store.open(), "hangs")
                await anyio.sleep(0.001)
                with limits(deadline=2):
                    await policy.call(store.append, store.open(), "hurried")
                tasks.cancel_scope.cancel()
                return anyio.current_time()

        assert virtually(main) == pytest.approx(1.511)
        assert keys_in_use() == 0


class TestOverABackoff:
    def test_the_slot_is_kept_while_the_backoffs_are_short(self, virtually, store):
        assert self.first_to_store(virtually, store, backoff=0.1) == ["rejected once", "other"]

    def test_it_is_given_up_over_a_long_one(self, virtually, store):
        assert self.first_to_store(virtually, store, backoff=1.0) == ["other", "rejected once"]

    def first_to_store(self, virtually, store, backoff):
        policy = queueing(store, backoff=constant(backoff))
        rejections = [StaleSessionError()]

        async def append(session, event):
            if event == "rejected once" and rejections:
                await anyio.sleep(0.01)
                raise rejections.pop()
            return await store.append(session, event)

        async def main():
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(policy.call, append, store.open(), "rejected once")
                await anyio.sleep(0.001)
                tasks.start_soon(policy.call, append, store.open(), "other")

        virtually(main)
        return store.events()


class TestASlotThatNobodyLeaves:
    pytestmark = pytest.mark.anyio

    async def test_is_free_when_its_holder_is_cancelled(self, store):
        policy = queueing(store)
        with anyio.move_on_after(0.01):
            await policy.call(hangs, store.open(), "event")
        assert keys_in_use() == 0

    @pytest.mark.filterwarnings("ignore:a slot was dropped:ResourceWarning")
    @pytest.mark.filterwarnings("ignore:.*the loop was left after a failed attempt:ResourceWarning")
    async def test_is_free_when_the_loop_of_its_block_is_dropped(self, store):
        policy = queueing(store, **SOON)
        with without_the_collector():
            async for attempt in policy.attempts(store.open()):
                if attempt.number == 2:
                    break
                with attempt:
                    raise StaleSessionError
            del attempt
            await anyio.sleep(0.001)
            assert keys_in_use() == 0

    @pytest.mark.filterwarnings("ignore:a slot was dropped:ResourceWarning")
    async def test_wakes_the_next_caller_when_it_is_collected_in_another_thread(self, store):
        policy = queueing(store, **SOON)
        attempts = policy.attempts(store.open())
        await anext(attempts)  # holds the slot
        holder = [attempts]
        del attempts
        with anyio.fail_after(5):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(policy.call, store.append, store.open(), "next")
                await anyio.sleep(0.01)
                await anyio.to_thread.run_sync(holder.clear)
        assert store.events() == ["next"]
        assert keys_in_use() == 0

    async def test_is_taken_by_a_caller_that_found_it_held_and_waits_when_it_is_free_again(self, store):
        queues = KeyedQueues()
        holder, caller = queues.slot("key"), queues.slot("key")
        contextvars.copy_context().run(holder.take)
        assert not caller.take()
        holder.release()
        assert await caller.wait(math.inf) == 0.0
        assert queues.of("key") is not None
        caller.release()
        assert queues.of("key") is None

    async def test_has_nothing_to_revoke_when_a_timer_fires_too_late(self):
        _check(Queues(), "key")


def test_a_circle_is_found_where_two_ways_lead_to_it():
    mine, other, both = Grant(), Grant(), Grant()
    first, second, ours = SlotQueue(other), SlotQueue(other), SlotQueue(mine)
    both.waits_for = first, second
    other.waits_for = (ours,)
    assert SlotQueue(both).would_close_a_circle([mine])
    assert not SlotQueue(both).would_close_a_circle([Grant()])


def test_each_event_loop_has_queues_of_its_own():
    queues = KeyedQueues()

    async def take():
        slot = queues.slot("key")
        assert slot.take()
        return slot

    async def queue_of():
        return queues.of("key")

    first, second, third = (asyncio.new_event_loop() for _ in range(3))
    try:
        slots = [loop.run_until_complete(take()) for loop in (first, second)]
        found = [loop.run_until_complete(queue_of()) for loop in (first, second, third)]
        assert [queue is not None for queue in found] == [True, True, False]
        assert found[0] is not found[1]
        for loop, slot in zip((first, second), slots, strict=True):
            slot.release()  # from where no loop runs, so it takes effect when its own does
            loop.run_until_complete(asyncio.sleep(0))
        assert len(queues) == 0
    finally:
        for loop in (first, second, third):
            loop.close()


async def hangs(session, event):
    await anyio.sleep_forever()


@pytest.mark.anyio
class TestTheKey:
    async def test_of_a_transaction_that_cannot_be_hashed_is_named_too(self):
        @retry_transaction(key="account")
        async def withdraw(account):
            raise AssertionError("never runs")

        with pytest.raises(TypeError, match="key must return a hashable value, but returned a list"):
            await withdraw([1])

    async def test_that_cannot_be_compared_raises_its_own_error(self, store):
        class Key:
            def __hash__(self):
                return 1

            def __eq__(self, other):
                raise TypeError("never compared")

        policy = queueing(store, key=lambda session: Key(), **SOON)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(policy.call, hangs, store.open(), "event")
            await anyio.wait_all_tasks_blocked()
            with pytest.raises(TypeError, match="never compared"):
                await policy.call(store.append, store.open(), "event")
            tasks.cancel_scope.cancel()

    @pytest.mark.parametrize("key", [1, "id"])
    async def test_must_be_a_function(self, key):
        with pytest.raises(TypeError, match="key must be a function of the session"):
            retry_on_stale_session(lambda session: session, key=key)

    async def test_must_take_the_session_alone(self):
        with pytest.raises(TypeError, match="cannot be called with the session alone"):
            retry_on_stale_session(lambda session: session, key=lambda self, session: 1)

    async def test_must_not_be_async(self):
        async def key(session):
            return 1

        with pytest.raises(TypeError, match="must not be async"):
            retry_on_stale_session(lambda session: session, key=key)


def test_a_collection_at_any_moment_of_entering_loses_no_wake_up(virtually, store):
    # The garbage collector may free a dropped slot in the middle of entering the queue.
    policy = queueing(store)

    class Cycle:
        pass

    async def main():
        for _ in range(20):
            dropped = Cycle()
            dropped.attempts, dropped.itself = policy.attempts(store.open()), dropped
            await anext(dropped.attempts)
            del dropped
            with anyio.fail_after(60):
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(policy.call, store.append, store.open(), "event")
                    await anyio.sleep(0.001)
                    gc.collect()

    threshold = gc.get_threshold()
    gc.set_threshold(25)
    try:
        with pytest.warns(ResourceWarning, match="a slot was dropped"):
            virtually(main)
    finally:
        gc.set_threshold(*threshold)
    assert keys_in_use() == 0
