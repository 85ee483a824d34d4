"""Everything here runs on asyncio and on trio, in virtual time: a wait of hours ends at once."""

import looptime
import pytest
import trio.testing


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request):
    if request.param == "trio":
        return "trio", {"clock": trio.testing.MockClock(autojump_threshold=0)}
    return "asyncio", {"loop_factory": looptime.new_event_loop}
