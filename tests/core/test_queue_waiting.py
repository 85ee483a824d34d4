"""What a caller that waited in the queue does: whether it refreshes first, and what a cancellation leaves behind."""

import asyncio
import contextvars
import gc
import weakref
from functools import partial

import anyio
import pytest

from stale_retry import DeadlineExceededError, StaleSessionError, constant, retry_on_stale_session
from stale_retry.testing import VersionedStore

from .queueing import in_order, slot
from .ways import SOON, a_stale_session, by_id

on_both = pytest.mark.anyio


@pytest.fixture
def store():
    return VersionedStore()


class TestTheEarlyRefresh:
    def contended(self, virtually, sessions, **options):
        """Two appends, the second of which waits; the store and the calls of the refresh hook."""
        store, refreshed = VersionedStore(), []

        async def refresh(session):
            refreshed.append(session)
            return await store.refresh(session)

        @retry_on_stale_session(refresh, key=by_id, observers=(), **options)
        async def append(session, event):
            await anyio.sleep(1)
            return await store.append(session, event)

        first = store.open()
        second = first if sessions == 1 else store.open()
        virtually(partial(in_order, partial(append, first, 1), partial(append, second, 2)))
        assert store.events() == [1, 2]
        return store, refreshed

    def test_is_left_out_for_the_very_session_that_was_stored_through_last(self, virtually):
        store, refreshed = self.contended(virtually, 1)
        assert (store.appends, len(refreshed)) == (2, 0)

    def test_is_left_out_too_if_that_was_stored_through_by_one_that_had_waited(self, virtually):
        store = VersionedStore()
        append = retry_on_stale_session(store.refresh, key=by_id, observers=())(store.append)
        store.faults.delay = 1
        session = store.open()
        virtually(partial(in_order, *(partial(append, session, event) for event in range(3))))
        assert store.events() == [0, 1, 2]
        assert store.refreshes == 0

    def test_is_made_whatever_errors_on_accepts(self, virtually):
        _, refreshed = self.contended(virtually, 2, on=ConnectionError)
        assert len(refreshed) == 1

    def test_is_made_for_a_session_that_was_stored_through_before_another_one(self, virtually):
        # The last session, a string, cannot be remembered; the one before it must not be taken for the last.
        refreshed, mine = [], VersionedStore().open()

        def refresh(session):
            refreshed.append(session)
            return session

        @retry_on_stale_session(refresh, key=lambda session: "all", observers=())
        async def append(session, event):
            await anyio.sleep(1)

        calls = [partial(append, session, event) for event, session in enumerate([mine, mine, "a string", mine])]
        virtually(partial(in_order, *calls))
        assert refreshed == ["a string", mine]

    @on_both
    async def test_keeps_no_session_alive_that_others_are_done_with(self, store):
        go_on, sessions = [anyio.Event() for _ in range(3)], []

        @retry_on_stale_session(store.refresh, key=by_id, observers=())
        async def append(session, event):
            await go_on[event].wait()

        async def writer(event):
            session = store.open()
            sessions.append(weakref.ref(session))
            await append(session, event)

        async with anyio.create_task_group() as tasks:
            for event in range(3):
                tasks.start_soon(writer, event)
                await anyio.wait_all_tasks_blocked()
            go_on[0].set()
            await anyio.wait_all_tasks_blocked()
            gc.collect()
            assert sessions[0]() is None
            go_on[1].set()
            go_on[2].set()

    def test_does_not_count_if_its_hooks_do_not_end_in_time(self, virtually):
        # They have not seen the fresh session, so they could not object to it: the append goes with the one that came.
        store, asked, sent = VersionedStore(), [], []

        async def on_conflict(conflict):
            asked.append(conflict.attempt)
            if conflict.attempt == 0:
                await anyio.sleep_forever()

        @retry_on_stale_session(store.refresh, key=by_id, on_conflict=on_conflict, deadline=10, observers=())
        async def append(session, event):
            sent.append((event, session.version))
            await anyio.sleep(1)
            return await store.append(session, event)

        virtually(partial(in_order, partial(append, store.open(), 1), partial(append, store.open(), 2)))
        assert store.events() == [1, 2]
        assert sent == [(1, 0), (2, 0), (2, 1)]
        assert asked == [0, 1]

    def test_is_not_made_for_an_event_that_on_never_retries(self, virtually):
        # With the session as it came the store rejects it, and rightly so.
        store = VersionedStore()

        def on(retry_state):
            return isinstance(retry_state.outcome.exception(), StaleSessionError) and retry_state.args[1] != "summary"

        @retry_on_stale_session(store.refresh, key=by_id, on=on, observers=())
        async def append(session, event):
            await anyio.sleep(1)
            return await store.append(session, event)

        async def second():
            with pytest.raises(StaleSessionError):
                await append(old, "summary")

        old = store.open()
        virtually(partial(in_order, partial(append, store.open(), "event"), second))
        assert store.events() == ["event"]
        assert store.refreshes == 0

    @pytest.mark.parametrize("fault", ["raises", "finds nothing", "hangs"])
    def test_decides_nothing_when_it_fails(self, virtually, fault):
        store, answers = VersionedStore(), []

        async def refresh(session):
            if fault == "raises":
                raise ConnectionError
            if fault == "hangs":
                await anyio.sleep_forever()

        @retry_on_stale_session(refresh, key=by_id, deadline=60, observers=())
        async def append(session, event):
            assert session is not None
            await anyio.sleep(1)
            return event

        async def writer(event):
            answers.append(await append(store.open(), event))

        virtually(partial(in_order, partial(writer, 1), partial(writer, 2)))
        assert answers == [1, 2]

    def test_is_not_made_for_a_save_whose_event_would_be_lost(self, virtually):
        # The event is inside the session: on a reloaded one the append would store nothing and return.
        store, errors = VersionedStore(), []

        @retry_on_stale_session(store.refresh, key=by_id, observers=())
        async def save(session):
            await anyio.sleep(1)
            return await store.append(session, session.new)

        async def writer(session, event):
            session.new = event
            try:
                await save(session)
            except TypeError as error:
                errors.append(error)

        virtually(partial(in_order, *(partial(writer, store.open(), event) for event in range(3))))
        assert store.events() == [0]
        assert len(errors) == 2
        assert all(isinstance(error.__cause__, StaleSessionError) for error in errors)


