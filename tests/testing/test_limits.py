"""Other limits at run time: for one request, and for one call site."""

import math
from datetime import timedelta

import anyio
import pytest

from stale_retry import (
    AttemptsExhaustedError,
    DeadlineExceededError,
    constant,
    limits,
    retry_on_stale_session,
    retry_with,
)
from stale_retry.testing import Faults, VersionedStore, no_waiting

pytestmark = pytest.mark.anyio

POLICY = {"backoff": constant(1.0), "jitter": None, "max_attempts": 10, "deadline": 90.0, "observers": ()}


def hopeless():
    """A store that rejects everything, and its append: 10 attempts, 1 s apart, in 90 s."""
    store = VersionedStore(Faults(stale=1_000))
    return store, retry_on_stale_session(store.refresh, **POLICY)(store.append)


async def gives_up_after(append, store):
    with no_waiting(), pytest.raises((AttemptsExhaustedError, DeadlineExceededError)) as gave_up:
        await append(store.open(), "event")
    return gave_up.value.attempts


@pytest.fixture
def store_and_append():
    return hopeless()


async def test_without_a_block_the_policy_is_in_force(store_and_append):
    store, append = store_and_append
    assert await gives_up_after(append, store) == 10


@pytest.mark.parametrize("deadline", [2.5, timedelta(seconds=2.5)], ids=str)
async def test_a_shorter_deadline_ends_a_call_sooner(store_and_append, deadline):
    store, append = store_and_append
    with limits(deadline=deadline):
        assert await gives_up_after(append, store) == 4


async def test_fewer_attempts_end_a_call_sooner(store_and_append):
    store, append = store_and_append
    with limits(max_attempts=4):
        assert await gives_up_after(append, store) == 4


async def test_a_block_may_also_allow_more(store_and_append):
    store, append = store_and_append
    with limits(max_attempts=200, deadline=120.5):
        assert await gives_up_after(append, store) == 122


async def test_a_limit_that_is_left_out_stays_as_it_is(store_and_append):
    store, append = store_and_append
    with limits(deadline=1_000):
        assert await gives_up_after(append, store) == 10


async def test_a_policy_without_a_limit_gets_one(store_and_append):
    store, append = store_and_append
    unlimited = retry_with(append, max_attempts=None)
    with limits(max_attempts=2):
        assert await gives_up_after(unlimited, store) == 2


async def test_inner_blocks_override_outer_ones_limit_by_limit(store_and_append):
    store, append = store_and_append
    with limits(max_attempts=5):
        with limits(max_attempts=7):
            assert await gives_up_after(append, store) == 7
        with limits(deadline=2.5):
            assert await gives_up_after(append, store) == 4
        with limits(deadline=60):
            assert await gives_up_after(append, store) == 5
        assert await gives_up_after(append, store) == 5
    with limits(deadline=2.5), limits(max_attempts=7):
        assert await gives_up_after(append, store) == 4
    assert await gives_up_after(append, store) == 10


async def test_an_error_in_the_block_restores_the_limits(store_and_append):
    store, append = store_and_append
    with pytest.raises(ZeroDivisionError), limits(max_attempts=2):
        raise ZeroDivisionError
    assert await gives_up_after(append, store) == 10


async def test_a_block_reaches_every_way_to_make_a_call(store_and_append):
    store, append = store_and_append
    made = 0
    with limits(max_attempts=3), no_waiting():
        with pytest.raises(AttemptsExhaustedError):
            await append.retrying.call(store.append, store.open(), "event")
        with pytest.raises(AttemptsExhaustedError):
            async for attempt in append.retrying.attempts(store.open()):
                with attempt:
                    made += 1
                    await store.append(attempt.session, "event")
    assert (store.appends, made) == (6, 3)


async def test_a_task_started_in_the_block_has_its_limits(store_and_append):
    store, append = store_and_append
    made = []

    async def task():
        made.append(await gives_up_after(append, store))

    with limits(max_attempts=2):
        async with anyio.create_task_group() as group:
            group.start_soon(task)
    assert made == [2]


async def test_limits_never_leak_to_other_tasks():
    block = limits(max_attempts=2)
    made = {}

    async def inside(name):
        with block:
            await anyio.lowlevel.checkpoint()
            made[name] = await gives_up_after(*reversed(hopeless()))

    async def outside(name):
        await anyio.lowlevel.checkpoint()
        made[name] = await gives_up_after(*reversed(hopeless()))

    async with anyio.create_task_group() as group:
        for n in range(4):
            group.start_soon(inside, ("inside", n))
            group.start_soon(outside, ("outside", n))
    assert made == {("inside", n): 2 for n in range(4)} | {("outside", n): 10 for n in range(4)}


async def test_one_block_may_be_entered_again_and_inside_itself(store_and_append):
    store, append = store_and_append
    short = limits(max_attempts=2)
    with short, short:
        assert await gives_up_after(append, store) == 2
    with short:
        assert await gives_up_after(append, store) == 2
    assert await gives_up_after(append, store) == 10


async def test_a_block_left_in_another_context_leaves_the_policy_in_force(store_and_append):
    """As when a framework leaves a generator in another task than it entered it in."""
    store, append = store_and_append
    limits(max_attempts=2).__exit__()
    assert await gives_up_after(append, store) == 10


@pytest.mark.parametrize(
    ("options", "error", "says"),
    [
        ({"max_attempts": 0}, ValueError, "max_attempts must be at least 1"),
        ({"max_attempts": 2.0}, TypeError, "max_attempts must be a whole number"),
        ({"deadline": 0}, ValueError, "deadline must be above zero"),
        ({"deadline": "2 s"}, TypeError, "deadline must be seconds"),
        ({"deadline": math.inf}, ValueError, "deadline must be finite"),
        ({"attempts": 3}, TypeError, "attempts"),
    ],
)
async def test_nonsense_is_refused_before_the_block_is_entered(options, error, says):
    with pytest.raises(error, match=says):
        limits(**options)


async def test_limits_do_not_decorate_because_a_coroutine_function_would_run_outside_them():
    with pytest.raises(TypeError, match="not callable"):
        limits(deadline=2.0)(lambda: None)


async def test_one_call_site_may_have_a_policy_of_its_own(store_and_append):
    store, append = store_and_append
    assert await gives_up_after(retry_with(append, max_attempts=2), store) == 2
    assert await gives_up_after(append, store) == 10


async def test_limits_of_the_request_override_those_of_the_call_site(store_and_append):
    store, append = store_and_append
    with limits(max_attempts=3):
        assert await gives_up_after(retry_with(append, max_attempts=7), store) == 3
