"""What databases say, through each driver, when an append lost its race, broke a constraint or lost its connection."""

import contextlib

import pytest
import pytest_asyncio

from stale_retry.detection import is_conflict_error, sqlstate, unique_violation
from stale_retry.transient import is_transient_error

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
async def test_a_connection_that_the_server_ended_is_transient_and_no_conflict(pair):
    one, other = pair
    await other.execute(f"SELECT pg_terminate_backend({await one.pid()}, 5000)")
    error = await error_of(one, "SELECT 1")
    assert is_transient_error(error)
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
    assert not is_transient_error(refused.value)


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
