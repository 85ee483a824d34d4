"""Leases in a PostgreSQL table: no connection is held while a turn runs."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from ._options import seconds
from .leases import LeaseStore

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncEngine

# One row for each name that is held or waited for. clock_timestamp() and not now(), which stands still while the
# statement waits for the row.
_CREATE = """
    create table if not exists {table} (
        name text primary key,
        holder text,
        expires timestamptz not null,
        next text,
        next_expires timestamptz
    )
"""
_IS_FREE = """
    ((lease.holder is null or lease.expires < clock_timestamp())
     and (lease.next is null or lease.next = :token or lease.next_expires < clock_timestamp()))
"""
_MAY_BE_NEXT = "(lease.next is null or lease.next = :token or lease.next_expires < clock_timestamp())"
_LASTS = "clock_timestamp() + make_interval(secs => :timeout)"
_ACQUIRE = f"""
    insert into {{table}} as lease (name, holder, expires) values (:name, :token, {_LASTS})
    on conflict (name) do update set
        holder = case when {_IS_FREE} then :token else lease.holder end,
        expires = case when {_IS_FREE} then {_LASTS} else lease.expires end,
        next = case when {_IS_FREE} then null when {_MAY_BE_NEXT} then :token else lease.next end,
        next_expires = case when {_MAY_BE_NEXT} then clock_timestamp() + make_interval(secs => :waits)
                            else lease.next_expires end
    returning holder = :token
"""  # noqa: S608 - only the table's name is put in, and it is checked
_RENEW = f"update {{table}} set expires = {_LASTS} where name = :name and holder = :token"  # noqa: S608
_LEAVE_NEXT = "update {table} set next = null where name = :name and next = :token"
_DELETE = """
    delete from {table} where name = :name and holder = :token
        and (next is null or next_expires < clock_timestamp())
"""
_GIVE_UP = "update {table} set holder = null where name = :name and holder = :token"
_SWEEP = "delete from {table} where expires < clock_timestamp() - interval '1 day'"


def postgres_lease(
    engine: AsyncEngine | str,
    *,
    timeout: float | timedelta = 30.0,
    poll: float | timedelta = 0.25,
    table: str = "stale_retry_turns",
    create_table: bool = True,
) -> LeaseStore:
    """Leases for `TurnQueue(shared=...)` in a PostgreSQL table, for all processes that use the same one.

    Every step is one short transaction, by the server's clock. Needs SQLAlchemy 2 and an async driver.

    Args:
        engine: SQLAlchemy's, for one event loop as always, or a URL to make one of its own from. One of its own is
            better than the one of the sessions: a renewal must not wait for a connection.
        timeout: seconds or timedelta after which the lease of a process that was killed is free. A running turn renews
            its lease three times in that time.
        poll: seconds or timedelta, on average, between two questions of a process that waits for a lease.
        table: its name, with its schema or without.
        create_table: whether to create the table when the first lease is asked for.

    Raises:
        TypeError, ValueError: an option is wrong; the message names it and its rule.
    """
    lasts, pause = seconds("timeout", timeout, finite=True), seconds("poll", poll, finite=True)
    if not isinstance(table, str):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise TypeError(f"table must be a string, got {table!r}")
    if not re.fullmatch(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)?", table):
        raise ValueError(f"table must be a plain name, or schema.name; got {table!r}")
    if not isinstance(create_table, bool):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise TypeError(f"create_table must be True or False, got {create_table!r}")
    return _PostgresLease(_engine(engine), lasts, pause, table, create_table)


def _engine(engine: Any) -> Any:
    if not isinstance(engine, str):
        return engine
    from sqlalchemy.engine import make_url
    from sqlalchemy.ext.asyncio import create_async_engine

    url = make_url(engine)
    if url.drivername in ("postgresql", "postgres"):
        url = url.set(drivername="postgresql+asyncpg")
    return create_async_engine(url, pool_size=2, max_overflow=8, pool_pre_ping=True)


class _PostgresLease:
    def __init__(self, engine: Any, timeout: float, poll: float, table: str, create_table: bool) -> None:
        self.timeout = timeout
        self.poll = poll
        self._engine = engine
        self._table = table
        self._is_created = not create_table

    async def acquire(self, name: str, token: str) -> bool:
        if not self._is_created:
            await self._create()
        values = {"name": name, "token": token, "timeout": self.timeout, "waits": self.poll * 8}
        async with self._engine.begin() as connection:
            return bool((await connection.execute(self._sql(_ACQUIRE), values)).scalar())

    async def renew(self, name: str, token: str) -> bool:
        values = {"name": name, "token": token, "timeout": self.timeout}
        async with self._engine.begin() as connection:
            return bool((await connection.execute(self._sql(_RENEW), values)).rowcount)

    async def release(self, name: str, token: str) -> bool:
        values = {"name": name, "token": token}
        async with self._engine.begin() as connection:
            await connection.execute(self._sql(_LEAVE_NEXT), values)
            if (await connection.execute(self._sql(_DELETE), values)).rowcount:
                return True
            return bool((await connection.execute(self._sql(_GIVE_UP), values)).rowcount)

    async def _create(self) -> None:
        from sqlalchemy import text

        async with self._engine.begin() as connection:
            # Two processes that create it at once would collide in PostgreSQL's own tables.
            await connection.execute(text("select pg_advisory_xact_lock(hashtext(:table))"), {"table": self._table})
            exists = (await connection.execute(text("select to_regclass(:table)"), {"table": self._table})).scalar()
            await connection.execute(self._sql(_SWEEP if exists else _CREATE))
        self._is_created = True

    def _sql(self, statement: str) -> Any:
        from sqlalchemy import text

        return text(statement.format(table=self._table))
