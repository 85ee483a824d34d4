"""A proxy before PostgreSQL that strikes at a commit, or at the server's answer to it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Literal

import asyncpg

SOCKET = ".s.PGSQL.5432"
Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]
PassOn = Callable[[], None]


class Link:
    """One client's connection.

    Attributes:
        backend: the process id of the server's side.
        name: the client's application_name.
    """

    def __init__(self, proxy: Proxy, client: Streams, server: Streams) -> None:
        self.backend = 0
        self.name = ""
        self._proxy = proxy
        self._client = client
        self._server = server
        self._struck = False
        self._swallowing = False

    def admin(self) -> contextlib.AbstractAsyncContextManager[asyncpg.Connection]:
        """A connection to the server that does not go through the proxy."""
        return connection(self._proxy.upstream)

    async def terminate_backend(self) -> None:
        """`pg_terminate_backend`; returns when the backend is gone."""
        async with self.admin() as admin:
            await admin.execute("SELECT pg_terminate_backend($1, 5000)", self.backend)

    def cut(self) -> None:
        """The client finds its connection lost; the server does not notice."""
        self._client[1].transport.abort()

    async def run(self) -> None:
        pumps = [asyncio.ensure_future(pump) for pump in (self._to_server(), self._to_client())]
        try:
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
            # What the server said last, such as why it ends, is still to be delivered.
            await asyncio.wait(pumps[1:], timeout=1)
        finally:
            for pump in pumps:
                pump.cancel()
            await asyncio.gather(*pumps, return_exceptions=True)
            for _, writer in (self._client, self._server):
                writer.close()

    async def _to_server(self) -> None:
        reader, server = self._client[0], self._server[1]
        length = await reader.readexactly(4)
        startup = await reader.readexactly(int.from_bytes(length, "big") - 4)
        parameters = startup[4:].split(b"\0")
        if b"application_name" in parameters:
            self.name = parameters[parameters.index(b"application_name") + 1].decode()
        server.write(length + startup)
        async for kind, message in messages(reader):
            self._struck = kind == b"Q" and b"COMMIT" in message and self._proxy.is_due()
            if self._struck and self._proxy.at == "commit":
                await self._proxy.fault(self, lambda message=message: server.write(message))
            else:
                server.write(message)

    async def _to_client(self) -> None:
        client = self._client[1]
        async for kind, message in messages(self._server[0]):
            if kind == b"K":
                self.backend = int.from_bytes(message[5:9], "big")
            if kind == b"C" and self._struck and self._proxy.at == "answer":
                self._swallowing = True
                await self._proxy.fault(self, lambda message=message: client.write(message))
            elif not (self._swallowing and kind == b"Z"):
                client.write(message)


Fault = Callable[[Link, PassOn], Awaitable[None]]


class Proxy:
    """Listens in a directory of its own while it is entered; `url` leads through it.

    Attributes:
        upstream: the server's own URL.
        at: what is struck, a client's "commit" or the server's "answer" to it.
        fault: does it, and passes the message on if it is to be passed on.
        armed: whether commits are counted and struck.
        strikes: commits struck so far.
    """

    def __init__(
        self, directory: Path, upstream: str, at: Literal["commit", "answer"], fault: Fault, *, every: int, times: int
    ) -> None:
        self.upstream = upstream
        self.at = at
        self.fault = fault
        self.armed = False
        self.strikes = 0
        self._directory = directory
        self._every = every
        self._times = times
        self._commits = 0
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def url(self) -> str:
        base, _, _ = self.upstream.partition("host=")
        return f"{base}host={self._directory}"

    def is_due(self) -> bool:
        """Whether this commit is one to strike."""
        self._commits += self.armed
        due = self.armed and self._commits % self._every == 0 and self.strikes < self._times
        self.strikes += due
        return due

    async def __aenter__(self) -> Proxy:
        self._server = await asyncio.start_unix_server(self._accept, self._directory / SOCKET)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            with contextlib.suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
                server = Path(self.upstream.partition("host=")[2]) / SOCKET
                await Link(self, (reader, writer), await asyncio.open_unix_connection(server)).run()
        finally:
            writer.close()
            self._tasks.discard(task)


@contextlib.asynccontextmanager
async def connection(url: str) -> AsyncIterator[asyncpg.Connection]:
    connected = await asyncpg.connect(url)
    try:
        yield connected
    finally:
        await connected.close()


async def messages(reader: asyncio.StreamReader) -> AsyncIterator[tuple[bytes, bytes]]:
    """The messages of the PostgreSQL protocol, each with its kind, until the connection ends."""
    while True:
        try:
            head = await reader.readexactly(5)
            rest = await reader.readexactly(int.from_bytes(head[1:], "big") - 4)
        except (asyncio.IncompleteReadError, OSError):
            return
        yield head[:1], head + rest
