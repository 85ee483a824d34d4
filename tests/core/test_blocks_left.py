"""What may be opened around a block, its time limit, and loops that are left half-way."""

import asyncio
import gc

import anyio
import pytest

from stale_retry import InDoubtError, StaleSessionError, retry_on_stale_session
from stale_retry.testing import VersionedStore

from .ways import SOON, WAYS, append_in, by_id, keys_in_use, without_the_collector

pytestmark = pytest.mark.anyio


@pytest.fixture
def store():
    return VersionedStore()


OPTIONS = {"no queue": {}, "a queue": {"key": str}, "a time limit": {"attempt_timeout": 10}}


def rejecting(count):
    made = []

    async def append(session, event):
        await anyio.lowlevel.checkpoint()
        made.append(session)
        if len(made) <= count:
            raise StaleSessionError

    append.made = made
    return append


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
class TestAroundABlock:
    async def test_a_cancel_scope_may_be_opened_and_cancels_nothing_later(self, options):
        append = rejecting(2)
        policy = retry_on_stale_session(lambda session: session, **SOON, **options)
        async for attempt in policy.attempts("session"):
            with anyio.fail_after(5):
                with attempt:
                    await append(attempt.session, "event")
        assert len(append.made) == 3
        await anyio.sleep(0.005)

    async def test_a_task_group_may_be_opened_and_one_may_surround_the_loop(self, options):
        append = rejecting(2)
        policy = retry_on_stale_session(lambda session: session, **SOON, **options)
        async with anyio.create_task_group() as outer:
            outer.start_soon(anyio.lowlevel.checkpoint)
            async for attempt in policy.attempts("session"):
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(anyio.lowlevel.checkpoint)
                    with attempt:
                        await append(attempt.session, "event")
        assert len(append.made) == 3

    async def test_the_append_may_be_made_in_a_task_group_inside(self, options):
        append = rejecting(2)
        policy = retry_on_stale_session(lambda session: session, **SOON, **options)
        async for attempt in policy.attempts("session"):
            with attempt:
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(append, attempt.session, "event")
        assert len(append.made) == 3

    async def test_a_scope_around_the_block_that_is_cancelled_frees_the_slot(self, options):
        append = rejecting(1)
        policy = retry_on_stale_session(lambda session: session, **SOON, **options)
        with anyio.CancelScope() as scope:
            async for attempt in policy.attempts("session"):
                with attempt:
                    await append(attempt.session, "event")
                    scope.cancel()
                    await anyio.sleep_forever()
        assert keys_in_use() == 0


class TestATimeLimit:
    @pytest.mark.parametrize("way", WAYS)
    @pytest.mark.parametrize("rejected", [1, 2])
    def test_a_child_that_answers_stale_as_the_time_runs_out_is_judged_on_every_attempt(self, virtually, way, rejected):
        made = []

        async def stubborn():
            try:
                await anyio.sleep(60)
            except anyio.get_cancelled_exc_class():
                raise StaleSessionError from None

        async def append(session, event):
            made.append(session)
            if len(made) < rejected:
                raise StaleSessionError
            if len(made) == rejected:
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(stubborn)
                    tasks.start_soon(anyio.sleep, 60)

        async def main():
            policy = retry_on_stale_session(lambda session: session, attempt_timeout=1, max_attempts=9, **SOON)
            return await append_in(way, policy, append, "session", "event")

        virtually(main)
        assert len(made) == rejected + 1

    def test_a_block_over_its_time_is_in_doubt(self, virtually):
        async def main():
            policy = retry_on_stale_session(
                lambda session: session, on=TimeoutError, attempt_timeout=1, max_attempts=2, **SOON
            )
            with pytest.raises(InDoubtError):
                async for attempt in policy.attempts("session"):
                    with attempt:
                        await anyio.sleep(60)

        virtually(main)


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
@pytest.mark.parametrize("limit", [None, 0.02])
async def test_a_generator_that_yields_inside_its_block_and_is_closed_elsewhere_cancels_nothing_later(limit):
    policy = retry_on_stale_session(lambda session: session, attempt_timeout=limit, **SOON)

    async def turn():
        async for attempt in policy.attempts("session"):
            with attempt:
                yield attempt.number

    generator = turn()
    assert await anext(generator) == 1
    try:
        await asyncio.create_task(generator.aclose())
    except RuntimeError:
        assert limit is not None  # a time limit cannot be lifted from another task
    await asyncio.sleep(0.04)


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
    assert held.pop().number == 2
    gc.collect()
    asyncio.run(main())
    assert held.pop().number == 2


@pytest.mark.parametrize("rejections", [0, 1])
async def test_a_loop_that_is_left_after_a_failed_attempt_does_not_pass_for_stored(store, rejections, recwarn):
    store.faults.stale = rejections

    async def breaks_after_the_block():
        async for attempt in retry_on_stale_session(store.refresh, key=by_id, **SOON).attempts(store.open()):
            with attempt:
                await store.append(attempt.session, "event")
            break

    with without_the_collector():
        await breaks_after_the_block()
        await anyio.lowlevel.checkpoint()  # trio keeps the frames around a sleep until it next switches tasks
        assert keys_in_use() == 0
    assert len(store.events()) == 1 - rejections
    warned = [str(warning.message) for warning in recwarn if warning.category is ResourceWarning]
    assert sum("the event is not stored" in message for message in warned) == rejections


async def test_a_loop_that_is_left_frees_its_slot_whatever_the_block_had_called(store):
    def fail():
        raise KeyError

    def reject():
        try:
            fail()
        except KeyError as error:
            raise StaleSessionError from error

    async def breaks_after_the_block():
        async for attempt in retry_on_stale_session(store.refresh, key=by_id, **SOON).attempts(store.open()):
            with attempt:
                try:
                    fail()
                except KeyError:
                    reject()
            break

    async def warned_and_freed():
        await breaks_after_the_block()
        await anyio.lowlevel.checkpoint()
        return keys_in_use() == 0

    with without_the_collector(), pytest.warns(ResourceWarning, match="the event is not stored"):
        assert await warned_and_freed()


async def test_a_loop_that_ends_in_an_error_or_is_settled_warns_of_nothing(store, recwarn):
    policy = retry_on_stale_session(store.refresh, max_attempts=2, **SOON)

    async def block(policy, error):
        async for attempt in policy.attempts(store.open()):
            with attempt:
                raise error

    for error, kind in ((KeyError(), KeyError), (StaleSessionError(), StaleSessionError)):
        with pytest.raises(kind):
            await block(policy, error)
    await block(policy.replace(on_conflict=lambda conflict: conflict.settle()), StaleSessionError())
    assert not [warning for warning in recwarn if warning.category is ResourceWarning]
