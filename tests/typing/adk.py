"""google-adk: a session service whose own `append_event` is decorated is a session service still."""

from __future__ import annotations

from typing import Any

from google.adk.events import Event
from google.adk.runners import Runner
from google.adk.sessions import BaseSessionService, DatabaseSessionService, Session
from google.adk.sessions.base_session_service import GetSessionConfig, ListSessionsResponse
from typing_extensions import assert_type, override

from stale_retry import Conflict, adk, retry_on_stale_session, retry_with

session, event = Session(id="s", app_name="a", user_id="u"), Event(author="user")


# With the core alone


async def reload(service: BaseSessionService, session: Session) -> Session | None:
    return await service.get_session(app_name=session.app_name, user_id=session.user_id, session_id=session.id)


def keep_state(conflict: Conflict[Session]) -> None:
    conflict.fresh.state.update(conflict.stale.state)


class OwnService(BaseSessionService):
    @override
    async def create_session(
        self, *, app_name: str, user_id: str, state: dict[str, Any] | None = None, session_id: str | None = None
    ) -> Session:
        return session

    @override
    async def get_session(
        self, *, app_name: str, user_id: str, session_id: str, config: GetSessionConfig | None = None
    ) -> Session | None:
        return session

    @override
    async def list_sessions(self, *, app_name: str, user_id: str | None = None) -> ListSessionsResponse:
        return ListSessionsResponse()

    @override
    async def delete_session(self, *, app_name: str, user_id: str, session_id: str) -> None: ...

    @override
    @retry_on_stale_session(reload, on_conflict=keep_state)
    async def append_event(self, session: Session, event: Event) -> Event:
        return await super().append_event(session, event)


class OwnDatabaseService(DatabaseSessionService):
    @override
    @adk.retry_on_stale_session(interleaving="same_turn")
    async def append_event(self, session: Session, event: Event) -> Event:
        return await super().append_event(session, event)


async def services() -> None:
    services: list[BaseSessionService] = [OwnService(), OwnDatabaseService("sqlite+aiosqlite:///x.db")]
    for service in services:
        assert_type(await service.append_event(session, event), Event)
    assert_type(await OwnService().append_event(session=session, event=event), Event)
    assert_type(await retry_with(OwnDatabaseService("x").append_event, deadline=1.0)(session, event), Event)
    await OwnService().append_event(session, "hello")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


async def around_any_service(runner: Runner) -> None:
    service = adk.RetryingSessionService(DatabaseSessionService("x"), refresh="full", deadline=30.0)
    runner.session_service = service
    assert_type(await service.append_event(session, event), Event)
    assert_type(service.retrying, adk.SessionServiceRetrying)
    await service.append_event(session, "hello")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    adk.RetryingSessionService("sqlite://")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    database = DatabaseSessionService("x")
    adk.RetryingSessionService(database, refresh="some")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    adk.RetryingSessionService(database, max_attempt=3)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]


async def refreshed() -> None:
    assert_type(adk.retry_on_stale_session(interleaving="same_turn"), adk.SessionServiceRetrying)
    assert_type(await adk.refresh_session(DatabaseSessionService("x"), session), Session | None)
