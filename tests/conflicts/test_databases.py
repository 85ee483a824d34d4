"""What databases say, through each driver, when an append lost its race, broke a constraint or lost its connection."""

import contextlib
import sqlite3

import pytest
import pytest_asyncio

from stale_retry.detection import is_conflict_error, sqlstate, unique_violation
from stale_retry.transient import is_transient_error, leaves_doubt

pytestmark = pytest.mark.servers

TABLE = (
    "CREATE TABLE events (id int CONSTRAINT one_id PRIMARY KEY, stream text, version int, "
    "CONSTRAINT one_version UNIQUE (stream, version))"
)


class Asyncpg:
    """One connection through asyncpg; the other classes do the same through another driver."""

    async def open(self, url):
        import asyncpg

        self.connection = await asyncpg.connect(url)
        return self

    async def execute(self, statement):
        await self.connection.execute(statement)

    async def pid(self):
        return self.connection.get_server_pid()

    async def close(self):
        await self.connection.close()


class Psycopg:
    async def open(self, url):
        import psycopg

        self.connection = await psycopg.AsyncConnection.connect(url, autocommit=True)
        return self

    async def execute(self, statement):
        await self.connection.execute(statement)

    async def pid(self):
        return self.connection.info.backend_pid

    async def close(self):
        await self.connection.close()


class Psycopg2:
    async def open(self, url):
        import psycopg2

        self.connection = psycopg2.connect(url)
        self.connection.autocommit = True
        return self

    async def execute(self, statement):
        with self.connection.cursor() as cursor:
            cursor.execute(statement)

    async def pid(self):
        return self.connection.info.backend_pid

    async def close(self):
        self.connection.close()


class Pg8000:
    async def open(self, url):
        import pg8000.dbapi

        directory = url.partition("host=")[2]
        self.connection = pg8000.dbapi.connect("postgres", unix_sock=f"{directory}/.s.PGSQL.5432")
        self.connection.autocommit = True
        return self

    async def execute(self, statement):
        self.connection.cursor().execute(statement)

    async def pid(self):
        cursor = self.connection.cursor()
        cursor.execute("SELECT pg_backend_pid()")
        return cursor.fetchone()[0]

    async def close(self):
        with contextlib.suppress(Exception):
            self.connection.close()


class SqlalchemyAsyncpg:
    dialect = "asyncpg"

    async def open(self, url):
        from sqlalchemy.ext.asyncio import create_async_engine

        self.engine = create_async_engine(url.replace("postgresql:", f"postgresql+{self.dialect}:"))
        self.connection = await self.engine.connect()
        await self.connection.execution_options(isolation_level="AUTOCOMMIT")
        return self

    async def execute(self, statement):
        await self.connection.exec_driver_sql(statement)

    async def pid(self):
        return (await self.connection.exec_driver_sql("SELECT pg_backend_pid()")).scalar_one()

    async def close(self):
        with contextlib.suppress(Exception):
            await self.connection.close()
        await self.engine.dispose()


class SqlalchemyPsycopg(SqlalchemyAsyncpg):
    dialect = "psycopg"


@pytest_asyncio.fixture(params=[Asyncpg, Psycopg, Psycopg2, Pg8000, SqlalchemyAsyncpg, SqlalchemyPsycopg])
async def pair(request, postgres):
    """Two connections through one driver to a table of their own."""
    pair = [await request.param().open(postgres.url) for _ in range(2)]
    await pair[0].execute("DROP TABLE IF EXISTS events")
    await pair[0].execute(TABLE)
    await pair[0].execute("INSERT INTO events VALUES (1, 'a', 1)")
    yield pair
    for one in pair:
        await one.close()


async def error_of(connection, *statements):
    with pytest.raises(Exception) as caught:
        for statement in statements:
            await connection.execute(statement)
    return caught.value


@pytest.mark.asyncio
@pytest.mark.parametrize("isolation", ["REPEATABLE READ", "SERIALIZABLE"])
async def test_a_lost_race_of_two_transactions_is_a_conflict(pair, isolation):
    one, other = pair
    await one.execute(f"BEGIN ISOLATION LEVEL {isolation}")
    await one.execute("SELECT * FROM events")
    await other.execute("UPDATE events SET version = 2")
    error = await error_of(one, "UPDATE events SET version = 3")
    assert is_conflict_error(error)
    assert sqlstate("40001").predicate(error)
    await one.execute("ROLLBACK")


