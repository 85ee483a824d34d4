"""Waits that take no time, for one context only."""

import asyncio
import contextvars
import threading

import anyio
import looptime
import pytest
from tenacity import wait_fixed

from stale_retry import DeadlineExceededError, StaleSessionError, linear, retry_on_stale_session
from stale_retry.testing import Faults, VersionedStore, no_waiting

HOURS = wait_fixed(10_000)
pytestmark = pytest.mark.anyio


def appending(stale=1, **options):
    """An append that is rejected that many times and then waits for hours, and its store."""
    store = VersionedStore(Faults(stale=stale))
    options = {"backoff": HOURS, "jitter": None, "deadline": None, "max_attempts": 9, "observers": (), **options}
    return retry_on_stale_session(store.refresh, **options)(store.append), store


async def waits_for_real(append, session):
    began = anyio.current_time()
    await append(session, "event")
    return anyio.current_time() - began >= 10_000


def run_virtually(function, *args):
    return anyio.run(function, *args, backend_options={"loop_factory": looptime.new_event_loop})


async def test_a_wait_takes_no_time_and_the_events_are_listed():
    append, store = appending(stale=2)
    with no_waiting() as events:
        await append(store.open(), "event")
    assert store.events() == ["event"]
    assert [(e.kind, e.attempt, e.wait, round(e.elapsed)) for e in events] == [
        ("retrying", 1, 10_000, 0),
        ("retrying", 2, 10_000, 10_000),
        ("recovered", 3, None, 20_000),
    ]


async def test_a_wait_that_is_skipped_counts_against_the_deadline():
    append, store = appending(stale=9, backoff=linear(10), deadline=90)
    with no_waiting(), pytest.raises(DeadlineExceededError) as gave_up:
        await append(store.open(), "event")
    assert (gave_up.value.attempts, round(gave_up.value.elapsed)) == (5, 90)


@pytest.mark.parametrize(("writers", "deadline"), [(100, 90), (30, 10)])
async def test_many_writers_at_once_do_not_give_up_for_waits_that_would_have_spread_them(writers, deadline):
    store = VersionedStore()
    append = retry_on_stale_session(store.refresh, observers=(), deadline=deadline)(store.append)
    with no_waiting():
        async with anyio.create_task_group() as group:
            for n in range(writers):
                group.start_soon(append, store.open(), n)
    assert sorted(store.events()) == [*range(writers)]


async def test_after_the_block_waits_are_real_again():
    append, store = appending()
    with no_waiting() as events:
        pass
    assert await waits_for_real(append, store.open())
    assert events == []


async def test_an_error_in_the_block_restores_waiting():
    append, store = appending()
    with pytest.raises(ZeroDivisionError), no_waiting():
        raise ZeroDivisionError
    assert await waits_for_real(append, store.open())


async def test_blocks_nest_and_the_outer_one_lists_everything():
    append, store = appending(stale=1)
    with no_waiting() as outer:
        with no_waiting() as inner:
            await append(store.open(), "one")
        store.faults.stale = 1
        await append(store.open(), "two")
    assert [event.kind for event in inner] == ["retrying", "recovered"]
    assert [event.kind for event in outer] == ["retrying", "recovered"] * 2
    assert outer[:2] == inner


async def test_a_task_started_in_the_block_does_not_wait_either():
    append, store = appending()
    with no_waiting() as events:
        async with anyio.create_task_group() as group:
            group.start_soon(append, store.open(), "event")
    assert [event.kind for event in events] == ["retrying", "recovered"]


async def test_a_task_started_outside_the_block_waits():
    append, store = appending()
    entered, left, waited = anyio.Event(), anyio.Event(), []

    async def other_task():
        await entered.wait()
        waited.append(await waits_for_real(append, store.open()))
        left.set()

    async with anyio.create_task_group() as group:
        group.start_soon(other_task)
        with no_waiting() as events:
            entered.set()
            await left.wait()
    assert (waited, events) == ([True], [])


async def test_a_task_that_outlives_the_block_is_no_longer_listened_to():
    append, store = appending(stale=1)
    goes_on = anyio.Event()

    async def late():
        await goes_on.wait()
        await append(store.open(), "event")

    async with anyio.create_task_group() as group:
        with no_waiting() as events:
            group.start_soon(late)
        goes_on.set()
    assert (store.events(), events) == (["event"], [])


async def test_a_thread_that_the_context_is_copied_to_does_not_wait():
    append, store = appending()
    with no_waiting() as events:
        await anyio.to_thread.run_sync(anyio.run, append, store.open(), "event")
    assert [event.kind for event in events] == ["retrying", "recovered"]


def test_another_thread_waits():
    append, store = appending()
    waited = []
    with no_waiting() as events:
        context = contextvars.Context()
        work = threading.Thread(
            target=context.run, args=(lambda: waited.append(run_virtually(waits_for_real, append, store.open())),)
        )
        work.start()
        work.join()
    assert (waited, events) == ([True], [])


def test_a_block_around_the_event_loop_reaches_into_it():
    append, store = appending()
    with no_waiting() as events:
        asyncio.run(append(store.open(), "event"))
    assert [event.kind for event in events] == ["retrying", "recovered"]


async def test_observers_are_told_all_the_same():
    told = []
    append, store = appending(observers=told.append)
    with no_waiting() as events:
        await append(store.open(), "event")
    assert told == events != []


async def test_other_tasks_get_their_turn_between_two_attempts():
    other_task_ran = anyio.Event()

    async def append(session):
        """Never gives way to another task by itself."""
        if not other_task_ran.is_set():
            raise StaleSessionError
        return "stored"

    async def other_task():
        other_task_ran.set()

    retrying = retry_on_stale_session(lambda session: session, backoff=HOURS, deadline=None, max_attempts=3)
    async with anyio.create_task_group() as group:
        group.start_soon(other_task)
        with no_waiting():
            assert await retrying.call(append, "session") == "stored"


async def test_the_waits_of_the_store_are_its_own():
    """Only a decorated call's waits are skipped, not everything that sleeps."""
    store = VersionedStore(Faults(delay=3))
    began = anyio.current_time()
    with no_waiting():
        await store.append(store.open(), "event")
    assert anyio.current_time() - began == pytest.approx(3)
