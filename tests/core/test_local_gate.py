"""`local_gate`: one queue a session, first come first served, for every attempt, held by nothing that is gone."""

import asyncio
import contextvars
import gc
import itertools
import threading
import warnings
import weakref
from contextlib import suppress
from functools import partial

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stale_retry import (
    DeadlineExceededError,
    StaleSessionError,
    constant,
    retry_on_stale_session,
)
from stale_retry.testing import VersionedStore

from .virtual import examples
from .ways import SOON, WAYS, append_in, by_id

on_both = pytest.mark.anyio


@pytest.fixture
def store():
    return VersionedStore()


@pytest.fixture
def gate():
    return by_id


async def in_order(*calls):
    """Run them side by side, each begun when those before it wait."""
    async with anyio.create_task_group() as tasks:
        for call in calls:
            tasks.start_soon(call)
            await anyio.wait_all_tasks_blocked()


class TestTheQueue:
    def test_of_twenty_writers_with_five_events_none_overtakes_and_each_event_takes_one_call(self, virtually):
        store, gate = VersionedStore()(by_id)
        came = []

        @retry_on_stale_session(store.refresh, gate=gate, observers=())
        async def append(session, event):
            await anyio.sleep(0.01)
            return await store.append(session, event)

        async def writer(number):
            for nth in range(5):
                came.append((number, nth))
                await append(store.open(), (number, nth))

        async def main():
            async with anyio.create_task_group() as tasks:
                for number in range(20):
                    tasks.start_soon(writer, number)

        virtually(main)
        assert store.events() == came
        assert store.appends == 100
        assert len(gate) == 0

    @examples(60)
    @given(st.data())
    def test_whoever_comes_when_and_takes_how_long_all_are_served_in_the_order_in_which_they_came(
        self, virtually, data
    ):
        arrivals = data.draw(st.lists(st.integers(0, 50), min_size=2, max_size=12, unique=True))
        takes = data.draw(st.lists(st.integers(0, 30), min_size=len(arrivals), max_size=len(arrivals)))
        leaves = data.draw(st.lists(st.booleans(), min_size=len(arrivals), max_size=len(arrivals)))
        gate, served = by_id, []

        async def writer(arrival, take, is_cancelled):
            await anyio.sleep(arrival / 10)
            with anyio.move_on_after(take / 20 if is_cancelled else 1e6):
                async with gate(VersionedStore().open()):
                    served.append(arrival)
                    await anyio.sleep(take / 10)

        async def main():
            async with anyio.create_task_group() as tasks:
                for each in zip(arrivals, takes, leaves, strict=True):
                    tasks.start_soon(writer, *each)

        virtually(main)
        assert served == sorted(served)
        assert set(served) >= {a for a, leave in zip(arrivals, leaves, strict=True) if not leave}
        assert len(gate) == 0

    @on_both
    async def test_a_newcomer_does_not_overtake_who_waits_when_the_place_is_given_back(self, store, gate):
        order = []

        async def second():
            async with gate(store.open()):
                order.append("second enters")
                await anyio.sleep(0.001)
                order.append("second leaves")

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(second)
            async with gate(store.open()):
                await anyio.wait_all_tasks_blocked()
            async with gate(store.open()):
                order.append("first again")
        assert order == ["second enters", "second leaves", "first again"]

    @on_both
    async def test_who_leaves_an_async_with_has_given_the_place_back(self, store, gate):
        place = gate(store.open())
        async with place:
            assert len(gate) == 1
        assert len(gate) == 0

    def test_the_place_is_kept_over_the_wait_after_a_rejection(self, virtually):
        # Who was rejected behind the gate lost to another process; those behind him would lose too.
        store, gate = VersionedStore()(by_id)
        store.faults.stale = 2
        append = retry_on_stale_session(store.refresh, gate=gate, backoff=constant(5), jitter=None, observers=())(
            store.append
        )

        appends = [partial(append, store.open(), event) for event in range(3)]
        virtually(partial(in_order, *appends))
        assert store.events() == [0, 1, 2]

    def test_who_waits_longer_than_his_deadline_gives_up_with_no_attempt_made(self, virtually):
        store, gate = VersionedStore()(by_id)
        told = []

        @retry_on_stale_session(store.refresh, gate=gate, deadline=3, observers=told.append)
        async def append(session, event):
            await anyio.sleep(2)
            return await store.append(session, event)

        async def main():
            errors = []

            async def writer(event):
                try:
                    await append(store.open(), event)
                except DeadlineExceededError as error:
                    errors.append(error)

            await in_order(*(partial(writer, event) for event in range(3)))
            return errors

        (error,) = virtually(main)
        assert (error.attempts, error.elapsed, error.reason, error.in_doubt) == (0, 3, "deadline", False)
        assert isinstance(error.last_error, TimeoutError)
        assert error.__cause__ is error.last_error
        assert store.events() == [0, 1]
        assert [(event.kind, event.attempt, event.queued) for event in told] == [("gave_up", 0, 3)]


