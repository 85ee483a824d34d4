"""Leases in a table of PostgreSQL, MySQL, MariaDB or a SQLite file: no connection is held while a turn runs."""

from __future__ import annotations

import re
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import fields
from datetime import timedelta
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from .. import _checks
from ..detection import is_conflict_error
from ._connections import Connections
from ._options import finite_seconds
from ._rows import Row
from .leases import LeaseAnswer, LeaseNews, LeaseStore

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine


class _Dialect(NamedTuple):
    """What databases say differently.

    Attributes:
        driver: for a URL that names none.
        name: the type of the column of names, which tells upper case from lower.
        clock: seconds since 1970, as of the statement's execution.
        on_duplicate: makes an insert lock the row that exists.
        lock: makes a select lock what it reads.
        isolation: that each step needs; None: the engine's own.
        takes_lists: whether a list is one parameter, which is several times as fast.
    """

    driver: str
    name: str
    clock: str
    on_duplicate: str
    lock: str
    isolation: str | None
    takes_lists: bool = False


_POSTGRESQL = _Dialect(
    "postgresql+asyncpg",
    "varchar(200)",
    "cast(extract(epoch from clock_timestamp()) as double precision)",
    "on conflict (name) do update set name = excluded.name",
    " for update",
    "READ COMMITTED",
    takes_lists=True,
)
_MYSQL = _Dialect(
    "mysql+asyncmy",
    "varchar(200) character set utf8mb4 collate utf8mb4_bin",
    "timestampdiff(microsecond, '1970-01-01', utc_timestamp(6)) / 1e6",
    "on duplicate key update name = values(name)",
    " for update",
    "READ COMMITTED",
)
_SQLITE = _Dialect(
    "sqlite+aiosqlite",
    "varchar(200)",
    "(julianday('now') - 2440587.5) * 86400.0",
    "on conflict (name) do update set name = excluded.name",
    "",  # the insert before it locks the file
    None,
)
_DIALECTS = {"postgresql": _POSTGRESQL, "mysql": _MYSQL, "mariadb": _MYSQL, "sqlite": _SQLITE}

_COLUMNS = tuple(field.name for field in fields(Row))
_CREATE = """
    create table if not exists {table} (
        name {name} not null primary key,
        holder varchar(64), arrived double precision not null, expires double precision not null,
        request varchar(64), request_arrived double precision not null, request_expires double precision not null,
        stop varchar(64), reason varchar(16)
    )
"""
_LOCK = """
    insert into {table} (name, arrived, expires, request_arrived, request_expires) values (:name, 0, 0, 0, 0)
    {on_duplicate}
"""
_READ = f"select {', '.join(_COLUMNS)}, {{clock}} from {{table}} where name = :name{{lock}}"  # noqa: S608 - checked
_WRITE = f"update {{table}} set {', '.join(f'{column} = :{column}' for column in _COLUMNS)} where name = :name"  # noqa: S608
_DELETE = "delete from {table} where name = :name"
_RENEW = "update {table} set expires = {clock} + :timeout where name {names} and holder {tokens}"
_LOOK = f"select {', '.join(_COLUMNS)}, {{clock}} from {{table}} where name {{names}} and holder {{tokens}}"  # noqa: S608
_STOP = """
    update {table} set reason = case when stop = holder then reason else 'stopped' end, stop = holder
    where name = :name and expires > {clock} and holder
"""
_SWEEP = "delete from {table} where expires < {clock} - :age and request_expires < {clock} - :age"

_AT_ONCE = 200
"""Leases in one question; more make several."""

_OLD = 24 * 3600.0
"""Seconds after which the row of a process that was killed is deleted."""

_SWEEP_EVERY = 3600.0


