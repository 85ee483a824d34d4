"""Which errors mean "not stored, or look again"."""

import asyncio
import contextlib
import errno
import sqlite3
import sys
from types import SimpleNamespace

import asyncpg
import pytest
import pytest_asyncio
import sqlalchemy.exc
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool
from tenacity import retry_if_exception_type

if sys.version_info < (3, 11):
    from exceptiongroup import ExceptionGroup

from stale_retry import StaleSessionError, retry_if_stale_session
from stale_retry.transient import is_transient_error, retry_if_transient

TRANSIENT_SQLSTATES = (
    "08000 08003 08006 08001 08004 08007 08P01 25P03 25P04 40001 40003 40P01 53300 55P03 57014 57P01 57P02 57P03 57P05"
)
LASTING_SQLSTATES = "22001 23502 23503 23505 28P01 3D000 42501 42P01 42703 53100 53200 57P04 XX000"


def with_sqlstate(state):
    error = Exception("from a driver")
    error.sqlstate = state
    return error


def sqlite_error(code, message="from a driver"):
    error = sqlite3.OperationalError(message)
    error.sqlite_errorcode = code
    return error


@pytest.mark.parametrize("state", TRANSIENT_SQLSTATES.split())
def test_a_sqlstate_that_may_not_come_again_is_transient(state):
    assert is_transient_error(with_sqlstate(state))


@pytest.mark.parametrize("state", LASTING_SQLSTATES.split())
def test_a_sqlstate_that_will_come_again_is_not(state):
    assert not is_transient_error(with_sqlstate(state))


@pytest.mark.parametrize(
    "error",
    [
        ConnectionRefusedError(),
        ConnectionResetError(),
        BrokenPipeError(),
        FileNotFoundError(errno.ENOENT, "no such socket"),
        OSError(errno.EHOSTUNREACH, "no route to host"),
        TimeoutError(),
        asyncio.TimeoutError(),
        sqlalchemy.exc.TimeoutError("QueuePool limit reached"),
        sqlite_error(sqlite3.SQLITE_BUSY) if hasattr(sqlite3, "SQLITE_BUSY") else sqlite3.OperationalError("is locked"),
        sqlite_error(5 | (2 << 8)),
        sqlite_error(6),
        sqlalchemy.exc.DBAPIError("statement", {}, Exception(), connection_invalidated=True),
        asyncpg.exceptions.ConnectionDoesNotExistError(),
        asyncpg.exceptions.DeadlockDetectedError(),
        asyncpg.exceptions.CannotConnectNowError(),
    ],
    ids=repr,
)
def test_a_lost_connection_a_lock_or_a_timeout_is_transient(error):
    assert is_transient_error(error)


@pytest.mark.parametrize(
    "error",
    [
        ValueError("wrong"),
        StaleSessionError("stale"),
        PermissionError(errno.EACCES, "not yours"),
        OSError(errno.ENOSPC, "disk full"),
        sqlite_error(13),
        sqlite_error(1, "no such table: events"),
        sqlite3.IntegrityError("UNIQUE constraint failed: events.id"),
        sqlalchemy.exc.IntegrityError("statement", {}, asyncpg.exceptions.UniqueViolationError()),
        asyncpg.exceptions.InvalidPasswordError(),
        SimpleNamespace,
    ],
    ids=repr,
)
def test_what_will_happen_again_is_not_transient(error):
    assert not is_transient_error(error)


def test_a_locked_sqlite_file_is_known_by_its_words_where_python_gives_no_code():
    assert is_transient_error(sqlite3.OperationalError("database is locked"))
    assert not is_transient_error(sqlite3.OperationalError("disk I/O error"))


def test_the_origin_of_an_error_counts():
    wrapped = RuntimeError()
    wrapped.__cause__ = sqlalchemy.exc.DBAPIError("statement", {}, asyncpg.exceptions.AdminShutdownError())
    assert is_transient_error(wrapped)


def test_what_was_being_handled_when_an_error_was_raised_does_not_count():
    error = ValueError("a mistake in an error handler")
    error.__context__ = ConnectionResetError()
    assert not is_transient_error(error)


def test_a_chain_that_bites_its_own_tail_comes_to_an_end():
    first, second = RuntimeError(), RuntimeError()
    first.__cause__, second.__cause__ = second, first
    assert not is_transient_error(first)


def test_a_group_is_transient_when_all_its_leaves_are():
    assert is_transient_error(
        ExceptionGroup("all", [TimeoutError(), ExceptionGroup("inner", [ConnectionResetError()])])
    )
    assert not is_transient_error(ExceptionGroup("one of them", [TimeoutError(), ValueError()]))