def test_a_call_that_waited_and_is_then_rejected_until_its_deadline_tells_how_long_it_queued(virtually):
    store, told = VersionedStore(), []
    policy = retry_on_stale_session(
        store.refresh, key=by_id, deadline=10, backoff=constant(1), jitter=None, observers=told.append
    )

    async def hold():
        async with slot(policy, store.open()):
            await anyio.sleep(2)

    async def rejected():
        store.faults.stale = 99
        with pytest.raises(DeadlineExceededError) as caught:
            await policy.call(store.append, store.open(), "event")
        assert caught.value.attempts > 1

    virtually(partial(in_order, hold, rejected))
    assert {event.queued for event in told} == {2}


class TestACancellation:
    @on_both
    async def test_of_a_waiter_lets_the_next_one_have_the_slot(self, store):
        policy = retry_on_stale_session(store.refresh, key=by_id, **SOON)
        scope, let_go = anyio.CancelScope(), anyio.Event()

        async def hold():
            async with slot(policy, store.open()):
                await let_go.wait()

        async def queue():
            with scope:
                await policy.call(store.append, store.open(), "cancelled")

        async with anyio.create_task_group() as tasks:
            for call in (hold, queue):
                tasks.start_soon(call)
                await anyio.wait_all_tasks_blocked()
            scope.cancel()
            await anyio.wait_all_tasks_blocked()
            assert scope.cancelled_caught
            let_go.set()
        assert await policy.call(store.append, store.open(), "next") == "next"
        assert len(policy.queues) == 0
        assert store.events() == ["next"]

    @on_both
    @pytest.mark.parametrize("where", ["refresh", "hook", "append", "retried append"])
    async def test_of_the_holder_frees_the_slot(self, store, where):
        scope, reached = anyio.CancelScope(), []

        async def hang_in(place):
            if place == where:
                reached.append(len(policy.queues))
                scope.cancel()
                await anyio.sleep_forever()

        policy, append = hanging(store, hang_in)
        with scope:
            await append(a_stale_session(store), "event")
        assert scope.cancelled_caught
        assert reached == [1]
        assert len(policy.queues) == 0
        assert store.events() == []

    @pytest.mark.asyncio
    @pytest.mark.parametrize("where", ["queue", "refresh", "hook", "append", "retried append"])
    async def test_of_the_task_natively_frees_the_slot(self, store, where):
        there = asyncio.Event()

        async def hang_in(place):
            if place == where:
                there.set()
                await asyncio.sleep(3600)

        policy, append = hanging(store, hang_in)
        if where == "queue":
            outside = contextvars.copy_context()  # what is started inside shares the slot
            async with slot(policy, store.open()):
                task = outside.run(asyncio.create_task, append(a_stale_session(store), "event"))
                await asyncio.sleep(0)
                task.cancel()
                await asyncio.wait([task])
        else:
            task = asyncio.create_task(append(a_stale_session(store), "event"))
            await there.wait()
            task.cancel()
            await asyncio.wait([task])
        assert task.cancelled()
        assert len(policy.queues) == 0
        assert store.events() == []

    @pytest.mark.asyncio
    async def test_at_the_instant_in_which_the_slot_comes_hands_it_on(self, store):
        policy = retry_on_stale_session(store.refresh, key=by_id, **SOON)
        outside = contextvars.copy_context()
        async with slot(policy, store.open()):
            first, second = (
                outside.copy().run(asyncio.create_task, policy.call(store.append, store.open(), event))
                for event in ("cancelled", "next")
            )
            await asyncio.sleep(0)
        first.cancel()
        assert await asyncio.wait_for(second, 2) == "next"
        assert first.cancelled()
        assert len(policy.queues) == 0


def hanging(store, hang_in):
    """A policy with a key and its append, which hang in one place each."""
    made = []

    async def refresh(session):
        await hang_in("refresh")
        return await store.refresh(session)

    async def on_conflict(conflict):
        await hang_in("hook")

    policy = retry_on_stale_session(refresh, key=by_id, on_conflict=on_conflict, **SOON)

    async def append(session, event):
        made.append(event)
        await hang_in("append" if len(made) == 1 else "retried append")
        return await store.append(session, event)

    return policy, policy(append)