@pytest.mark.asyncio
async def test_the_event_s_version_is_a_choice_by_name_and_its_id_is_none(pair):
    stale = await error_of(pair[0], "INSERT INTO events VALUES (2, 'a', 1)")
    duplicate = await error_of(pair[0], "INSERT INTO events VALUES (1, 'a', 2)")
    missing = await error_of(pair[0], "INSERT INTO events VALUES (NULL, 'a', 2)")
    for error in (stale, duplicate, missing):
        assert not is_conflict_error(error)
        assert not is_transient_error(error)
    assert unique_violation("one_version").predicate(stale)
    assert not unique_violation("one_version").predicate(duplicate)
    assert unique_violation("one_id").predicate(duplicate)
    assert not unique_violation("one_id", "one_version").predicate(missing)


@pytest.mark.asyncio
async def test_a_partition_s_version_is_told_by_the_name_that_its_table_s_constraint_has(pair):
    """PostgreSQL tells the index that it made for the partition, named after that and the columns."""
    one = pair[0]
    await one.execute("DROP TABLE events")
    await one.execute(
        "CREATE TABLE events (stream text, version int, CONSTRAINT events_stream_version_key UNIQUE (stream, version)) "
        "PARTITION BY HASH (stream)"
    )
    for n in range(2):
        await one.execute(f"CREATE TABLE events_p{n} PARTITION OF events FOR VALUES WITH (MODULUS 2, REMAINDER {n})")
    stale = await error_of(one, "INSERT INTO events VALUES ('a', 1)", "INSERT INTO events VALUES ('a', 1)")
    assert unique_violation("events_stream_version_key").predicate(stale)
    assert unique_violation("events_p*_stream_version_key").predicate(stale)
    assert not unique_violation("events_stream_key").predicate(stale)
    assert not unique_violation("events_pkey").predicate(stale)


@pytest.mark.asyncio
@pytest.mark.parametrize(
    "name", ["Next_Version", "every_stream_has_one_event_of_every_version_and_never_any_other_one"]
)
async def test_a_constraint_is_told_by_the_name_that_it_was_given_though_postgresql_folds_and_cuts_it(pair, name):
    one = pair[0]
    await one.execute(f"ALTER TABLE events RENAME CONSTRAINT one_version TO {name}")
    stale = await error_of(one, "INSERT INTO events VALUES (2, 'a', 1)")
    assert unique_violation(name).predicate(stale)
    assert not unique_violation(f"{name[:40]}_x").predicate(stale)


@pytest.mark.asyncio
async def test_a_version_that_message_db_did_not_expect_is_a_conflict(pair):
    """Its `write_message` raises without a code of its own, in these words."""
    error = await error_of(
        pair[0],
        "DO $$ BEGIN RAISE EXCEPTION USING MESSAGE = 'Wrong expected version: 3 (Stream: chat-1, Stream Version: 4)'; "
        "END $$",
    )
    other = await error_of(pair[0], "DO $$ BEGIN RAISE EXCEPTION 'Message stream must have a category'; END $$")
    assert is_conflict_error(error)
    assert not is_conflict_error(other)


@pytest.mark.asyncio
async def test_a_server_that_only_reads_is_transient_and_stored_nothing(pair):
    one = pair[0]
    await one.execute("SET default_transaction_read_only = on")
    error = await error_of(one, "INSERT INTO events VALUES (2, 'a', 2)")
    assert is_transient_error(error)
    assert not leaves_doubt(error)


@pytest.mark.asyncio
async def test_a_lock_that_another_holds_is_transient_and_stored_nothing(pair):
    one, other = pair
    await other.execute("BEGIN")
    await other.execute("LOCK TABLE events")
    error = await error_of(one, "SET lock_timeout = 1", "INSERT INTO events VALUES (2, 'a', 2)")
    await other.execute("ROLLBACK")
    assert is_transient_error(error)
    assert not leaves_doubt(error)


@pytest.mark.asyncio
async def test_a_connection_that_the_server_ended_is_transient_and_no_conflict(pair):
    one, other = pair
    await other.execute(f"SELECT pg_terminate_backend({await one.pid()}, 5000)")
    error = await error_of(one, "SELECT 1")
    assert is_transient_error(error)
    assert leaves_doubt(error)
    assert not is_conflict_error(error)


