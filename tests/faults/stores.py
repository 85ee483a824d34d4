"""The stores that writers append to: ADK's services on PostgreSQL and on a SQLite file."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from google.adk.sessions import BaseSessionService, DatabaseSessionService
from google.adk.sessions.sqlite_session_service import SqliteSessionService

from .audit import Stored, read_postgres, read_sqlite
from .documented import recipe

APP = {"app_name": "faults", "user_id": "user"}


@dataclass(frozen=True)
class Store:
    """Where writers append, in a form that can be told to another process.

    Attributes:
        kind: "postgres"; "sqlite", which is ADK's own engine; "sqlite-immediate", the documented one; or
            "sqlite-service", ADK's SqliteSessionService.
        place: a URL, or the path of a SQLite file.
        engine: options of the SQLAlchemy engine.
        settings: of PostgreSQL, for each connection.
    """

    kind: str
    place: str
    engine: dict[str, Any] = field(default_factory=dict)
    settings: dict[str, str] = field(default_factory=dict)

    def open(self) -> BaseSessionService:
        """The bare service."""
        if self.kind == "postgres":
            settings = {"application_name": str(os.getpid()), **self.settings}
            url = self.place.replace("postgresql:", "postgresql+asyncpg:")
            return DatabaseSessionService(url, connect_args={"server_settings": settings}, **self.engine)
        if self.kind == "sqlite":
            return DatabaseSessionService(f"sqlite+aiosqlite:///{self.place}", **self.engine)
        if self.kind == "sqlite-immediate":
            return DatabaseSessionService(db_engine=recipe("faults.md", "sqlite_engine")(self.place, **self.engine))
        return SqliteSessionService(self.place)

    async def read(self, session: str) -> tuple[list[Stored], dict[str, Any]]:
        if self.kind == "postgres":
            return await read_postgres(self.place, session)
        return read_sqlite(Path(self.place), session)


async def close(service: Any) -> None:
    """Also the engine that was handed to the service, which is not the service's to close."""
    if isinstance(service, DatabaseSessionService):
        await service.db_engine.dispose()
