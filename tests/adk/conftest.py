import contextlib

import pytest
import pytest_asyncio
from google.adk.sessions import DatabaseSessionService
from google.adk.sessions.sqlite_session_service import SqliteSessionService

from . import queues
from .app import KEY
from .releases import DATABASE_LOCKS, DATABASE_REJECTS_STALE, FAKED


@pytest.fixture(autouse=True)
def runners_as_google_made_them():
    yield
    queues.undo_queueing()


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


@pytest_asyncio.fixture
async def firestore_service():
    """A FirestoreSessionService on a Firestore in memory, with an empty session in it."""
    from google.adk.integrations.firestore.firestore_session_service import FirestoreSessionService

    from .firestore import Client

    service = FirestoreSessionService(client=Client())
    await service.create_session(**KEY)
    return service


@pytest_asyncio.fixture
async def mongodb_service():
    """A MongoDbSessionService on a MongoDB in memory, without transactions, with an empty session in it."""
    import mongomock
    from google.adk.integrations.mongodb import MongoDbSessionService

    service = MongoDbSessionService(database_name="chat", mongo_client=mongomock.MongoClient())
    await service.create_session(**KEY)
    return service


@pytest.fixture(params=["sqlite_database", "postgresql_database"])
def database(request):
    """A DatabaseSessionService, on a SQLite file and on PostgreSQL."""
    return request.getfixturevalue(request.param)


SQL = [*(["sqlite_database", "postgresql_database"] if DATABASE_REJECTS_STALE else []), "sqlite_service"]


@pytest.fixture(params=SQL)
def sql(request):
    """Every service on a database that can be run here and, in this release, rejects a stale session."""
    return request.getfixturevalue(request.param)


STRICT = [name for name in [*SQL, *FAKED] if name != "sqlite_service" and (name in FAKED or DATABASE_LOCKS)]


@pytest.fixture(params=STRICT)
def strict(request):
    """Those that reject every stale session, however close two appends are."""
    return request.getfixturevalue(request.param)


@pytest.fixture(params=[*SQL, *FAKED])
def storage(request):
    """These, and those whose database is a fake."""
    return request.getfixturevalue(request.param)
