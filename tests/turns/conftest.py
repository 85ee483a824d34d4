from functools import partial

import pytest
from core import virtual


@pytest.fixture(params=["asyncio", "trio"])
def virtually(request):
    """Runs an async function in virtual time: `virtually(main)`."""
    return partial(virtual.run, backend=request.param)


@pytest.fixture
def on_asyncio():
    return partial(virtual.run, backend="asyncio")


@pytest.fixture
def on_trio():
    return partial(virtual.run, backend="trio")