class TestWhoHadToWait:
    def contended(self, virtually, sessions, **options):
        """Two appends, the second of which waits; the store and the calls of the refresh hook."""
        store, gate = VersionedStore()(by_id)
        refreshed = []

        async def refresh(session):
            refreshed.append(session)
            return await store.refresh(session)

        @retry_on_stale_session(refresh, gate=gate, observers=(), **options)
        async def append(session, event):
            await anyio.sleep(1)
            return await store.append(session, event)

        first = store.open()
        second = first if sessions == 1 else store.open()
        virtually(partial(in_order, partial(append, first, 1), partial(append, second, 2)))
        assert store.events() == [1, 2]
        return store, refreshed

    def test_refreshes_before_his_first_attempt(self, virtually):
        store, refreshed = self.contended(virtually, 2)
        assert (store.appends, len(refreshed)) == (2, 1)

    def test_does_not_if_he_comes_with_the_very_session_that_was_stored_through_last(self, virtually):
        store, refreshed = self.contended(virtually, 1)
        assert (store.appends, len(refreshed)) == (2, 0)

    def test_does_not_either_if_that_was_stored_through_by_one_who_had_waited_too(self, virtually):
        store, gate = VersionedStore()(by_id)
        append = retry_on_stale_session(store.refresh, gate=gate, observers=())(store.append)
        store.faults.delay = 1
        session = store.open()
        virtually(partial(in_order, *(partial(append, session, event) for event in range(3))))
        assert store.events() == [0, 1, 2]
        assert store.refreshes == 0

    def test_refreshes_whatever_errors_on_accepts(self, virtually):
        self.contended(virtually, 2, on=ConnectionError)

    def test_does_not_for_a_gate_at_which_he_did_not(self, virtually):
        store, refreshed = VersionedStore(), []
        gates = [local_gate(lambda session: object())(by_id)]

        @retry_on_stale_session(lambda session: refreshed.append(session), gate=gates, observers=())
        async def append(session, event):
            await anyio.sleep(1)
            return await store.append(session, event)

        session = store.open()
        virtually(partial(in_order, partial(append, session, 1), partial(append, session, 2)))
        assert store.events() == [1, 2]
        assert refreshed == []

    def test_does_not_refresh_for_a_session_that_was_stored_through_before_another_one(self, virtually):
        # The last session, a string, cannot be remembered; the one before it must not be taken for the last.
        gate, refreshed = local_gate(lambda session: "all"), []
        store = VersionedStore()
        mine = store.open()

        def refresh(session):
            refreshed.append(session)
            return session

        @retry_on_stale_session(refresh, gate=gate, observers=())
        async def append(session, event):
            await anyio.sleep(1)

        calls = [partial(append, session, event) for event, session in enumerate([mine, mine, "a string", mine])]
        virtually(partial(in_order, *calls))
        assert refreshed == ["a string", mine]

    @on_both
    async def test_keeps_no_session_alive_that_others_are_done_with(self, store, gate):
        go_on, sessions = [anyio.Event() for _ in range(3)], []

        @retry_on_stale_session(store.refresh, gate=gate, observers=())
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

    def test_the_conflict_hook_is_asked_then_with_no_attempt_made(self, virtually):
        # An event that was made from the old session may have to be made again.
        seen = []
        self.contended(virtually, 2, on_conflict=lambda conflict: seen.append((conflict.attempt, conflict.error)))
        ((attempt, error),) = seen
        assert attempt == 0
        assert isinstance(error, StaleSessionError)

    def test_an_event_that_on_never_retries_is_left_to_the_store(self, virtually):
        # With the session as it came the store rejects it, and rightly so.
        store, gate = VersionedStore()(by_id)

        def on(retry_state):
            return isinstance(retry_state.outcome.exception(), StaleSessionError) and retry_state.args[1] != "summary"

        @retry_on_stale_session(store.refresh, gate=gate, on=on, observers=())
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

    @pytest.mark.parametrize("fault", ["raises", "finds nothing"])
    def test_a_refresh_that_fails_then_decides_nothing(self, virtually, fault):
        store, gate = VersionedStore()(by_id)

        async def refresh(session):
            if fault == "raises":
                raise ConnectionError

        @retry_on_stale_session(refresh, gate=gate, observers=())
        async def append(session, event):
            assert session is not None
            await anyio.sleep(1)
            store.appends += 1
            return event

        answers = []

        async def writer(event):
            answers.append(await append(store.open(), event))

        virtually(partial(in_order, partial(writer, 1), partial(writer, 2)))
        assert answers == [1, 2]

    def test_a_save_is_made_with_the_session_as_it_came(self, virtually):
        # The event is inside the session: on a reloaded one the append would store nothing and return.
        store, gate = VersionedStore()(by_id)

        @retry_on_stale_session(store.refresh, gate=gate, observers=())
        async def save(session):
            await anyio.sleep(1)
            return await store.append(session, session.new)

        errors = []

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