@pytest.mark.asyncio
@pytest.mark.parametrize("driver", [Psycopg, Psycopg2])
async def test_psycopg_tells_a_server_that_is_down_from_one_that_refuses(driver, postgres):
    nobody = postgres.url.replace("postgres:@", "nobody:@")
    with pytest.raises(Exception, match="nobody") as refused:
        await driver().open(nobody)
    postgres.server.stop()
    try:
        with pytest.raises(Exception, match="failed") as down:
            await driver().open(postgres.url)
    finally:
        postgres.server.start()
    assert is_transient_error(down.value)
    assert not leaves_doubt(down.value)
    assert not is_transient_error(refused.value)


@pytest.mark.asyncio
@pytest.mark.parametrize("driver", [Asyncpg, SqlalchemyAsyncpg, SqlalchemyPsycopg])
async def test_a_server_that_is_down_stored_nothing(driver, tmp_path):
    with pytest.raises(Exception) as down:
        await driver().open(f"postgresql://postgres:@/postgres?host={tmp_path}")
    assert is_transient_error(down.value)
    assert not leaves_doubt(down.value)


@pytest.fixture
def orm(tmp_path):
    """Two sessions, each with the one row as it read it."""
    import sqlalchemy
    from sqlalchemy import orm

    class Base(orm.DeclarativeBase):
        pass

    class Chat(Base):
        __tablename__ = "chats"
        id = orm.mapped_column(sqlalchemy.Integer, primary_key=True)
        text = orm.mapped_column(sqlalchemy.String)
        version = orm.mapped_column(sqlalchemy.Integer, nullable=False)
        __mapper_args__ = {"version_id_col": version}  # noqa: RUF012

    engine = sqlalchemy.create_engine(f"sqlite:///{tmp_path / 'file'}")
    Base.metadata.create_all(engine)
    with orm.Session(engine) as first:
        first.add(Chat(id=1, text=""))
        first.commit()
    read = {"expire_on_commit": False}
    with orm.Session(engine, **read) as one, orm.Session(engine, **read) as other:
        yield (one, one.get(Chat, 1)), (other, other.get(Chat, 1))
    engine.dispose()


def test_sqlalchemy_s_version_column_is_a_conflict(orm):
    (one, mine), (other, theirs) = orm
    one.commit()
    theirs.text = "theirs"
    other.commit()
    mine.text = "mine"
    with pytest.raises(Exception, match="expected to update 1 row") as caught:
        one.commit()
    assert is_conflict_error(caught.value)
    assert not is_transient_error(caught.value)


@pytest.fixture
def sqlite(tmp_path):
    """Two connections to one file, each of which waits for nobody."""
    pair = [sqlite3.connect(tmp_path / "file", isolation_level=None, timeout=0) for _ in range(2)]
    pair[0].execute("PRAGMA journal_mode = WAL")
    pair[0].execute("CREATE TABLE events (id PRIMARY KEY, stream, version, UNIQUE (stream, version))")
    yield pair
    for one in pair:
        one.close()


def test_a_snapshot_that_is_too_old_to_write_is_a_conflict_in_sqlite(sqlite):
    one, other = sqlite
    one.execute("BEGIN")
    one.execute("SELECT * FROM events").fetchall()
    other.execute("INSERT INTO events VALUES (1, 'a', 1)")
    with pytest.raises(sqlite3.OperationalError) as caught:
        one.execute("INSERT INTO events VALUES (2, 'a', 1)")
    assert caught.value.sqlite_errorcode == sqlite3.SQLITE_BUSY_SNAPSHOT
    assert is_conflict_error(caught.value)
    assert not leaves_doubt(caught.value)


def test_a_file_that_another_writes_is_transient_in_sqlite_and_stored_nothing(sqlite):
    one, other = sqlite
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(sqlite3.OperationalError) as caught:
        one.execute("INSERT INTO events VALUES (2, 'a', 1)")
    assert caught.value.sqlite_errorcode == sqlite3.SQLITE_BUSY
    assert is_transient_error(caught.value)
    assert not leaves_doubt(caught.value)
    assert not is_conflict_error(caught.value)


