"""Nobody notices the wrapper but the appends: everything else is the wrapped service's."""

import asyncio
import copy
import inspect
import logging

import pytest
from google.adk.sessions import BaseSessionService, InMemorySessionService, Session, VertexAiSessionService
from google.adk.sessions.base_session_service import GetSessionConfig
from google.adk.sessions.sqlite_session_service import SqliteSessionService

from stale_retry import is_stale_session_error
from stale_retry.adk import RetryingSessionService
from stale_retry.testing import no_waiting

from .app import APP, KEY, calls_of, event, ids, interrupt, load, texts

pytestmark = pytest.mark.asyncio

PUBLIC = [name for name in dir(BaseSessionService) if not name.startswith("_")]


async def test_every_public_method_of_adks_base_class_is_the_wrapped_services():
    """What a later google-adk adds too: nothing is answered by the base class in the service's stead."""

    class Elsewhere(InMemorySessionService):
        pass

    for name in PUBLIC:
        setattr(Elsewhere, name, lambda self, *args, name=name, **kwargs: asyncio.sleep(0, name))
    service = RetryingSessionService(Elsewhere())
    for name in set(PUBLIC) - {"append_event", "create_session", "get_session"}:
        assert await getattr(service, name)() == name


async def test_every_method_takes_what_adks_base_class_takes():
    for name in PUBLIC:
        expected, ours = (
            [(parameter.name, parameter.kind, parameter.default) for parameter in signature.parameters.values()]
            for signature in map(
                inspect.signature, (getattr(BaseSessionService, name), getattr(RetryingSessionService, name))
            )
        )
        further = ours[len(expected) :]
        assert ours[: len(expected)] == expected
        assert [kind for _, kind, _ in further] in ([], [inspect.Parameter.VAR_KEYWORD])


class WithOptions(InMemorySessionService):
    """Its sessions have options, as those of Agent Engine have."""

    async def create_session(self, *, app_name, user_id, state=None, session_id=None, ttl=None):
        session = await super().create_session(app_name=app_name, user_id=user_id, state=state, session_id=session_id)
        session.state["ttl"] = ttl
        return session

    async def get_session(self, *, app_name, user_id, session_id, config=None, view="full"):
        session = await super().get_session(app_name=app_name, user_id=user_id, session_id=session_id, config=config)
        session.state["view"] = view
        return session


async def test_options_of_the_wrapped_services_own_pass_and_show_in_the_signature():
    inner = WithOptions()
    service = RetryingSessionService(inner)
    assert (await service.create_session(**KEY, ttl="3600s")).state == {"ttl": "3600s"}
    assert (await service.get_session(**KEY, view="short")).state == {"view": "short"}
    for name in ("create_session", "get_session"):
        assert inspect.signature(getattr(service, name)) == inspect.signature(getattr(inner, name))
        assert inspect.iscoroutinefunction(getattr(service, name))
    with pytest.raises(TypeError, match="unexpected keyword argument 'other'"):
        await service.create_session(**KEY, other=1)


async def test_agent_engines_session_options_are_accepted_where_adks_api_server_looks():
    vertex = object.__new__(VertexAiSessionService)  # making one takes a project on Google Cloud
    assert "kwargs" in inspect.signature(RetryingSessionService(vertex).create_session).parameters


async def test_sessions_are_created_read_listed_and_deleted_through_it(storage):
    service = RetryingSessionService(storage)
    created = await service.create_session(**APP, state={"k": 1}, session_id="other")
    assert (await storage.get_session(**APP, session_id="other")).state == {"k": 1} == created.state
    await service.append_event(created, event("one"))
    await service.append_event(created, event("two"))
    last = await service.get_session(**APP, session_id="other", config=GetSessionConfig(num_recent_events=1))
    assert texts(last) == ["two"]
    assert {session.id for session in (await service.list_sessions(**APP)).sessions} == {"session", "other"}
    assert {session.id for session in (await service.list_sessions(app_name="app")).sessions} == {"session", "other"}
    await service.delete_session(**APP, session_id="other")
    assert await service.get_session(**APP, session_id="other") is None


async def test_user_state_is_the_wrapped_services():
    service = RetryingSessionService(InMemorySessionService())
    await service.create_session(**KEY, state={"user:name": "Ada"})
    if hasattr(BaseSessionService, "get_user_state"):
        assert await service.get_user_state(**APP) == {"name": "Ada"}
    else:
        assert not hasattr(service, "get_user_state")


