"""Arrival decides who goes first, what is nested shares the slot, and a slot is free however its call ends."""

import asyncio
import gc
import itertools
import threading
import warnings
from contextlib import suppress
from functools import partial

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stale_retry import StaleSessionError, constant, retry_on_stale_session
from stale_retry.testing import VersionedStore

from .queueing import in_order, slot
from .virtual import examples
from .ways import SOON, WAYS, a_stale_session, append_in, by_id

on_both = pytest.mark.anyio


@pytest.fixture
def store():
    return VersionedStore()


@pytest.fixture
def policy(store):
    return retry_on_stale_session(store.refresh, key=by_id, **SOON)


class TestTheOrder:
    @examples(60)
    @given(st.data())
    def test_whoever_comes_when_and_takes_how_long_is_served_in_the_order_of_arrival(self, virtually, data):
        arrivals = data.draw(st.lists(st.integers(0, 50), min_size=2, max_size=12, unique=True))
        takes = data.draw(st.lists(st.integers(0, 30), min_size=len(arrivals), max_size=len(arrivals)))
        leaves = data.draw(st.lists(st.booleans(), min_size=len(arrivals), max_size=len(arrivals)))
        served, store = [], VersionedStore()
        policy = retry_on_stale_session(store.refresh, key=by_id, observers=())

        async def writer(arrival, take, is_cancelled):
            await anyio.sleep(arrival / 10)
            with anyio.move_on_after(take / 20 if is_cancelled else 1e6):
                async with slot(policy, store.open()):
                    served.append(arrival)
                    await anyio.sleep(take / 10)

        async def main():
            async with anyio.create_task_group() as tasks:
                for each in zip(arrivals, takes, leaves, strict=True):
                    tasks.start_soon(writer, *each)

        virtually(main)
        assert served == sorted(served)
        assert set(served) >= {a for a, leave in zip(arrivals, leaves, strict=True) if not leave}
        assert len(policy.queues) == 0

    @on_both
    async def test_a_newcomer_does_not_overtake_the_waiter_that_was_just_given_the_slot(self, store, policy):
        order = []

        async def second():
            async with slot(policy, store.open()):
                order.append("second enters")
                await anyio.sleep(0.001)
                order.append("second leaves")

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(second)
            async with slot(policy, store.open()):
                await anyio.wait_all_tasks_blocked()
            async with slot(policy, store.open()):
                order.append("first again")
        assert order == ["second enters", "second leaves", "first again"]

    def test_callers_back_from_a_backoff_and_new_waiters_take_turns(self, virtually):
        store, order, rejected = VersionedStore(), [], set()
        policy = retry_on_stale_session(store.refresh, key=by_id, backoff=constant(1), jitter=None, observers=())

        @policy
        async def append(session, event):
            order.append(event)
            if event.startswith("twice") and event not in rejected:
                rejected.add(event)
                raise StaleSessionError
            await anyio.sleep(1.5)

        events = ["twice 1", "twice 2", "holder", "new 1", "new 2"]
        virtually(partial(in_order, *(partial(append, store.open(), event) for event in events)))
        assert order[:4] == [*events[:3], "new 1"]
        assert [event.split()[0] for event in order[4:]] == ["twice", "new", "twice"]

    @on_both
    async def test_a_changed_key_queues_apart(self, store, policy):
        other = policy.replace(key=lambda session: session.id)
        with anyio.fail_after(5):
            async with slot(policy, store.open()), slot(other, store.open()):
                assert (len(policy.queues), len(other.queues)) == (1, 1)


class TestSharing:
    @on_both
    async def test_a_nested_call_of_a_caller_that_had_to_wait_does_not_wait_for_its_own_slot_either(
        self, store, policy
    ):
        inner = policy(store.append)

        @policy
        async def outer(session, event):
            await inner(session, "nested")
            return await store.append(session, event)

        waiting = anyio.Event()

        async def hold():
            async with slot(policy, store.open()):
                await waiting.wait()

        with anyio.fail_after(2):
            async with anyio.create_task_group() as tasks:
                for call in (hold, partial(outer, store.open(), "outer")):
                    tasks.start_soon(call)
                    await anyio.wait_all_tasks_blocked()
                waiting.set()
        assert store.events() == ["nested", "outer"]

    @on_both
    async def test_a_nested_call_that_was_rejected_gives_back_no_slot_but_its_own(self, store, policy):
        inner = policy(store.append)

        @policy
        async def outer(session, event):
            if session.version < 0:
                raise StaleSessionError
            answer = await inner(session, event)
            assert len(policy.queues) == 1
            return answer

        session = a_stale_session(store)
        store.faults.stale = 2
        assert await outer(session, "event") == "event"
        assert store.events() == ["event"]
        assert len(policy.queues) == 0

    @on_both
    async def test_waiters_know_what_a_nested_call_stored_through(self, store, policy):
        append = policy(store.append)
        session = store.open()
        held, waiting = anyio.Event(), anyio.Event()

        async def hold():
            async with slot(policy, session):
                held.set()
                await waiting.wait()
                await append(session, "nested")

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(hold)
            await held.wait()
            tasks.start_soon(append, session, "next")
            await anyio.wait_all_tasks_blocked()
            waiting.set()
        assert store.events() == ["nested", "next"]
        assert store.refreshes == 0

    @on_both
    async def test_a_task_that_outlives_the_slot_it_was_started_in_waits_like_everybody(self, store, policy):
        order, go_on = [], anyio.Event()

        async def child():
            await go_on.wait()
            async with slot(policy, store.open()):
                order.append("child")

        async with anyio.create_task_group() as tasks:
            async with slot(policy, store.open()):
                tasks.start_soon(child)
            async with slot(policy, store.open()):
                go_on.set()
                await anyio.wait_all_tasks_blocked()
                order.append("holder")
        assert order == ["holder", "child"]