def test_a_table_that_another_connection_of_the_cache_reads_is_transient_in_sqlite_and_stored_nothing():
    one, other = (
        sqlite3.connect("file:shared?mode=memory&cache=shared", uri=True, isolation_level=None) for _ in range(2)
    )
    with contextlib.closing(one), contextlib.closing(other):
        one.execute("CREATE TABLE events (id)")
        one.execute("BEGIN IMMEDIATE")
        one.execute("INSERT INTO events VALUES (1)")
        with pytest.raises(sqlite3.OperationalError) as caught:
            other.execute("SELECT * FROM events")
    assert caught.value.sqlite_errorcode & 0xFF == sqlite3.SQLITE_LOCKED
    assert is_transient_error(caught.value)
    assert not leaves_doubt(caught.value)


def test_sqlite_s_columns_may_be_named_in_any_order_and_an_index_by_its_name(sqlite):
    one = sqlite[0]
    one.execute("CREATE UNIQUE INDEX next_version ON events (lower(stream), version)")
    one.execute("INSERT INTO events VALUES (1, 'a', 1)")
    with pytest.raises(Exception, match="UNIQUE") as index:
        one.execute("INSERT INTO events VALUES (2, 'A', 1)")
    one.execute("DROP INDEX next_version")
    with pytest.raises(Exception, match="UNIQUE") as columns:
        one.execute("INSERT INTO events VALUES (2, 'a', 1)")
    for name in ("events.stream, events.version", "events.version,events.stream", "Events.Version, Events.Stream"):
        assert unique_violation(name).predicate(columns.value)
        assert not unique_violation(name).predicate(index.value)
    assert unique_violation("next_version").predicate(index.value)


def test_peewee_s_error_is_that_of_its_driver(sqlite, tmp_path):
    import peewee

    database = peewee.SqliteDatabase(tmp_path / "file", timeout=0)
    database.execute_sql("INSERT INTO events VALUES (1, 'a', 1)")
    with pytest.raises(peewee.IntegrityError) as stale:
        database.execute_sql("INSERT INTO events VALUES (2, 'a', 1)")
    sqlite[0].execute("BEGIN IMMEDIATE")
    with pytest.raises(peewee.OperationalError) as locked:
        database.execute_sql("INSERT INTO events VALUES (2, 'b', 1)")
    database.close()
    assert unique_violation("events.stream, events.version").predicate(stale.value)
    assert is_transient_error(locked.value)


@pytest.mark.asyncio
async def test_tortoise_s_error_is_that_of_its_driver(sqlite, tmp_path):
    from tortoise.backends.sqlite import SqliteClient
    from tortoise.exceptions import IntegrityError, OperationalError

    client = SqliteClient(str(tmp_path / "file"), connection_name="default", busy_timeout=0)
    await client.create_connection(with_db=True)
    await client.execute_insert("INSERT INTO events VALUES (1, 'a', 1)", [])
    with pytest.raises(IntegrityError) as stale:
        await client.execute_insert("INSERT INTO events VALUES (2, 'a', 1)", [])
    sqlite[0].execute("BEGIN IMMEDIATE")
    with pytest.raises(OperationalError) as locked:
        await client.execute_insert("INSERT INTO events VALUES (2, 'b', 1)", [])
    await client.close()
    assert unique_violation("events.stream, events.version").predicate(stale.value)
    assert is_transient_error(locked.value)


def test_sqlite_tells_the_columns_of_a_broken_constraint_also_through_sqlalchemy():
    import sqlalchemy

    engine = sqlalchemy.create_engine("sqlite://")
    with engine.connect() as connection:
        connection.exec_driver_sql("CREATE TABLE events (id PRIMARY KEY, stream, version, UNIQUE (stream, version))")
        connection.exec_driver_sql("INSERT INTO events VALUES (1, 'a', 1)")
        with pytest.raises(sqlalchemy.exc.IntegrityError) as stale:
            connection.exec_driver_sql("INSERT INTO events VALUES (2, 'a', 1)")
        with pytest.raises(sqlalchemy.exc.IntegrityError) as duplicate:
            connection.exec_driver_sql("INSERT INTO events VALUES (1, 'a', 2)")
    version = unique_violation("events.stream, events.version")
    assert version.predicate(stale.value)
    assert version.predicate(stale.value.orig)
    assert not version.predicate(duplicate.value)
    assert not is_conflict_error(stale.value)
    engine.dispose()