class TestSharing:
    @on_both
    async def test_a_nested_call_and_the_tasks_it_starts_do_not_wait_for_their_own_place(self, store, gate):
        policy = retry_on_stale_session(store.refresh, gate=gate, deadline=5, **SOON)
        inner = policy(store.append)

        @policy
        async def outer(session, event):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(inner, session, "from a task")
            await inner(session, "nested")
            return await store.append(session, event)

        with anyio.fail_after(2):
            await outer(store.open(), "outer")
        assert store.events() == ["from a task", "nested", "outer"]
        assert len(gate) == 0

    @on_both
    async def test_a_nested_call_of_who_had_to_wait_does_not_wait_for_its_own_place_either(self, store, gate):
        policy = retry_on_stale_session(store.refresh, gate=gate, deadline=5, **SOON)
        inner = policy(store.append)

        @policy
        async def outer(session, event):
            await inner(session, "nested")
            return await store.append(session, event)

        waiting = anyio.Event()

        async def hold():
            async with gate(store.open()):
                await waiting.wait()

        with anyio.fail_after(2):
            async with anyio.create_task_group() as tasks:
                for call in (hold, partial(outer, store.open(), "outer")):
                    tasks.start_soon(call)
                    await anyio.wait_all_tasks_blocked()
                waiting.set()
        assert store.events() == ["nested", "outer"]

    @on_both
    async def test_those_who_wait_know_what_a_nested_call_stored_through(self, store, gate):
        append = retry_on_stale_session(store.refresh, gate=gate, **SOON)(store.append)
        session = store.open()
        held, waiting = anyio.Event(), anyio.Event()

        async def hold():
            async with gate(session):
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
    async def test_a_task_that_outlives_the_place_it_was_started_in_waits_like_everybody(self, store, gate):
        order = []
        go_on = anyio.Event()

        async def child():
            await go_on.wait()
            async with gate(store.open()):
                order.append("child")

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._hold(gate, store, tasks, child, order, go_on))
        assert order == ["holder", "child"]

    def _hold(self, gate, store, tasks, child, order, go_on):
        async def hold():
            async with gate(store.open()):
                tasks.start_soon(child)
            async with gate(store.open()):
                go_on.set()
                await anyio.wait_all_tasks_blocked()
                order.append("holder")

        return hold

    @on_both
    async def test_places_at_two_gates_may_be_given_back_in_any_order(self, store):
        first, second = by_id(by_id)
        one, two = first(store.open()), second(store.open())
        assert one.take()
        assert two.take()
        one.release()
        with anyio.fail_after(2):
            async with second(store.open()):  # shared, and not waited for
                assert len(second) == 1
        two.release()
        two.release()
        assert (len(first), len(second)) == (0, 0)

    def test_a_place_is_had_at_each_of_several_gates_however_busy_they_are(self, virtually):
        store = VersionedStore()
        gates = [by_id(by_id)]
        append = retry_on_stale_session(store.refresh, gate=gates, observers=())(store.append)
        ended = []

        async def hold(gate, seconds):
            async with gate(store.open()):
                await anyio.sleep(seconds)

        async def write():
            await append(store.open(), "event")
            ended.append(anyio.current_time())

        virtually(partial(in_order, partial(hold, gates[0], 1), partial(hold, gates[1], 2), write))
        assert ended == [2]

    def test_several_gates_are_entered_in_order_the_local_ones_for_every_attempt(self, virtually):
        store, log = VersionedStore(), []

        class Logged:
            def __init__(self, name):
                self.name = name

            def __call__(self, session):
                return self

            async def __aenter__(self):
                log.append(f"enter {self.name}")

            async def __aexit__(self, *_):
                log.append(f"leave {self.name}")

        local = by_id
        append = retry_on_stale_session(
            store.refresh, gate=[local, Logged("near")(lambda session: 1), Logged("far")], **SOON
        )(store.append)
        store.faults.stale = 1
        virtually(lambda: append(store.open(), "event"))
        assert log == ["enter near", "enter far", "leave far", "leave near"]
        assert store.events() == ["event"]
        assert len(local) == 0


