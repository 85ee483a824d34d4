"""What leaves a call half-way: a loop that is left after a failed attempt, an append inside one that holds a slot."""

import gc

import anyio
import pytest

from stale_retry import StaleSessionError, retry_on_stale_session
from stale_retry.testing import VersionedStore

from .ways import SOON, keys_in_use

pytestmark = pytest.mark.anyio


@pytest.fixture
def store():
    return VersionedStore()


@pytest.mark.parametrize("rejections", [0, 1])
async def test_a_loop_that_is_left_after_a_failed_attempt_does_not_pass_for_stored(store, rejections, recwarn):
    store.faults.stale = rejections
    key = lambda session: session.id

    async def breaks_after_the_block():
        async for attempt in retry_on_stale_session(store.refresh, key=key, **SOON).attempts(store.open()):
            with attempt:
                await store.append(attempt.session, "event")
            break

    gc.disable()
    try:
        await breaks_after_the_block()
        await anyio.lowlevel.checkpoint()  # trio keeps the frames around a sleep until it next switches tasks
        assert keys_in_use() == 0
    finally:
        gc.enable()
    assert len(store.events()) == 1 - rejections
    warned = [str(warning.message) for warning in recwarn if warning.category is ResourceWarning]
    assert sum("the event is not stored" in message for message in warned) == rejections


async def test_a_loop_that_is_left_frees_its_place_whatever_the_block_had_called(store):
    key = lambda session: session.id

    def fail():
        raise KeyError

    def reject():
        try:
            fail()
        except KeyError as error:
            raise StaleSessionError from error

    async def breaks_after_the_block():
        async for attempt in retry_on_stale_session(store.refresh, key=key, **SOON).attempts(store.open()):
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

    gc.disable()
    try:
        with pytest.warns(ResourceWarning, match="the event is not stored"):
            assert await warned_and_freed()
    finally:
        gc.enable()


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
