"""A compaction that is rejected, and the runner that asked for it."""

import asyncio

import pytest
from google.adk.apps import App
from google.adk.apps.app import EventsCompactionConfig
from google.adk.apps.base_events_summarizer import BaseEventsSummarizer
from google.adk.events import EventActions
from google.adk.events.event_actions import EventCompaction
from google.adk.runners import Runner

from stale_retry import is_stale_session_error
from stale_retry.adk import RetryingSessionService

from .app import content, event, interrupt, load, pong_agent, texts, turn
from .releases import DATABASE_REJECTS_STALE, HAS_STALE_ERROR

pytestmark = pytest.mark.asyncio


class InterruptedSummarizer(BaseEventsSummarizer):
    """Somebody stores a message while the summary is being written."""

    def __init__(self, service):
        self.service = service

    async def maybe_summarize_events(self, *, events):
        await interrupt(self.service)
        summary = EventCompaction(
            start_timestamp=events[0].timestamp,
            end_timestamp=events[-1].timestamp,
            compacted_content=content("summary", "model"),
        )
        return event(author="user").model_copy(update={"actions": EventActions(compaction=summary)})


def compactions(session):
    return [event for event in session.events if event.actions.compaction]


async def test_a_summary_of_an_old_history_is_dropped_as_adk_drops_it(database):
    config = EventsCompactionConfig(summarizer=InterruptedSummarizer(database), compaction_interval=1, overlap_size=0)
    app = App(name="app", root_agent=pong_agent(), events_compaction_config=config)
    runner = Runner(app=app, session_service=RetryingSessionService(database))
    (outcome,) = await asyncio.gather(turn(runner, "ping"), return_exceptions=True)
    # Before 2.7 the runner does not catch it: the turn ends with an error after its answer was stored.
    assert outcome == ["pong"] or (is_stale_session_error(outcome) and not HAS_STALE_ERROR)
    stored = await load(database)
    assert texts(stored)[:2] == ["ping", "pong"]
    if DATABASE_REJECTS_STALE:
        assert compactions(stored) == []
    if HAS_STALE_ERROR:
        assert texts(stored) == ["ping", "pong", "theirs"]