@pytest.mark.parametrize("error", [StaleSessionError(), TimeoutError(), KeyError()], ids=repr)
def test_it_composes_with_other_strategies(error):
    state = SimpleNamespace(outcome=SimpleNamespace(failed=True, exception=lambda: error))
    either = retry_if_stale_session() | retry_if_transient()
    assert either(state) is not isinstance(error, KeyError)
    assert (either | retry_if_exception_type(KeyError))(state)


@pytest_asyncio.fixture
async def engine(postgres):
    engine = create_async_engine(postgres.url.replace("postgresql:", "postgresql+asyncpg:"), poolclass=NullPool)
    yield engine
    await engine.dispose()


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("statements", "transient"),
    [
        (["SET statement_timeout = 1", "SELECT pg_sleep(60)"], True),
        (["SELECT pg_terminate_backend(pg_backend_pid())"], True),
        (["SELECT pg_terminate_backend(pg_backend_pid(), 0)", "SELECT 1"], True),
        (["SET transaction_timeout = 1", "SELECT pg_sleep(60)"], True),
        (["CREATE TEMP TABLE t (i int PRIMARY KEY)", "INSERT INTO t VALUES (1)", "INSERT INTO t VALUES (1)"], False),
        (["SELECT * FROM nowhere"], False),
        (["SET TRANSACTION READ ONLY", "CREATE TABLE t (i int)"], True),
    ],
    ids=lambda value: value[-1] if isinstance(value, list) else "",
)
async def test_what_a_real_postgresql_says_is_understood(engine, statements, transient):
    with pytest.raises(sqlalchemy.exc.DBAPIError) as caught:
        async with engine.begin() as connection:
            for statement in statements:
                await connection.execute(sqlalchemy.text(statement))
    assert is_transient_error(caught.value) is transient


@pytest.mark.asyncio
async def test_a_lock_that_is_not_to_be_had_is_transient(engine, postgres):
    holder = await postgres.connect()
    await holder.execute("SELECT pg_advisory_lock(1)")
    with pytest.raises(sqlalchemy.exc.DBAPIError) as caught:
        async with engine.begin() as connection:
            await connection.execute(sqlalchemy.text("SET lock_timeout = 1"))
            await connection.execute(sqlalchemy.text("SELECT pg_advisory_lock(1)"))
    await holder.close()
    assert caught.value.orig.sqlstate == "55P03"
    assert is_transient_error(caught.value)


@pytest.mark.asyncio
async def test_a_serialization_failure_is_transient(engine, postgres):
    admin = await postgres.connect()
    await admin.execute("CREATE TABLE IF NOT EXISTS contested AS SELECT 1 AS i")
    with pytest.raises(sqlalchemy.exc.DBAPIError) as caught:
        async with engine.execution_options(isolation_level="REPEATABLE READ").begin() as connection:
            await connection.execute(sqlalchemy.text("SELECT * FROM contested"))
            await admin.execute("UPDATE contested SET i = i + 1")
            await connection.execute(sqlalchemy.text("UPDATE contested SET i = 0"))
    await admin.close()
    assert caught.value.orig.sqlstate == "40001"
    assert is_transient_error(caught.value)


@pytest.mark.asyncio
async def test_a_server_with_too_many_connections_is_transient(postgres):
    admin = await postgres.connect()
    await admin.execute("CREATE ROLE crowded LOGIN CONNECTION LIMIT 0")
    with pytest.raises(asyncpg.PostgresError) as caught:
        await asyncpg.connect(postgres.url, user="crowded")
    await admin.execute("DROP ROLE crowded")
    await admin.close()
    assert caught.value.sqlstate == "53300"
    assert is_transient_error(caught.value)


@pytest.mark.asyncio
async def test_a_server_that_is_down_is_transient(engine, postgres):
    postgres.server.stop()
    try:
        with pytest.raises(OSError) as caught:
            await engine.connect()
    finally:
        postgres.server.start()
    assert is_transient_error(caught.value)


@pytest.mark.asyncio
async def test_a_dry_pool_is_transient(postgres):
    url = postgres.url.replace("postgresql:", "postgresql+asyncpg:")
    engine = create_async_engine(url, pool_size=1, max_overflow=0, pool_timeout=0.01)
    async with engine.connect():
        with pytest.raises(sqlalchemy.exc.TimeoutError) as caught:
            await engine.connect()
    await engine.dispose()
    assert is_transient_error(caught.value)


def test_a_locked_sqlite_file_is_transient(tmp_path):
    with contextlib.ExitStack() as stack:
        first, second = (
            stack.enter_context(contextlib.closing(sqlite3.connect(tmp_path / "file", isolation_level=None, timeout=0)))
            for _ in range(2)
        )
        first.execute("BEGIN IMMEDIATE")
        with pytest.raises(sqlite3.OperationalError) as caught:
            second.execute("BEGIN IMMEDIATE")
    assert is_transient_error(caught.value)
