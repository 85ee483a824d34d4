from functools import partial

import pytest
from hypothesis import settings

from . import virtual

settings.register_profile("core", parent=virtual.examples(100))
settings.load_profile("core")


@pytest.fixture(params=["asyncio", "trio"], scope="module")
def virtually(request):
    """Runs an async function in virtual time: `virtually(main)`."""
    return partial(virtual.run, backend=request.param)
