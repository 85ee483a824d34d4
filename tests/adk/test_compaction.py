"""A compaction that is rejected: stored while its summary is true, dropped when it is not, and no turn dies of it."""

import asyncio

import pytest
from google.adk.apps import App
from google.adk.apps.app import EventsCompactionConfig
from google.adk.apps.base_events_summarizer import BaseEventsSummarizer
from google.adk.models import LlmResponse
from google.adk.runners import Runner
from google.genai import types

from stale_retry.adk import RetryingSessionService
from stale_retry.testing import no_waiting

from .app import LocalLlm, compaction, content, event, ids, interrupt, load, pong_agent, rewind, texts, turn, turns
from .releases import DATABASE_REJECTS_STALE

pytestmark = pytest.mark.asyncio

NOW = 1_800_000_000.0


async def after_something_else(storage, theirs):
    """What becomes of a summary of the first event, when something else was stored while it was made."""
    service = RetryingSessionService(storage)
    await interrupt(storage, "first", timestamp=NOW)
    session = await load(service)
    await storage.append_event(await load(storage), theirs)
    summary = compaction(start=NOW, end=NOW + 10)
    with no_waiting():
        assert await service.append_event(session, summary) is summary
    stored = await load(storage)
    assert ids(session) == ids(stored)
    return summary.id in ids(stored)


async def test_a_summary_is_stored_behind_what_happened_after_it(storage):
    assert await after_something_else(storage, event("theirs", timestamp=NOW + 11))


CHANGES = [lambda: event("late", timestamp=NOW + 9), lambda: rewind("invocation"), lambda: compaction(NOW, NOW + 10)]


@pytest.mark.parametrize("theirs", CHANGES)
async def test_a_summary_is_dropped_when_what_it_summarises_has_changed(storage, theirs):
    changed = theirs()
    changed.timestamp = changed.timestamp if changed.content else NOW + 11
    assert not await after_something_else(storage, changed)


class Summarizer(BaseEventsSummarizer):
    """Takes a while, or calls something meanwhile."""

    def __init__(self, meanwhile):
        self.meanwhile = meanwhile

    async def maybe_summarize_events(self, *, events):
        await self.meanwhile()
        return compaction(events[0].timestamp, events[-1].timestamp)


async def test_a_turn_during_whose_compaction_something_is_stored_is_answered(database):
    """google-adk drops the summary itself from 2.7 on; before, the turn ended with an error."""
    summarizer = Summarizer(lambda: interrupt(database))
    config = EventsCompactionConfig(summarizer=summarizer, compaction_interval=1, overlap_size=0)
    app = App(name="app", root_agent=pong_agent(), events_compaction_config=config)
    runner = Runner(app=app, session_service=RetryingSessionService(database))
    with no_waiting():
        assert await turn(runner, "ping") == ["pong"]
    stored = await load(database)
    assert texts(stored)[:2] == ["ping", "pong"]
    if "theirs" in texts(stored) and DATABASE_REJECTS_STALE:  # 2.0 does not ask for a summary of a first turn
        assert stored.events[-1].actions.compaction


class CountingLlm(LocalLlm):
    """Says that the prompt was long."""

    async def generate_content_async(self, llm_request, stream=False):
        await asyncio.sleep(self.seconds)
        usage = types.GenerateContentResponseUsageMetadata(prompt_token_count=1000)
        yield LlmResponse(content=content("pong", "model"), usage_metadata=usage)


@pytest.mark.skipif("token_threshold" not in EventsCompactionConfig.model_fields, reason="google-adk has it since 1.25")
async def test_no_turn_dies_of_a_compaction_in_its_middle(database):
    """`token_threshold`: google-adk asks for it before the model is called, and catches nothing."""
    config = EventsCompactionConfig(
        summarizer=Summarizer(lambda: asyncio.sleep(0.02)),
        compaction_interval=100,
        overlap_size=0,
        token_threshold=10,
        event_retention_size=1,
    )
    agent = pong_agent().model_copy(update={"model": CountingLlm()})
    app = App(name="app", root_agent=agent, events_compaction_config=config)
    runner = Runner(app=app, session_service=RetryingSessionService(database))
    assert await turn(runner, "ping") == ["pong"]
    assert await turns(runner, 8) == [["pong"]] * 8
    stored = await load(database)
    assert sorted(texts(stored)) == sorted(["ping", *(f"ping {n}" for n in range(8)), *["pong"] * 9])
    assert any(other.actions.compaction for other in stored.events)
