"""An in-memory store that loses races, on demand and by itself."""

import anyio
import pytest

from stale_retry import (
    AttemptsExhaustedError,
    SessionGoneError,
    SessionRefreshError,
    StaleSessionError,
    is_stale_session_error,
    retry_on_stale_session,
)
from stale_retry.testing import Event, Faults, VersionedStore, no_waiting

pytestmark = pytest.mark.anyio


@pytest.fixture
def store():
    return VersionedStore()


def retrying(store, **options):
    return retry_on_stale_session(store.refresh, observers=(), **options)(store.append)


async def test_an_append_through_a_fresh_session_is_stored_and_returned(store):
    session = store.open()
    assert await store.append(session, "event") == "event"
    assert store.events() == session.events == ["event"]


async def test_the_session_that_was_appended_through_may_append_again(store):
    session = store.open()
    for event in ("one", "two"):
        await store.append(session, event)
    assert (store.events(), session.version) == (["one", "two"], 2)


async def test_an_append_through_a_session_that_is_behind_stores_nothing(store):
    behind, ahead = store.open(), store.open()
    await store.append(ahead, "theirs")
    with pytest.raises(StaleSessionError, match="version 0 is stale, the store has 1"):
        await store.append(behind, "ours")
    assert store.events() == ["theirs"]
    assert (behind.events, behind.version) == ([], 0)


async def test_a_reloaded_session_knows_what_is_stored(store):
    behind = store.open()
    await store.append(store.open(), "theirs")
    fresh = await store.refresh(behind)
    assert (fresh is behind, fresh.events, fresh.version) == (False, ["theirs"], 1)
    assert behind.events == []


async def test_sessions_are_apart(store):
    await store.append(store.open("a"), "for a")
    await store.append(store.open("b"), "for b")
    assert (store.events("a"), store.events("b"), store.events("c")) == (["for a"], ["for b"], [])


async def test_what_a_caller_does_to_a_list_stays_out_of_the_store(store):
    await store.append(store.open(), "event")
    store.events().clear()
    store.open().events.clear()
    assert store.events() == ["event"]


async def test_of_appends_that_race_through_equal_sessions_one_is_stored(store):
    sessions, rejected = [store.open() for _ in range(5)], []

    async def write(session):
        try:
            await store.append(session, "event")
        except StaleSessionError:
            rejected.append(session)

    async with anyio.create_task_group() as group:
        for session in sessions:
            group.start_soon(write, session)
    assert (len(store.events()), len(rejected)) == (1, 4)


async def test_calls_are_counted(store):
    store.faults.stale = 2
    with no_waiting():
        await retrying(store)(store.open(), "event")
    assert (store.appends, store.refreshes) == (3, 2)


# The faults


async def test_stale_rejects_that_many_appends_whatever_they_come_with(store):
    store.faults.stale = 2
    for _ in range(2):
        with pytest.raises(StaleSessionError):
            await store.append(store.open(), "event")
    await store.append(store.open(), "event")
    assert (store.events(), store.faults.stale) == (["event"], 0)


async def test_refresh_fails_that_many_reloads(store):
    store.faults.refresh = 1
    with pytest.raises(ConnectionError):
        await store.refresh(store.open())
    assert await store.refresh(store.open()) is not None


async def test_a_failed_reload_ends_a_decorated_call():
    store = VersionedStore(Faults(stale=1, refresh=1))
    with no_waiting(), pytest.raises(SessionRefreshError) as gave_up:
        await retrying(store)(store.open(), "event")
    assert isinstance(gave_up.value.__cause__, ConnectionError)


async def test_gone_rejects_appends_and_finds_no_session(store):
    session = store.open()
    store.faults.gone = True
    with pytest.raises(StaleSessionError, match="no session 'session'"):
        await store.append(session, "event")
    assert await store.refresh(session) is None
    assert store.events() == []


async def test_a_session_that_is_gone_ends_a_decorated_call(store):
    session = store.open()
    store.faults.gone = True
    with no_waiting(), pytest.raises(SessionGoneError):
        await retrying(store)(session, "event")


async def test_a_session_of_another_store_is_gone_here(store):
    elsewhere = VersionedStore().open("elsewhere")
    with pytest.raises(StaleSessionError, match="no session 'elsewhere'"):
        await store.append(elsewhere, "event")
    assert await store.refresh(elsewhere) is None
    assert store.events("elsewhere") == []


async def test_a_lost_acknowledgement_stores_the_event_and_raises(store):
    session = store.open()
    store.faults.lost_acknowledgements = 1
    with pytest.raises(ConnectionError):
        await store.append(session, "event")
    assert (store.events(), session.events, session.version) == (["event"], [], 0)


async def test_find_stored_finds_an_event_by_its_id(store):
    ours, alike = Event("ok"), Event("ok")
    await store.append(store.open(), ours)
    session = store.open()
    assert store.find_stored(session, ours) is ours
    assert store.find_stored(session, alike) is None


@pytest.mark.parametrize("make", [lambda n: Event("ok", n), lambda n: {"id": n}], ids=["object", "mapping"])
async def test_find_stored_takes_any_event_with_an_id(store, make):
    await store.append(store.open(), "no id")
    await store.append(store.open(), make(1))
    session = store.open()
    assert store.find_stored(session, make(1)) == make(1)
    assert store.find_stored(session, make(2)) is None


async def test_find_stored_refuses_an_event_without_an_id(store):
    await store.append(store.open(), "ok")
    with pytest.raises(TypeError, match="this str has none"):
        store.find_stored(store.open(), "ok")


async def test_a_deleted_session_is_gone(store):
    session = store.open()
    store.delete()
    with pytest.raises(StaleSessionError, match="no session 'session'"):
        await store.append(session, "event")
    assert await store.refresh(session) is None


@pytest.mark.parametrize("call", ["append", "refresh"])
async def test_delay_slows_appends_and_reloads(store, call):
    store.faults.delay = 2.5
    began = anyio.current_time()
    await (store.append(store.open(), "event") if call == "append" else store.refresh(store.open()))
    assert anyio.current_time() - began == pytest.approx(2.5)


async def test_faults_may_change_between_two_attempts(store):
    """As a store that recovers while a call waits."""
    store.faults.stale = 1_000

    def recover(conflict):
        store.faults.stale = 0

    with no_waiting():
        await retrying(store, on_conflict=recover)(store.open(), "event")
    assert store.events() == ["event"]


async def test_a_store_that_never_recovers_is_given_up_on(store):
    store.faults.stale = 1_000
    with no_waiting(), pytest.raises(AttemptsExhaustedError):
        await retrying(store, max_attempts=3)(store.open(), "event")
    assert (store.appends, store.events()) == (3, [])


async def test_its_rejection_counts_as_stale(store):
    store.faults.stale = 1
    with pytest.raises(StaleSessionError) as rejected:
        await store.append(store.open(), "event")
    assert is_stale_session_error(rejected.value)