class Buffering(InMemorySessionService):
    """Written by someone who knows nothing of us."""

    flushed = closed = 0
    region = "north"

    async def flush(self):
        self.flushed += 1

    def close(self):
        self.closed += 1


async def test_flush_close_and_attributes_are_the_wrapped_services():
    inner = Buffering()
    service = RetryingSessionService(inner)
    await service.flush()
    await service.close()
    assert (inner.flushed, inner.closed, service.region) == (1, 1, "north")
    with pytest.raises(AttributeError, match="'Buffering' object has no attribute 'nothing'"):
        _ = service.nothing


async def test_an_asynchronous_close_is_awaited():
    class Closable(InMemorySessionService):
        closed = False

        async def close(self):
            await asyncio.sleep(0)
            self.closed = True

    service = RetryingSessionService(Closable())
    await service.close()
    assert service.closed


async def test_async_with_enters_and_leaves_the_wrapped_service():
    class Entered(InMemorySessionService):
        log = ()

        async def __aenter__(self):
            self.log += ("entered",)
            return self

        async def __aexit__(self, *error):
            self.log += (error[0],)

    inner = Entered()
    with pytest.raises(KeyError):
        async with RetryingSessionService(inner) as service:
            assert isinstance(service, RetryingSessionService)
            raise KeyError
    assert inner.log == ("entered", KeyError)


async def test_async_with_closes_a_service_that_can_only_be_closed():
    inner = Buffering()
    async with RetryingSessionService(inner):
        assert inner.closed == 0
    assert inner.closed == 1


async def test_a_service_that_cannot_be_closed_needs_no_closing():
    async with RetryingSessionService(InMemorySessionService()) as service:
        await service.create_session(**KEY)
    assert await load(service)


async def test_wrapping_twice_is_refused(sqlite_service):
    with pytest.raises(TypeError, match=r"a RetryingSessionService already; wrap its \.service"):
        RetryingSessionService(RetryingSessionService(sqlite_service))


@pytest.mark.parametrize("wrong", [None, "sqlite:///chat.db", InMemorySessionService])
async def test_what_is_no_session_service_is_refused(wrong):
    with pytest.raises(TypeError, match="service must be a google-adk session service"):
        RetryingSessionService(wrong)


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"refresh": "some"}, ValueError, "refresh must be 'incremental' or 'full', got 'some'"),
        ({"dead_line": 1}, TypeError, "unknown option 'dead_line'; did you mean 'deadline'?"),
        ({"deadline": -1}, ValueError, "deadline must be above zero"),
        ({"on": 5}, TypeError, "on must be exception types"),
        ({"on_conflict": "abort"}, TypeError, "on_conflict must be a function of the conflict"),
    ],
)
async def test_a_wrong_option_is_refused_at_construction(sqlite_service, options, error, words):
    with pytest.raises(error, match=words):
        RetryingSessionService(sqlite_service, **options)


async def test_a_copy_of_it_can_be_made(sqlite_service):
    service = RetryingSessionService(sqlite_service, deadline=7)
    assert copy.copy(service).retrying.deadline == 7


async def test_an_append_that_is_not_stale_reads_nothing_and_takes_one_call(storage):
    service, session = RetryingSessionService(storage), await load(storage)
    mine = event("mine", timestamp=5.0)
    with calls_of(storage, "append_event", "get_session", "list_sessions") as calls:
        assert await service.append_event(session=session, event=mine) is mine
    assert (len(calls), mine.timestamp) == (1, 5.0)


async def test_the_slot_is_held_while_the_session_is_read_back(storage):
    service = RetryingSessionService(storage)
    session = await load(storage)
    await interrupt(storage)
    used, queues, read = [], service.retrying.queues, storage.get_session

    async def read_and_look(**arguments):
        used.append(len(queues))
        return await read(**arguments)

    storage.get_session = read_and_look
    with no_waiting():
        await service.append_event(session, event("mine"))
    assert (used, len(queues)) == ([1], 0)


