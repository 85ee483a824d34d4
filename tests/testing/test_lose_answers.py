"""An append whose answers get lost: stored all the same, and told as a real client tells it."""

import inspect
import threading

import pytest

from stale_retry import StaleSessionError
from stale_retry.testing import Event, Faults, VersionedStore, lose_answers

pytestmark = pytest.mark.anyio


async def outcomes(append, store, number):
    """What each append raised, or None."""
    told = []
    for n in range(number):
        try:
            await append(store.open(), Event("ok", n))
        except Exception as error:
            told.append(type(error))
        else:
            told.append(None)
    return told


async def test_the_answer_of_every_third_event_is_lost_and_the_event_is_stored():
    store = VersionedStore()
    told = await outcomes(lose_answers(store.append), store, 7)
    assert told == [None, None, ConnectionError, None, None, ConnectionError, None]
    assert [event.id for event in store.events()] == [*range(7)]


async def test_every_answer_can_be_lost():
    store = VersionedStore()
    assert await outcomes(lose_answers(store.append, every=1), store, 2) == [ConnectionError] * 2


async def test_an_append_that_stored_nothing_does_not_count():
    store = VersionedStore(Faults(stale=2))
    told = await outcomes(lose_answers(store.append), store, 5)
    assert told == [StaleSessionError, StaleSessionError, None, None, ConnectionError]


async def test_a_client_that_sends_again_takes_its_own_success_for_a_conflict():
    store = VersionedStore()
    told = await outcomes(lose_answers(store.append, every=2, resend=True), store, 4)
    assert told == [None, StaleSessionError, None, StaleSessionError]
    assert [event.id for event in store.events()] == [0, 1, 2, 3]


async def test_a_session_that_holds_a_lock_is_sent_again_too():
    store = VersionedStore()
    session = store.open()
    session.lock = threading.Lock()
    with pytest.raises(StaleSessionError):
        await lose_answers(store.append, every=1, resend=True)(session, "event")
    assert store.events() == ["event"]


async def test_a_result_is_returned():
    store = VersionedStore()
    assert await lose_answers(store.append)(store.open(), "event") == "event"


async def test_the_session_may_have_another_name():
    store = VersionedStore()

    async def append(room, message):
        return await store.append(room, message)

    losing = lose_answers(append, every=1, resend=True, session="room")
    with pytest.raises(StaleSessionError):
        await losing(store.open(), "event")
    assert inspect.signature(losing) == inspect.signature(append)


def test_every_is_at_least_one():
    with pytest.raises(ValueError, match="every must be at least 1"):
        lose_answers(VersionedStore().append, every=0)
