import pytest

from .crew import Crew
from .scenarios import Bench
from .servers import Postgres, Redis


@pytest.fixture(scope="session")
def crew():
    workers = Crew()
    yield workers
    workers.close()


@pytest.fixture(scope="session")
def postgres():
    server = Postgres()
    yield server
    server.close()


@pytest.fixture(scope="session")
def redis():
    server = Redis()
    yield server
    server.close()


@pytest.fixture
def bench(crew, postgres, tmp_path):
    return Bench(crew, postgres, tmp_path)