def sql_lease(
    engine: AsyncEngine | str,
    *,
    timeout: float | timedelta = 30.0,
    poll: float | timedelta = 0.25,
    table: str = "stale_retry_turns",
    create_table: bool = True,
) -> LeaseStore:
    """Leases for `TurnQueue(shared=...)` in a database table, for all processes that use the same one.

    PostgreSQL, MySQL, MariaDB, or a SQLite file on one machine. Each step is one short transaction, by the server's
    clock. Needs SQLAlchemy 2 and an async driver.

    Args:
        engine: an `AsyncEngine` of SQLAlchemy, for one event loop as always and yours to dispose; or a URL. From a URL
            each event loop gets an engine, which is disposed when the loop's last turn has ended. An engine that only
            the leases use is better than the one of the sessions: a renewal must not wait for a connection.
        timeout: seconds or timedelta after which the lease of a process that was killed is free. A running turn renews
            its lease three times in that time.
        poll: seconds or timedelta, on average, between two questions of a turn that waits for a lease.
        table: its name, with its schema or without.
        create_table: whether to create the table if it is missing.

    Raises:
        TypeError, ValueError: an option is wrong; the message names it and its rule.
    """
    lasts, pause = finite_seconds("timeout", timeout), finite_seconds("poll", poll)
    if not isinstance(table, str):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise TypeError(f"table must be a string, got {table!r}")
    if not re.fullmatch(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)?", table):
        raise ValueError(f"table must be a plain name, or schema.name; got {table!r}")
    return SqlLease(engine, lasts, pause, table, _checks.is_flag("create_table", create_table))


class SqlLease:
    """A `LeaseStore`; see `sql_lease`."""

    def __init__(self, engine: Any, timeout: float, poll: float, table: str, create_table: bool) -> None:
        self.timeout = timeout
        self.poll = poll
        if isinstance(engine, str):
            url = _url(engine)
            self._dialect = _DIALECTS[url.get_backend_name()]
            self._connections = Connections(None, lambda: _engine(url), _dispose)
        else:
            self._dialect = _dialect_of(engine)
            self._connections = Connections(engine, _nothing, _dispose)
        if self._connections.are_ours:
            self.close_here: Callable[[], Awaitable[None]] = self._connections.close_here
        self._statements: dict[str, Any] = {}
        self._table = table
        self._exists = not create_table
        self._sweep_at = 0.0

    async def acquire(
        self, name: str, token: str, *, arrived: float | None = None, interrupts: bool = False
    ) -> LeaseAnswer:
        await self._prepare()
        for _ in range(3):
            try:
                return await self._acquire(name, token, arrived=arrived, interrupts=interrupts)
            except Exception as error:
                if not is_conflict_error(error):  # a deadlock of those that ask at once, which nobody else sees
                    raise
        return await self._acquire(name, token, arrived=arrived, interrupts=interrupts)

    async def _acquire(self, name: str, token: str, *, arrived: float | None, interrupts: bool) -> LeaseAnswer:
        async with self._step() as connection:
            row, now = await self._locked(connection, name)
            answer = row.acquire(
                token, now, arrived=arrived, interrupts=interrupts, lasts=self.timeout, waits=self.poll * 8
            )
            await self._write(connection, name, row)
            return answer

    async def look(self, held: Mapping[str, str], *, renew: bool) -> Mapping[str, LeaseNews]:
        news: dict[str, LeaseNews] = {}
        tokens = list(held)
        for first in range(0, len(tokens), _AT_ONCE):
            some = tokens[first : first + _AT_ONCE]
            values = {"tokens": some, "names": [held[token] for token in some]}
            async with self._step() as connection:
                if renew:
                    await connection.execute(self._sql(_RENEW), {**values, "timeout": self.timeout})
                for columns in await connection.execute(self._sql(_LOOK), values):
                    row, now = _row(columns)
                    heard = row.look(cast("str", row.holder), now)
                    if heard is not None:
                        news[cast("str", row.holder)] = heard
        return news

    async def release(self, name: str, token: str) -> bool:
        async with self._step() as connection:
            row, now = await self._locked(connection, name)
            was_ours = row.release(token)
            if row.is_empty(now):
                await connection.execute(self._sql(_DELETE), {"name": name})
            else:
                await self._write(connection, name, row)
            return was_ours

    async def stop(self, name: str, token: str | None) -> bool:
        await self._prepare()
        which, values = (" is not null", {}) if token is None else (" = :token", {"token": token})
        async with self._step() as connection:
            result = await connection.execute(self._sql(_STOP.rstrip() + which), {"name": name, **values})
            return bool(cast("Any", result).rowcount)

    async def aclose(self) -> None:
        """Dispose the engines that were made from a URL, of all event loops. Later turns make others."""
        await self._connections.aclose()

    @asynccontextmanager
    async def _step(self) -> AsyncGenerator[AsyncConnection]:
        engine = self._connections.here()
        if self._dialect.isolation is not None:
            engine = engine.execution_options(isolation_level=self._dialect.isolation)
        async with engine.begin() as connection:
            yield connection

    async def _locked(self, connection: AsyncConnection, name: str) -> tuple[Row, float]:
        await connection.execute(self._sql(_LOCK), {"name": name})
        return _row((await connection.execute(self._sql(_READ), {"name": name})).one())

    async def _write(self, connection: AsyncConnection, name: str, row: Row) -> None:
        await connection.execute(self._sql(_WRITE), {"name": name, **vars(row)})

    async def _prepare(self) -> None:
        if not self._exists:
            await self._create()
            self._exists = True
        if time.monotonic() >= self._sweep_at:
            self._sweep_at = time.monotonic() + _SWEEP_EVERY
            async with self._step() as connection:
                await connection.execute(self._sql(_SWEEP), {"age": _OLD})

    async def _create(self) -> None:
        try:
            async with self._step() as connection:
                await connection.execute(self._sql(_DELETE), {"name": ""})
                return
        except Exception:  # noqa: S110 - whatever it is, creating the table meets it again
            pass
        async with self._step() as connection:
            if self._dialect is _POSTGRESQL:  # two that create it at once would collide in the server's own tables
                lock = self._sql("select pg_advisory_xact_lock(hashtext(:name))")
                await connection.execute(lock, {"name": self._table})
            await connection.execute(self._sql(_CREATE))

    def _sql(self, statement: str) -> Any:
        made = self._statements.get(statement)
        if made is None:
            from sqlalchemy import bindparam, text

            dialect = self._dialect
            made = text(
                statement.format(
                    table=self._table,
                    name=dialect.name,
                    clock=dialect.clock,
                    on_duplicate=dialect.on_duplicate,
                    lock=dialect.lock,
                    names="= any(:names)" if dialect.takes_lists else "in :names",
                    tokens="= any(:tokens)" if dialect.takes_lists else "in :tokens",
                )
            )
            if "{names}" in statement and not dialect.takes_lists:
                made = made.bindparams(bindparam("names", expanding=True), bindparam("tokens", expanding=True))
            self._statements[statement] = made
        return made


