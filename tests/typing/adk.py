"""Checked by `mypy --strict`, never run: with google-adk, a service's own append can be decorated where it stands."""

from __future__ import annotations

from google.adk.events import Event
from google.adk.runners import Runner
from google.adk.sessions import BaseSessionService, DatabaseSessionService, Session
from typing_extensions import assert_type

from stale_retry.adk import RetryingSessionService, SessionServiceRetrying, refresh_session, retry_on_stale_session

session, event = Session(id="s", app_name="a", user_id="u"), Event(author="user")


class OwnService(DatabaseSessionService):
    @retry_on_stale_session()
    async def append_event(self, session: Session, event: Event) -> Event:
        return await super().append_event(session, event)


async def override() -> None:
    service: BaseSessionService = OwnService("sqlite+aiosqlite:///x.db")
    assert_type(await service.append_event(session, event), Event)
    assert_type(await OwnService("x").append_event(session, event=event), Event)
    await OwnService("x").append_event(session, "event")  # type: ignore[arg-type]
    assert_type(await OwnService("x").append_event.retry_with(deadline=1.0)(session, event), Event)


async def wrapper(runner: Runner) -> None:
    service = RetryingSessionService(DatabaseSessionService("x"), refresh="full", deadline=30.0)
    runner.session_service = service
    assert_type(await service.append_event(session, event), Event)
    await service.append_event(session, "event")  # type: ignore[arg-type]
    RetryingSessionService(DatabaseSessionService("x"), refresh="some")  # type: ignore[arg-type]
    RetryingSessionService(DatabaseSessionService("x"), max_attempt=3)  # type: ignore[call-arg]
    RetryingSessionService("sqlite://")  # type: ignore[arg-type]


async def hook() -> None:
    retrying = retry_on_stale_session(interleaving="same_turn")
    assert_type(retrying, SessionServiceRetrying)
    assert_type(await refresh_session(DatabaseSessionService("x"), session), Session | None)
