"""Nothing is kept of an append that is done with; `tests/benchmarks/load.py` shows the same over 100,000 of them."""

import gc
import logging
import tracemalloc

import pytest
from google.adk.sessions import InMemorySessionService

from stale_retry import StaleSessionError, constant
from stale_retry.adk import RetryingSessionService

from .stores import APP
from .writers import make_event


class Versioned(InMemorySessionService):
    """In memory, and strict: an append through a session that is not up to date is rejected."""

    rejected = 0

    async def append_event(self, session, event):
        stored = self.sessions[session.app_name][session.user_id][session.id]
        if session.last_update_time != stored.last_update_time:
            self.rejected += 1
            raise StaleSessionError
        return await super().append_event(session, event)


@pytest.mark.asyncio
async def test_memory_does_not_grow_with_appends_sessions_or_conflicts(monkeypatch):
    monkeypatch.setattr(logging.getLogger("stale_retry"), "disabled", True)  # pytest keeps what is logged
    service = Versioned()
    wrapped = RetryingSessionService(service, backoff=constant(0), jitter=None, observers=())

    async def use_sessions(count):
        for _ in range(count):
            session = await wrapped.create_session(**APP)
            other = await wrapped.get_session(**APP, session_id=session.id)
            await wrapped.append_event(other, make_event("other 0"))
            for number in range(20):
                await wrapped.append_event(session, make_event(f"writer {number}"))
            await wrapped.delete_session(**APP, session_id=session.id)

    await use_sessions(5)
    gc.collect()
    tracemalloc.start()
    try:
        await use_sessions(5)
        grown = []
        for _ in range(3):
            gc.collect()
            before = tracemalloc.get_traced_memory()[0]
            await use_sessions(50)
            gc.collect()
            grown.append(tracemalloc.get_traced_memory()[0] - before)
    finally:
        tracemalloc.stop()
    assert service.rejected == 160
    assert len(wrapped.retrying.queues) == 0
    # Keeping but the id of each session would take more each time; threads of other tests allocate now and then.
    assert min(grown) < 50 * 50