@on_both
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("ending", ["stored at once", "stored after a rejection", "rejected", "another error"])
async def test_a_call_that_ends_gives_its_slot_back(store, way, ending):
    store.faults.stale = {"stored after a rejection": 1, "rejected": 9}.get(ending, 0)
    policy = retry_on_stale_session(store.refresh, key=by_id, max_attempts=2, **SOON)

    async def append(session, event):
        if ending == "another error":
            raise KeyError
        return await store.append(session, event)

    with warnings.catch_warnings(record=True) as warned, suppress(StaleSessionError, KeyError):
        warnings.simplefilter("always")
        await append_in(way, policy, append, store.open(), "event")
    gc.collect()
    assert warned == []
    assert len(policy.queues) == 0


@on_both
@pytest.mark.parametrize("ending", ["gone", "settled"])
async def test_a_call_that_ends_between_attempts_gives_its_slot_back(store, ending):
    policy = retry_on_stale_session(
        store.refresh, key=by_id, on_conflict=lambda conflict: conflict.settle("settled"), **SOON
    )
    session = a_stale_session(store)
    store.faults.gone = ending == "gone"
    with suppress(StaleSessionError):
        await policy.call(store.append, session, "event")
    assert len(policy.queues) == 0


@on_both
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    ("key", "error"),
    [
        (lambda session: [], r"key must return a hashable value, but returned a list; use a string"),
        (lambda session: session.nonsense, "nonsense"),
    ],
    ids=["not hashable", "raises"],
)
async def test_a_key_that_cannot_be_made_ends_the_call_before_its_first_attempt(store, way, key, error):
    policy = retry_on_stale_session(store.refresh, key=key, **SOON)
    with pytest.raises((TypeError, AttributeError), match=error) as caught:
        await append_in(way, policy, store.append, store.open(), "event")
    assert caught.value.__cause__ is None
    assert store.appends == 0
    assert len(policy.queues) == 0


class TestWhatIsDropped:
    """A slot that nobody holds any longer is free, whoever forgot it."""

    @on_both
    async def test_a_loop_that_is_left_before_its_block_frees_the_slot_and_warns(self, store, policy):
        async def leaves_between():
            async for _ in policy.attempts(store.open()):
                break

        with pytest.warns(ResourceWarning, match="a slot was dropped"):
            await leaves_between()
        with anyio.fail_after(2):
            await policy.call(store.append, store.open(), "next")
            await anyio.wait_all_tasks_blocked()
        assert len(policy.queues) == 0

    @pytest.mark.asyncio
    async def test_a_generator_that_yields_inside_its_block_may_be_closed_by_another_task(self, store, policy):
        async def runner():
            async for attempt in policy.attempts(store.open()):
                with attempt:
                    yield "progress"

        generator = runner()
        assert await anext(generator) == "progress"
        assert len(policy.queues) == 1
        await asyncio.create_task(generator.aclose())
        assert len(policy.queues) == 0
        await asyncio.wait_for(policy.call(store.append, store.open(), "next"), 2)
        assert store.events() == ["next"]

    def test_waiters_in_an_event_loop_that_was_simply_closed_hold_nothing(self, store, policy):
        async def hold():
            async with slot(policy, store.open()):
                await asyncio.sleep(3600)

        loop = asyncio.new_event_loop()
        tasks = [loop.create_task(hold()) for _ in range(2)]
        loop.run_until_complete(asyncio.sleep(0.001))
        assert len(policy.queues) == 1
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            loop.close()
            for task in tasks:
                task._log_destroy_pending = False
            del loop, tasks, task
            gc.collect()
        assert len(policy.queues) == 0


@on_both
async def test_a_thousand_different_sessions_leave_no_entry_behind(store, policy):
    most = 0

    async def append(session, event):
        nonlocal most
        most = max(most, len(policy.queues))
        return await store.append(session, event)

    async def writer(number):
        session = store.open(str(number))
        session.version = -1
        await policy.call(append, session, number)

    async with anyio.create_task_group() as tasks:
        for number in range(1000):
            tasks.start_soon(writer, number)
    assert most > 0
    assert len(policy.queues) == 0
    assert all(store.events(str(number)) == [number] for number in range(1000))


class TestSeveralEventLoops:
    def test_in_several_threads_share_a_policy_and_have_queues_of_their_own(self, store, policy):
        done = []

        async def writer(number):
            async with slot(policy, store.open()):
                await asyncio.sleep(0)
                done.append(number)

        async def main(numbers):
            await asyncio.gather(*map(writer, numbers))

        counter = itertools.count()
        threads = [
            threading.Thread(target=asyncio.run, args=(main([next(counter) for _ in range(50)]),)) for _ in range(4)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(done) == list(range(200))
        assert len(policy.queues) == 0

    def test_of_different_frameworks_hold_the_slot_of_one_key_at_once(self, store, policy):
        both_hold_it = threading.Barrier(2, timeout=10)
        answers = []

        async def append(session, event):
            # Blocks the whole loop, so that both loops are here at once.
            both_hold_it.wait()
            answers.append((event, len(policy.queues)))
            both_hold_it.wait()

        async def main(event):
            await policy.call(append, store.open(), event)

        threads = [
            threading.Thread(target=anyio.run, args=(main, backend), kwargs={"backend": backend})
            for backend in ("asyncio", "trio")
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(20)
        assert sorted(answers) == [("asyncio", 2), ("trio", 2)]
        assert len(policy.queues) == 0
