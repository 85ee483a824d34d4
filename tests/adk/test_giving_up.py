"""What the caller is told when an append is not stored, and what is then in storage and in the session."""

import sys

import pytest
from google.adk.events import Event

from stale_retry import constant, is_stale_session_error
from stale_retry.adk import RetryingSessionService
from stale_retry.adk._releases import AdkStaleSessionError, SessionNotFoundError
from stale_retry.testing import no_waiting

from .app import KEY, calls_of, content, event, interrupt, load, runner_of, texts
from .releases import HAS_STALE_ERROR, VERSION

pytestmark = pytest.mark.asyncio


async def always_behind(service):
    """Somebody else stores an event after every reading."""
    read = service.get_session

    async def read_and_fall_behind(**arguments):
        answer = await read(**arguments)
        other = await read(**KEY)
        theirs = event("theirs", timestamp=other.last_update_time + 1)
        await service.append_event(session=other, event=theirs)
        return answer

    service.get_session = read_and_fall_behind


async def gave_up(service, appended, **options):
    session = await load(service)
    await interrupt(service)
    await always_behind(service)
    with no_waiting() as told, pytest.raises(AdkStaleSessionError) as caught:
        await RetryingSessionService(service, **options).append_event(session, appended)
    del service.get_session
    return caught.value, told, session


async def test_it_gives_up_with_adks_own_error(storage):
    error, told, _ = await gave_up(storage, event("mine"), max_attempts=3)
    assert type(error) is AdkStaleSessionError
    assert is_stale_session_error(error)
    assert (AdkStaleSessionError.__name__ == "StaleSessionError") is HAS_STALE_ERROR
    assert [each.kind for each in told] == ["retrying", "retrying", "gave_up"]


@pytest.mark.skipif(sys.version_info < (3, 11), reason="errors have no notes before Python 3.11")
async def test_attempts_and_seconds_are_in_the_note(storage):
    error, _, _ = await gave_up(storage, event("mine"), max_attempts=3)
    (note,) = error.__notes__
    assert f"{type(storage).__name__}.append_event gave up after 3 attempts in " in note
    assert "max_attempts were made" in note


async def test_it_gives_up_in_time(storage):
    _, told, _ = await gave_up(storage, event("mine"), deadline=2.0, backoff=constant(0.5), jitter=None)
    assert (told[-1].reason, told[-1].attempt) == ("deadline", 5)  # the last wait is cut, so that one more fits in


async def test_an_event_that_was_given_up_is_not_half_stored(storage):
    mine = event("mine", state={"mine": 1, "user:mine": 1, "app:mine": 1})
    _, _, session = await gave_up(storage, mine, max_attempts=2)
    stored = await load(storage)
    assert mine.id not in [each.id for each in (*stored.events, *session.events)]
    assert not {"mine", "user:mine", "app:mine"} & {*stored.state, *session.state}


async def test_of_a_turn_whose_message_was_given_up_nothing_is_stored(storage):
    await always_behind(storage)
    runner = runner_of(RetryingSessionService(storage, max_attempts=2))
    with no_waiting(), pytest.raises(ValueError) as caught:
        async for _ in runner.run_async(user_id="user", session_id="session", new_message=content("ping")):
            pass
    del storage.get_session
    assert is_stale_session_error(caught.value)
    assert set(texts(await load(storage))) == {"theirs"}


async def test_a_session_that_is_deleted_meanwhile_is_not_found(storage):
    session = await load(storage)
    await interrupt(storage)
    append = storage.append_event

    async def append_late(**arguments):
        try:
            return await append(**arguments)
        finally:
            await storage.delete_session(**KEY)

    storage.append_event = append_late
    with no_waiting() as told, pytest.raises(SessionNotFoundError, match="Session session not found") as caught:
        await RetryingSessionService(storage).append_event(session, event("mine"))
    assert type(caught.value) is SessionNotFoundError
    assert (SessionNotFoundError.__name__ == "SessionNotFoundError") is (VERSION >= (1, 25))
    assert (told[-1].kind, told[-1].reason) == ("gave_up", "refresh_failed")


async def test_a_session_that_was_gone_before_raises_what_the_service_raises(storage):
    session = await load(storage)
    await storage.delete_session(**KEY)
    errors = []
    for service in (storage, RetryingSessionService(storage)):
        with pytest.raises((ValueError, AttributeError)) as caught:
            await service.append_event(session, event("mine"))
        errors.append((type(caught.value), str(caught.value)))
    assert errors[0] == errors[1]


async def test_an_error_that_is_not_stale_comes_through_at_once(sql):
    session, failed = await load(sql), OSError("no")

    async def append_event(**arguments):
        raise failed

    sql.append_event = append_event
    with calls_of(sql, "get_session") as calls, pytest.raises(OSError, match="no") as caught:
        await RetryingSessionService(sql).append_event(session, event("mine"))
    assert caught.value is failed
    assert calls == []


async def test_an_event_whose_acknowledgement_is_lost_is_settled_when_the_caller_retries_such_errors(storage):
    append, session, mine = storage.append_event, await load(storage), event("mine", state={"mine": 1})

    async def append_and_lose_the_answer(**arguments):
        storage.append_event = append
        # What was done to the caller's session is lost with the answer.
        await append(session=arguments["session"].model_copy(deep=True), event=arguments["event"])
        raise ConnectionError("the server closed the connection")

    storage.append_event = append_and_lose_the_answer
    service = RetryingSessionService(storage, on=(ConnectionError,))
    with no_waiting() as told:
        assert await service.append_event(session, mine) is mine
    assert session.events == [mine]
    assert session.events[0] is mine
    assert (session.state["mine"], texts(await load(storage))) == (1, ["mine"])
    assert [each.kind for each in told] == ["retrying", "recovered"]


async def test_a_retried_event_keeps_its_date_if_it_is_the_latest(storage):
    session = await load(storage)
    theirs = await interrupt(storage)
    mine = event("mine", timestamp=theirs.timestamp + 5)
    with no_waiting():
        await RetryingSessionService(storage).append_event(session, mine)
    assert mine.timestamp == theirs.timestamp + 5


@pytest.mark.parametrize("earlier", [0.0, 1e-7, 5e-7, 1e-6, 3.0])
async def test_a_retried_event_is_dated_at_least_a_microsecond_after_the_last_one(storage, earlier):
    session = await load(storage)
    theirs: Event = await interrupt(storage)
    before = await load(storage)
    mine = event("mine", timestamp=theirs.timestamp - earlier)
    with no_waiting():
        await RetryingSessionService(storage).append_event(session, mine)
    first, second = (await load(storage)).events
    assert (first.id, second.id) == (theirs.id, mine.id)
    # Two readings of a date may differ by what a float of this size cannot tell apart.
    assert 0.9e-6 < second.timestamp - max(first.timestamp, before.last_update_time) < 4e-6
