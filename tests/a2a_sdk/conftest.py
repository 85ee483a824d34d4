"""Real task stores of a2a-sdk, shared by replicas: on SQLite and on PostgreSQL."""

import importlib.util
from contextlib import suppress

import pytest

collect_ignore = ["test_task_store.py"]
with suppress(ModuleNotFoundError):
    if importlib.util.find_spec("a2a.server.cluster"):
        collect_ignore.clear()


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request, tmp_path):
    if request.param == "sqlite":
        return f"sqlite+aiosqlite:///{tmp_path}/tasks.db"
    return request.getfixturevalue("new_postgresql_database")()
