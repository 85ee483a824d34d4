"""What the caller's own session shows after an acknowledgement was lost."""

import pytest

from stale_retry import retry_if_stale_session
from stale_retry.adk import RetryingSessionService, retry_if_transient

from .scenarios import SCENARIOS
from .stores import APP, close
from .strikes import cut_during, terminate_after
from .writers import load, make_event


@pytest.mark.asyncio
@pytest.mark.parametrize(("at", "fault"), [("answer", terminate_after), ("commit", cut_during)])
async def test_a_settled_event_is_in_the_session_once_and_the_next_append_takes_one_call(bench, at, fault):
    async with bench.behind_proxy(at, fault, every=1, times=1) as (through, between):
        service = through.open()
        append_event, calls = service.append_event, []

        async def counted(**call):
            calls.append(call["event"].id)
            return await append_event(**call)

        service.append_event = counted
        on = retry_if_stale_session() | retry_if_transient()
        wrapped = RetryingSessionService(service, on=on, observers=())
        session = await wrapped.create_session(**APP, session_id=f"settled-{at}")
        between.armed = True
        lost, after = make_event("mine 0"), make_event("mine 1")
        assert await wrapped.append_event(session, lost) is lost
        tries = len(calls)
        await wrapped.append_event(session, after)
        stored = await load(service, session.id)
        await close(service)
    assert calls[tries:] == [after.id]
    assert [event.id for event in session.events] == [lost.id, after.id]
    assert session.events[0] is lost
    assert [event.id for event in stored.events] == [lost.id, after.id]
    assert session.state == stored.state == {"mine": 1, "last": "mine 1"}


@pytest.mark.asyncio
async def test_without_the_documented_line_a_lost_acknowledgement_is_an_error_of_an_event_that_is_stored(bench):
    report = await SCENARIOS["terminated_after_commit"].play(bench, "retrying")
    assert report.stored > report.acknowledged
    assert not report.twice
    assert not report.lost
