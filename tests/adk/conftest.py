import contextlib

import pytest
import pytest_asyncio
from google.adk.sessions import DatabaseSessionService
from google.adk.sessions.sqlite_session_service import SqliteSessionService

from .app import KEY
from .releases import DATABASE_REJECTS_STALE


@contextlib.asynccontextmanager
async def opened(url):
    service = DatabaseSessionService(url)
    await service.create_session(**KEY)
    try:
        yield service
    finally:
        await service.db_engine.dispose()


@pytest_asyncio.fixture
async def sqlite_database(tmp_path):
    """A DatabaseSessionService on a SQLite file, with an empty session in it."""
    async with opened(f"sqlite+aiosqlite:///{tmp_path}/chat.db") as service:
        yield service


@pytest_asyncio.fixture
async def postgresql_database(new_postgresql_database):
    async with opened(new_postgresql_database()) as service:
        yield service


@pytest_asyncio.fixture
async def sqlite_service(tmp_path):
    """A SqliteSessionService, with an empty session in it."""
    service = SqliteSessionService(str(tmp_path / "sessions.db"))
    await service.create_session(**KEY)
    return service


@pytest.fixture(params=["sqlite_database", "postgresql_database"])
def database(request):
    """A DatabaseSessionService, on a SQLite file and on PostgreSQL."""
    return request.getfixturevalue(request.param)


REJECTING = ["sqlite_database", "postgresql_database"] if DATABASE_REJECTS_STALE else []


@pytest.fixture(params=[*REJECTING, "sqlite_service"])
def storage(request):
    """Every service that can be run here and, in this release, rejects a stale session."""
    return request.getfixturevalue(request.param)
