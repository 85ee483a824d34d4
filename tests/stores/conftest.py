"""A server for each recipe, for the whole run; a test whose server is missing is skipped, or fails in .ci/run."""

from uuid import uuid4

import pytest

from . import servers


@pytest.fixture(scope="session")
def places():
    with servers.Places() as found:
        yield found


@pytest.fixture
def provide(places, monkeypatch):
    """Sets the environment variables that a program reads, after starting its server."""

    def set_up(source):
        try:
            environment = places.environment(source)
        except servers.MissingError as missing:
            (pytest.fail if servers.REQUIRED else pytest.skip)(str(missing))
        for variable, value in environment.items():
            monkeypatch.setenv(variable, value)

    return set_up


@pytest.fixture
def chat():
    """The id of a chat that no other test has."""
    return uuid4().hex
