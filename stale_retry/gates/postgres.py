"""A gate that processes share through PostgreSQL."""

from __future__ import annotations

import inspect
from collections.abc import AsyncGenerator, Callable, Hashable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from typing import Any, Protocol, TypeVar

import anyio

from .. import _checks
from .._types import Seconds
from . import _shared
from ._shared import Lock, SharedGate

S = TypeVar("S")


class SQLAlchemyEngine(Protocol):
    """What is used of SQLAlchemy's `AsyncEngine`."""

    @property
    def sync_engine(self) -> Any: ...

    def connect(self) -> AbstractAsyncContextManager[Any]: ...


class AsyncpgPool(Protocol):
    """What is used of asyncpg's `Pool`."""

    def acquire(self) -> AbstractAsyncContextManager[Any]: ...


class PsycopgPool(Protocol):
    """What is used of psycopg's `AsyncConnectionPool`."""

    def connection(self) -> AbstractAsyncContextManager[Any]: ...


def postgres_gate(
    engine: SQLAlchemyEngine | AsyncpgPool | PsycopgPool, key: Callable[[S], Hashable], *, timeout: Seconds | None = 10
) -> Callable[[S], AbstractAsyncContextManager[None]]:
    """A gate for the contenders of several processes: first come, first served, by an advisory lock.

    The lock is that of a transaction, so it ends with the transaction or with the connection, whatever becomes of the
    process. A lock that cannot be taken, because the server or the pool does not answer within a second or someone
    holds it for `timeout`, is logged and passed over, and so is the gate for the 5 s after that.

    Args:
        engine: SQLAlchemy's `AsyncEngine`, asyncpg's `Pool` or psycopg's `AsyncConnectionPool`, best one of the gate's
            own: who waits keeps a connection, which the appends must not miss. It stays yours to close.
        key: tells sessions apart by a str, an int, a UUID or a tuple of such.
        timeout: seconds or timedelta that a contender waits at most; None for no limit but the call's deadline.

    Raises:
        TypeError: `engine` is none of these, or not PostgreSQL's; and of a session: its key is of another type.
        ValueError: `timeout` is not above zero.
    """
    return SharedGate("PostgreSQL", key, _advisory_lock(engine), _checks.as_seconds("timeout", timeout))


def _advisory_lock(engine: Any) -> Lock:
    """The kinds are told apart by what they have, so that none of their packages need be there."""
    if hasattr(engine, "sync_engine"):
        if engine.dialect.name != "postgresql":
            raise TypeError(f"postgres_gate needs a PostgreSQL engine, got one for {engine.dialect.name}")
        return _by_sqlalchemy(engine)
    if inspect.iscoroutinefunction(getattr(engine, "getconn", None)):
        return _by_driver(engine.connection)
    if hasattr(engine, "acquire"):
        return _by_driver(engine.acquire)
    raise TypeError(
        f"engine must be SQLAlchemy's AsyncEngine, asyncpg's Pool or psycopg's AsyncConnectionPool, "
        f"got a {type(engine).__qualname__}"
    )


def _by_sqlalchemy(engine: Any) -> Lock:
    from sqlalchemy import BigInteger, bindparam, text

    statement = text("SELECT pg_advisory_xact_lock(:number)").bindparams(bindparam("number", type_=BigInteger))

    @asynccontextmanager
    async def lock(name: bytes) -> AsyncGenerator[None, None]:
        async with AsyncExitStack() as stack:
            with anyio.fail_after(_shared.REACH):
                connection = await stack.enter_async_context(engine.connect())
                # An engine that commits every statement would free the lock at once.
                await connection.execution_options(isolation_level="READ COMMITTED")
            await connection.execute(statement, {"number": _number(name)})
            yield
            await connection.rollback()  # closing does it too, but waits for a server that does not answer

    return lock


def _by_driver(connect: Callable[[], AbstractAsyncContextManager[Any]]) -> Lock:
    @asynccontextmanager
    async def lock(name: bytes) -> AsyncGenerator[None, None]:
        async with AsyncExitStack() as stack:
            with anyio.fail_after(_shared.REACH):
                connection = await stack.enter_async_context(connect())
                await stack.enter_async_context(connection.transaction())
            await connection.execute(f"SELECT pg_advisory_xact_lock({_number(name)})")
            yield

    return lock


def _number(name: bytes) -> int:
    return int.from_bytes(name, "big", signed=True)
