"""The same policy on a service's own `append_event`."""

import inspect

import pytest
from google.adk.sessions.sqlite_session_service import SqliteSessionService

import stale_retry
from stale_retry import adk
from stale_retry.testing import no_waiting

from .app import KEY, calls_of, event, interrupt, load, rewind, runner_of, texts, turns

pytestmark = pytest.mark.asyncio


class MyService(SqliteSessionService):
    calls = 0

    @adk.retry_on_stale_session(deadline=30)
    async def append_event(self, session, event):
        self.calls += 1
        return await super().append_event(session, event)


@pytest.fixture
def service(tmp_path):
    return MyService(str(tmp_path / "sessions.db"))


async def behind(service):
    await service.create_session(**KEY)
    session = await load(service)
    await interrupt(service)
    service.calls = 0
    return session


async def test_a_services_own_append_is_retried_in_place(service):
    session = await behind(service)
    with no_waiting():
        for text in ("one", "two"):
            mine = event(text)
            assert await service.append_event(session=session, event=mine) is mine
    assert texts(session) == ["theirs", "one", "two"] == texts(await load(service))
    assert service.calls == 3


async def test_it_keeps_its_signature_and_its_options(service):
    assert list(inspect.signature(MyService.append_event).parameters) == ["self", "session", "event"]
    assert service.append_event.retrying.deadline == 30
    assert stale_retry.retry_with(service.append_event, deadline=5).retrying.deadline == 5


async def test_a_rewind_is_not_retried(service):
    session = await behind(service)
    with pytest.raises(ValueError, match="stale session"):
        await service.append_event(session, rewind("invocation"))
    assert service.calls == 1


async def test_interleaving_is_the_decorators_choice_too(tmp_path):
    class Strict(SqliteSessionService):
        @adk.retry_on_stale_session(interleaving="same_turn")
        async def append_event(self, session, event):
            return await super().append_event(session, event)

    strict = Strict(str(tmp_path / "strict.db"))
    await strict.create_session(**KEY)
    session = await load(strict)
    await interrupt(strict)
    with no_waiting(), pytest.raises(adk.InterleavedTurnError):
        await strict.append_event(session, event("mine", author="agent"))


async def test_turns_through_a_runner_are_all_answered(service):
    await service.create_session(**KEY)
    assert await turns(runner_of(service), 5) == [["pong"]] * 5
    assert len((await load(service)).events) == 10


async def test_wrapped_as_well_it_does_not_multiply_the_attempts(tmp_path):
    class Hopeless(SqliteSessionService):
        calls = 0

        @adk.retry_on_stale_session(max_attempts=3)
        async def append_event(self, session, event):
            self.calls += 1
            raise stale_retry.StaleSessionError

    hopeless = Hopeless(str(tmp_path / "hopeless.db"))
    session = await hopeless.create_session(**KEY)
    with no_waiting(), pytest.raises(stale_retry.StaleSessionError):
        await adk.RetryingSessionService(hopeless, max_attempts=5).append_event(session, event("mine"))
    assert hopeless.calls == 3


async def test_the_refresh_hook_alone_serves_the_cores_decorator(storage):
    append = stale_retry.retry_on_stale_session(adk.refresh_session)(type(storage).append_event)
    session = await load(storage)
    await interrupt(storage)
    with no_waiting():
        await append(storage, session, event("mine"))
    assert texts(session) == ["theirs", "mine"]


async def test_the_refresh_hook_alone_tells_the_core_that_a_session_is_gone(storage):
    session = await load(storage)

    @stale_retry.retry_on_stale_session(adk.refresh_session)
    async def append(service, session, event):
        await service.delete_session(**KEY)
        raise stale_retry.StaleSessionError

    with no_waiting(), calls_of(storage, "get_session") as reads, pytest.raises(stale_retry.SessionGoneError):
        await append(storage, session, event("mine"))
    assert reads == [None]