async def test_by_default_the_callers_of_one_app_user_and_session_queue(sqlite_service):
    policy = RetryingSessionService(sqlite_service).retrying
    one, same = [Session(id="session", app_name="app", user_id="user") for _ in range(2)]
    others = [one.model_copy(update={name: "other"}) for name in ("id", "app_name", "user_id")]
    assert len({policy.key(each) for each in (one, same, *others)}) == 4


async def test_a_conflict_hook_sees_the_session_before_and_after_and_may_change_the_event(storage):
    seen = []

    def rebase(conflict):
        assert conflict.fresh is session
        seen.append((conflict.base, conflict.stale.state, ids(conflict.stale), conflict.new_events))
        delta = conflict.arguments["event"].actions.state_delta
        delta["count"] += conflict.theirs["count"] - conflict.base["count"]

    service = RetryingSessionService(storage, on_conflict=rebase)
    await interrupt(storage, state={"count": 1})
    session = await load(service)
    before = ids(session)
    theirs = await interrupt(storage, state={"count": 2})
    session.state["count"] = 11
    with no_waiting():
        await service.append_event(session, event(state={"count": 11}))
    ((base, stale, held, new),) = seen
    assert (base, stale, held, [other.id for other in new]) == ({"count": 1}, {"count": 11}, before, [theirs.id])
    assert (await load(storage)).state["count"] == 12 == session.state["count"]


async def test_no_text_of_a_conversation_is_logged(storage, caplog):
    caplog.set_level(logging.DEBUG, "stale_retry")
    session = await load(storage)
    await interrupt(storage, "their secret")
    with no_waiting():
        await RetryingSessionService(storage).append_event(session, event("my secret", state={"secret": "secret"}))
    logged = "\n".join(record.getMessage() for record in caplog.records if record.name.startswith("stale_retry"))
    assert f"{type(storage).__name__}.append_event" in logged
    assert "secret" not in logged


class Unacquainted(BaseSessionService):
    """A service with versions of its own, by someone who knows neither us nor ADK's error."""

    def __init__(self):
        self.inner = InMemorySessionService()
        self.versions = {}

    async def create_session(self, **arguments):
        return await self.inner.create_session(**arguments)

    async def get_session(self, *, config=None, **arguments):
        session = await self.inner.get_session(**arguments, config=config)
        session.last_update_time = float(self.versions.get(session.id, 0))
        return session

    async def list_sessions(self, **arguments):
        return await self.inner.list_sessions(**arguments)

    async def delete_session(self, **arguments):
        await self.inner.delete_session(**arguments)

    async def append_event(self, session, event):
        class StaleSessionError(Exception):
            pass

        if session.last_update_time != self.versions.get(session.id, 0):
            raise StaleSessionError
        await self.inner.append_event(session, event)
        self.versions[session.id] = self.versions.get(session.id, 0) + 1
        session.last_update_time = float(self.versions[session.id])
        return event


async def test_a_service_by_someone_who_knows_nothing_of_us_is_retried():
    inner = Unacquainted()
    await inner.create_session(**KEY)
    session = await load(inner)
    await interrupt(inner)
    with pytest.raises(Exception) as caught:
        await inner.append_event(session, event("mine"))
    assert is_stale_session_error(caught.value)
    with no_waiting():
        await RetryingSessionService(inner).append_event(session, event("mine"))
    assert texts(session) == ["theirs", "mine"] == texts(await load(inner))


async def test_a_service_that_never_rejects_is_passed_through():
    inner = InMemorySessionService()
    await inner.create_session(**KEY)
    service = RetryingSessionService(inner)
    session = await load(service)
    await interrupt(inner)
    with calls_of(inner, "append_event", "get_session") as calls:
        await service.append_event(session, event("mine"))
    assert (len(calls), texts(await load(inner))) == (1, ["theirs", "mine"])


async def test_a_users_own_subclass_is_wrapped_like_any_other(tmp_path):
    class Noting(SqliteSessionService):
        seen = ()

        async def append_event(self, session, event):
            self.seen += (event.author,)
            return await super().append_event(session, event)

    inner = Noting(str(tmp_path / "sessions.db"))
    service = RetryingSessionService(inner)
    await service.create_session(**KEY)
    session = await load(service)
    await interrupt(inner, author="other")
    with no_waiting():
        await service.append_event(session, event("mine"))
    assert service.seen == ("other", "user", "user")
    assert texts(session) == ["theirs", "mine"]
