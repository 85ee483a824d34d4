"""A session in a database, behind google-adk's `DatabaseSessionService`."""

from __future__ import annotations

import uuid
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypedDict

import anyio
from google.adk.events import Event
from google.adk.sessions import DatabaseSessionService, Session
from google.adk.sessions.base_session_service import GetSessionConfig
from google.genai import types
from sqlalchemy import make_url
from sqlalchemy.exc import ArgumentError

from .. import retry_on_stale_session
from ..adk import RetryingSessionService
from .contention import Append, Strategy, Timeline

CONNECT_WITHIN = 10.0
"""Seconds that the database has for its first answer."""

_ASYNC_DRIVERS = {"sqlite": "aiosqlite", "postgresql": "asyncpg", "mysql": "aiomysql", "mariadb": "asyncmy"}


class Key(TypedDict):
    app_name: str
    user_id: str
    session_id: str


class DatabaseUnreachable(Exception):
    """Raised when a URL is wrong, or when the database does not answer; the message is one line."""


def async_url(url: str) -> str:
    """The URL, with the usual async driver if it names none.

    Raises:
        DatabaseUnreachable: it is not a database URL, or no second connection could read that database.
    """
    try:
        parsed = make_url(url)
    except ArgumentError:
        raise DatabaseUnreachable(f"not a database URL: {url!r}; try sqlite:///demo.db") from None
    if parsed.get_backend_name() == "sqlite":
        _check_file(parsed.database)
    if "+" not in parsed.drivername and parsed.drivername in _ASYNC_DRIVERS:
        parsed = parsed.set(drivername=f"{parsed.drivername}+{_ASYNC_DRIVERS[parsed.drivername]}")
    return parsed.render_as_string(hide_password=False)


def _check_file(database: str | None) -> None:
    # Checked here, because the driver's thread may still log after the event loop has closed on its first failure.
    if database in (None, "", ":memory:"):
        raise DatabaseUnreachable("an in-memory database cannot be read back from outside; try sqlite:///demo.db")
    file = Path(str(database))
    if file.is_dir() or not file.parent.is_dir():
        what = f"{file} is a folder" if file.is_dir() else f"there is no folder {file.parent}"
        raise DatabaseUnreachable(f"cannot use the database {file}: {what}")


def shown(url: str) -> str:
    """The URL without its password."""
    return make_url(url).render_as_string(hide_password=True)


class _NotedService(DatabaseSessionService):
    """Google-adk's service; notes every append and reading of the session."""

    def __init__(self, url: str, timeline: Timeline) -> None:
        super().__init__(url)
        self._timeline = timeline

    async def append_event(self, session: Session, event: Event) -> Event:
        with self._timeline.attempt():
            return await super().append_event(session, event)

    async def get_session(
        self, *, app_name: str, user_id: str, session_id: str, config: GetSessionConfig | None = None
    ) -> Session | None:
        with self._timeline.reload():
            return await super().get_session(app_name=app_name, user_id=user_id, session_id=session_id, config=config)


class DatabaseStore:
    """One new session; `async with` deletes it at the end and closes the connections.

    Attributes:
        service: google-adk's service that stores it.
        key: its names there.
    """

    def __init__(self, url: str) -> None:
        """Raises:
        DatabaseUnreachable: the driver is missing, or the URL does not fit it.
        """
        self.timeline: Timeline = Timeline()
        self._url = url
        self.key: Key = Key(app_name="stale-retry-demo", user_id="demo", session_id=str(uuid.uuid4()))
        with _in_one_line(url):
            self.service: DatabaseSessionService = _NotedService(url, self.timeline)

    async def __aenter__(self) -> DatabaseStore:
        """Raises:
        DatabaseUnreachable: nothing answers.
        """
        try:
            with _in_one_line(self._url), anyio.fail_after(CONNECT_WITHIN):
                await self.service.create_session(**self.key)
        except BaseException:
            await self.service.db_engine.dispose()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        try:
            with _in_one_line(self._url), anyio.CancelScope(shield=True):
                await self.service.delete_session(**self.key)
        finally:
            await self.service.db_engine.dispose()

    async def load(self) -> Session:
        return await _read(self.service, self._url, self.key)

    async def stored(self) -> list[str]:
        reader = DatabaseSessionService(self._url)
        try:
            session = await _read(reader, self._url, self.key)
        finally:
            await reader.db_engine.dispose()
        return [_text_of(event) for event in session.events]

    def append_with(self, strategy: Strategy) -> Append:
        observe = self.timeline.observe
        service = RetryingSessionService(self.service, observers=observe) if strategy.integrated else self.service

        async def append_event(session: Session, event: Event) -> Session:
            await service.append_event(session, event)
            return session

        if strategy.options is not None and not strategy.integrated:
            retrying = retry_on_stale_session(self._refresh, observers=observe)
            append_event = retrying.replace(**strategy.options)(append_event)

        async def append(session: Session, token: str) -> Session:
            return await append_event(session, _event(token))

        return append

    async def _refresh(self, session: Session) -> Session | None:
        return await self.service.get_session(**self.key)


def _event(token: str) -> Event:
    return Event(author="demo", content=types.Content(role="user", parts=[types.Part(text=token)]))


def _text_of(event: Event) -> str:
    parts: Any = event.content.parts if event.content else None
    return parts[0].text if parts else ""


async def _read(service: DatabaseSessionService, url: str, key: Key) -> Session:
    with _in_one_line(url):
        session = await service.get_session(**key)
    if session is None:
        raise DatabaseUnreachable(f"the demo's session is gone from {shown(url)}")
    return session


@contextmanager
def _in_one_line(url: str) -> Generator[None]:
    try:
        yield
    except Exception as error:
        if isinstance(error.__cause__, ImportError):
            driver = error.__cause__.name
            raise DatabaseUnreachable(f"{shown(url)} needs the driver {driver}: pip install {driver}") from error
        reason = next((line.strip() for line in str(error).splitlines() if line.strip()), "")
        raise DatabaseUnreachable(
            f"cannot use the database {shown(url)}: {type(error).__name__}{reason and ': '}{reason}"
        ) from error