def _row(columns: Sequence[Any]) -> tuple[Row, float]:
    *values, now = columns
    return Row(*values), float(now)


def _url(text: str) -> Any:
    from sqlalchemy.engine import make_url

    url = make_url(text)
    backend = "postgresql" if url.drivername == "postgres" else url.get_backend_name()
    dialect = _dialect_named(backend)
    if "+" not in url.drivername:
        url = url.set(drivername=dialect.driver)
    if backend == "sqlite" and url.database in (None, "", ":memory:"):
        raise ValueError("a SQLite database in memory is not shared by processes; give the URL of a file")
    url.get_dialect().import_dbapi()  # a driver that is missing is told here, and not at the first turn
    return url


def _dialect_of(engine: Any) -> _Dialect:
    from sqlalchemy.ext.asyncio import AsyncEngine

    if not isinstance(engine, AsyncEngine):
        raise TypeError(f"engine must be an AsyncEngine of SQLAlchemy, or a URL; got {type(engine).__name__}")
    return _dialect_named(engine.dialect.name)


def _dialect_named(name: str) -> _Dialect:
    if name not in _DIALECTS:
        raise ValueError(f"engine must be of PostgreSQL, MySQL, MariaDB or SQLite, got {name}; see LeaseStore")
    return _DIALECTS[name]


def _engine(url: Any) -> Any:
    from sqlalchemy.ext.asyncio import create_async_engine

    options: dict[str, Any] = {"connect_args": {"timeout": 30}} if url.get_backend_name() == "sqlite" else {}
    return create_async_engine(url, pool_size=2, max_overflow=8, pool_pre_ping=True, **options)


async def _dispose(engine: Any) -> None:
    await engine.dispose()


def _nothing() -> None:
    pass
