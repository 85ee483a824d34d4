"""Real servers, each from a wheel. Tests import the libraries they need, and fail where one is missing."""

import pytest


@pytest.fixture(scope="session")
def postgres():
    from faults.servers import Postgres

    server = Postgres()
    yield server
    server.close()


@pytest.fixture(scope="session")
def redis_server():
    from faults.servers import Redis

    server = Redis()
    yield server
    server.close()
