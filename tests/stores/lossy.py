"""A proxy that passes a request on and loses the server's answer: the client finds its connection broken."""

from __future__ import annotations

import asyncio
import contextlib
import re
import tempfile
from pathlib import Path

from .recipes import SAID
from .servers import SERVERS

ENDS_OF_TRANSACTIONS = (b"COMMIT", b"EXEC")
"""These store an event only if its text went before."""

_TCP = re.compile(r"127\.0\.0\.1:(\d+)")
_POSTGRESQL = re.compile(r"(?<=host=)([^&]+)")
_UNIX = re.compile(r"(?<=unix://)(.+)")

WHAT_STORES = {
    "DATABASE_URL": b"COMMIT",
    "MARIADB_URL": b"COMMIT",
    "POSTGRES_HOST": b"COMMIT",
    "REDIS_URL": b"EXEC",
    "DYNAMODB_URL": b"PutItem",
    "S3_URL": b"PUT /",
    "API_URL": b"PUT /",
    "CONSUL_URL": b"PUT /",
}
"""What a request that stores contains, by the variable in which a recipe finds its server. Elsewhere, and in a program
for PostgreSQL or Redis without transactions, it is the event's text."""


class Lossy:
    """Stands before one server, over TCP or a socket file, while it is entered.

    Args:
        address: of the server, as a recipe finds it in its environment variable.
        stores: what a request contains that stores an event.
        every: which of those requests lose their answer.
        times: how many of them do.

    Attributes:
        address: leads through the proxy.
        armed: whether requests are counted and struck.
        strikes: answers lost so far.
    """

    def __init__(self, address: str, stores: bytes, *, every: int = 7, times: int = 5) -> None:
        self.armed = False
        self.strikes = 0
        self._server_address = address
        self._stores = stores
        self._every = every
        self._times = times
        self._requests = 0
        self._is_down = False
        self._links: set[asyncio.Task[None]] = set()
        self._files = tempfile.TemporaryDirectory(prefix="stale-retry-lossy-")

    async def __aenter__(self) -> Lossy:
        address, directory = self._server_address, self._files.name
        if tcp := _TCP.search(address):
            self._upstream: int | str = int(tcp[1])
            self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
            self.address = _TCP.sub(f"127.0.0.1:{self._server.sockets[0].getsockname()[1]}", address)
            return self
        if unix := _UNIX.search(address):
            self._upstream, file = unix[1], "socket"
            self.address = _UNIX.sub(f"{directory}/{file}", address)
        else:  # PostgreSQL's sockets have a name of their own, in a directory
            file = ".s.PGSQL.5432"
            found = _POSTGRESQL.search(address)
            self._upstream = f"{found[1] if found else address}/{file}"
            self.address = _POSTGRESQL.sub(directory, address) if found else directory
        self._server = await asyncio.start_unix_server(self._accept, Path(directory, file))
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        await self.cut()
        self._files.cleanup()

    async def cut(self) -> None:
        """Break all connections."""
        for link in self._links:
            link.cancel()
        await asyncio.gather(*self._links, return_exceptions=True)

    async def fail_for(self, seconds: float) -> None:
        """Break all connections and refuse new ones, as a server does that is restarted."""
        self._is_down = True
        await self.cut()
        await asyncio.sleep(seconds)
        self._is_down = False

    def _is_due(self) -> bool:
        self._requests += self.armed
        due = self.armed and self._requests % self._every == 0 and self.strikes < self._times
        self.strikes += due
        return due

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        link = asyncio.current_task()
        assert link is not None
        self._links.add(link)
        with contextlib.suppress(OSError, asyncio.CancelledError):
            if not self._is_down:
                await self._run(reader, writer)
        writer.transport.abort()
        self._links.discard(link)

    async def _run(self, client: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if isinstance(self._upstream, int):
            server, upstream = await asyncio.open_connection("127.0.0.1", self._upstream)
        else:
            server, upstream = await asyncio.open_unix_connection(self._upstream)
        is_lost, wrote = False, self._stores not in ENDS_OF_TRANSACTIONS

        async def ask() -> None:
            nonlocal is_lost, wrote
            while data := await client.read(2**16):
                wrote = wrote or SAID.encode() in data or SAID.encode().hex().encode() in data  # psycopg's bytes
                if wrote and self._stores in data:
                    wrote = self._stores not in ENDS_OF_TRANSACTIONS
                    is_lost = self._is_due() or is_lost
                upstream.write(data)

        async def answer() -> None:
            while data := await server.read(2**16):
                if is_lost:
                    return
                writer.write(data)

        pumps = [asyncio.ensure_future(pump) for pump in (ask(), answer())]
        try:
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for pump in pumps:
                pump.cancel()
            await asyncio.gather(*pumps, return_exceptions=True)
            upstream.close()


def server_of(source: str) -> str:
    """The variable in which a program finds its server."""
    if "eventsourcing" in source and "SQLITE" not in source:
        return "POSTGRES_HOST"
    (variable,) = (name for name in SERVERS if f'"{name}"' in source)
    return variable


def what_stores(variable: str, source: str) -> bytes:
    """What a request contains that stores an event of this program."""
    has_transactions = "retry_transaction" in source or "RetryingTaskStore" in source
    if variable in ("DATABASE_URL", "REDIS_URL") and not has_transactions:
        return SAID.encode()
    return WHAT_STORES.get(variable, SAID.encode())