@on_both
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("ending", ["stored at once", "stored after a rejection", "rejected", "another error"])
async def test_a_call_that_ends_drops_no_place(store, gate, way, ending):
    store.faults.stale = {"stored after a rejection": 1, "rejected": 9}.get(ending, 0)
    policy = retry_on_stale_session(store.refresh, gate=gate, max_attempts=2, **SOON)

    async def append(session, event):
        if ending == "another error":
            raise KeyError
        return await store.append(session, event)

    with warnings.catch_warnings(record=True) as warned, suppress(StaleSessionError, KeyError):
        warnings.simplefilter("always")
        await append_in(way, policy, append, store.open(), "event")
    gc.collect()
    assert warned == []
    assert len(gate) == 0


@on_both
async def test_it_tells_whether_anybody_waits_for_a_session(store, gate):
    told, let_go = [], anyio.Event()

    async def hold():
        async with gate(store.open()):
            await let_go.wait()

    async with anyio.create_task_group() as tasks:
        for _ in range(2):
            told.append(gate.is_waited_for(store.open()))
            tasks.start_soon(hold)
            await anyio.wait_all_tasks_blocked()
        told.append(gate.is_waited_for(store.open()))
        assert not gate.is_waited_for(store.open("other"))
        let_go.set()
    assert told == [False, False, True]
    assert not gate.is_waited_for(store.open())


class TestWhatIsDropped:
    """A place that nobody holds any longer is free, whoever forgot it."""

    @on_both
    async def test_a_loop_that_is_left_before_its_block_frees_the_place_and_warns(self, store, gate):
        retrying = retry_on_stale_session(store.refresh, gate=gate, **SOON)

        async def leaves_between():
            async for _ in retrying.attempts(store.open()):
                break

        with pytest.warns(ResourceWarning, match="dropped"):
            await leaves_between()
        with anyio.fail_after(2):
            await retrying.call(store.append, store.open(), "next")
        assert len(gate) == 0

    @pytest.mark.asyncio
    async def test_a_generator_that_yields_inside_its_block_may_be_closed_by_another_task(self, store, gate):
        retrying = retry_on_stale_session(store.refresh, gate=gate, **SOON)

        async def runner():
            async for attempt in retrying.attempts(store.open()):
                with attempt:
                    yield "progress"

        generator = runner()
        assert await anext(generator) == "progress"
        assert len(gate) == 1
        await asyncio.create_task(generator.aclose())
        assert len(gate) == 0
        await asyncio.wait_for(retrying.call(store.append, store.open(), "next"), 2)
        assert store.events() == ["next"]

    def test_who_waited_in_an_event_loop_that_was_simply_closed_holds_nothing(self, store, gate):
        async def hold():
            async with gate(store.open()):
                await asyncio.sleep(3600)

        loop = asyncio.new_event_loop()
        tasks = [loop.create_task(hold()) for _ in range(2)]
        loop.run_until_complete(asyncio.sleep(0.001))
        assert len(gate) == 1
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            loop.close()
            for task in tasks:
                task._log_destroy_pending = False
            del loop, tasks, task
            gc.collect()
        assert len(gate) == 0

    @pytest.mark.asyncio
    async def test_a_place_that_is_collected_in_another_thread_wakes_the_next_one(self, store, gate):
        places = [gate(store.open())]
        assert places[0].take()
        outside = contextvars.Context()

        async def next_one():
            async with gate(store.open()):
                return "served"

        waiting = outside.run(asyncio.create_task, next_one())
        await asyncio.sleep(0)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            thread = threading.Thread(target=places.clear)
            thread.start()
            thread.join()
        assert await asyncio.wait_for(waiting, 2) == "served"
        assert len(gate) == 0


def test_event_loops_in_several_threads_share_a_gate_and_have_queues_of_their_own(store, gate):
    done = []

    async def writer(number):
        async with gate(store.open()):
            await asyncio.sleep(0)
            done.append(number)

    async def main(numbers):
        await asyncio.gather(*map(writer, numbers))

    counter = itertools.count()
    threads = [threading.Thread(target=asyncio.run, args=(main([next(counter) for _ in range(50)]),)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(done) == list(range(200))
    assert len(gate) == 0
