"""Two runs on one session: whose events may come before an event that is retried."""

import asyncio

import pytest
from google.adk.agents import Agent
from google.adk.apps import App
from google.adk.apps.app import ResumabilityConfig
from google.adk.models import LlmResponse
from google.adk.runners import Runner
from google.adk.sessions.base_session_service import GetSessionConfig
from google.genai import types

from stale_retry import StaleSessionRetryError, is_stale_session_error
from stale_retry.adk import InterleavedTurnError, RetryingSessionService
from stale_retry.adk._releases import AdkStaleSessionError
from stale_retry.testing import no_waiting

from .app import LocalLlm, calls_of, compaction, content, event, interrupt, load, runner_of, texts, turn, turns
from .releases import HAS_STALE_ERROR

pytestmark = pytest.mark.asyncio

STRICT = ["same_turn", "state_only"]


def answer(text="mine", **fields):
    return event(text, author="agent", **fields)


async def append_after(service, interleaving, theirs, mine):
    """Append an event through a session that does not know theirs; the texts stored in the end."""
    session = await load(service)
    await service.append_event(await load(service), theirs)
    with no_waiting():
        await RetryingSessionService(service, interleaving=interleaving).append_event(session, mine)
    return texts(await load(service))


@pytest.mark.parametrize("interleaving", STRICT)
async def test_an_event_of_another_invocation_ends_the_retries(storage, interleaving):
    with pytest.raises(InterleavedTurnError, match="start the turn again") as caught:
        await append_after(storage, interleaving, event("theirs", invocation="1"), answer(invocation="2"))
    assert texts(await load(storage)) == ["theirs"]
    assert (caught.value.attempts, is_stale_session_error(caught.value.last_error)) == (1, True)


async def test_an_event_of_the_same_invocation_ends_the_retries_only_of_state_only(storage):
    theirs, mine = event("theirs", invocation="1"), answer(invocation="1")
    assert await append_after(storage, "same_turn", theirs, mine) == ["theirs", "mine"]
    with pytest.raises(InterleavedTurnError):
        await append_after(storage, "state_only", event("theirs", invocation="2"), answer(invocation="2"))


@pytest.mark.parametrize("interleaving", STRICT)
async def test_the_message_that_opens_a_turn_is_never_refused(storage, interleaving):
    """It is based on nothing that anybody could have changed; its turn's next event is."""
    theirs, message = event("theirs", invocation="1"), event("mine", invocation="2")
    assert await append_after(storage, interleaving, theirs, message) == ["theirs", "mine"]


@pytest.mark.parametrize("interleaving", STRICT)
async def test_of_many_turns_at_once_every_message_is_stored(database, interleaving):
    service = RetryingSessionService(database, interleaving=interleaving)
    await turns(runner_of(service), 10)
    assert {f"ping {n}" for n in range(10)} <= set(texts(await load(database)))


async def test_by_default_events_of_others_may_come_in_between(storage):
    stored = await append_after(storage, "allow", event("theirs", invocation="1"), answer(invocation="2"))
    assert stored == ["theirs", "mine"]


@pytest.mark.parametrize("interleaving", STRICT)
async def test_a_background_write_of_state_does_not_end_a_turn(storage, interleaving):
    """ag-ui-protocol/ag-ui#1732"""
    background = event(author="system", invocation="background", state={"pending_tool_calls": ["call"]})
    assert await append_after(storage, interleaving, background, answer()) == ["mine"]
    assert (await load(storage)).state["pending_tool_calls"] == ["call"]


@pytest.mark.parametrize("interleaving", STRICT)
async def test_a_background_write_of_state_is_itself_retried_behind_a_turn(storage, interleaving):
    """ag-ui-protocol/ag-ui#1732"""
    background = event(author="system", invocation="background", state={"pending_tool_calls": ["call"]})
    assert await append_after(storage, interleaving, event("a turn's"), background) == ["a turn's"]
    assert (await load(storage)).state["pending_tool_calls"] == ["call"]


@pytest.mark.parametrize("interleaving", STRICT)
async def test_an_event_that_is_stored_already_is_settled_whatever_came_after_it(storage, interleaving):
    session, mine = await load(storage), answer(invocation="1")
    await storage.append_event(await load(storage), mine.model_copy(deep=True))
    await interrupt(storage)
    with no_waiting():
        await RetryingSessionService(storage, interleaving=interleaving).append_event(session, mine)
    assert texts(session) == ["mine", "theirs"] == texts(await load(storage))


@pytest.mark.parametrize("interleaving", STRICT)
async def test_a_compaction_in_between_does_not_end_a_turn(storage, interleaving):
    assert await append_after(storage, interleaving, compaction(), answer()) == ["mine"]


@pytest.mark.parametrize("interleaving", STRICT)
async def test_what_a_session_did_not_load_does_not_count_as_in_between(storage, interleaving):
    service = RetryingSessionService(storage, interleaving=interleaving)
    for number in range(3):
        await interrupt(storage, f"{number}")
    session = await load(service, config=GetSessionConfig(num_recent_events=1))
    await interrupt(storage, None, state={"background": 1})
    with no_waiting():
        await service.append_event(session, answer())
    assert texts(session) == ["2", "mine"]


@pytest.mark.parametrize("interleaving", STRICT)
async def test_the_loser_stays_stale_so_that_nothing_more_of_its_turn_is_stored(storage, interleaving):
    service = RetryingSessionService(storage, interleaving=interleaving)
    session = await load(storage)
    await interrupt(storage)
    for mine in (answer(), event(author="agent", error_code="StaleSessionError")):
        with no_waiting(), pytest.raises(InterleavedTurnError):
            await service.append_event(session, mine)
    assert session.events == []
    assert texts(await load(storage)) == ["theirs"]


async def test_the_losers_error_is_adks_own_too_and_is_not_retried_by_others(storage):
    with pytest.raises(InterleavedTurnError) as caught:
        await append_after(storage, "state_only", event("theirs"), answer())
    assert isinstance(caught.value, StaleSessionRetryError)
    assert isinstance(caught.value, AdkStaleSessionError)
    assert (AdkStaleSessionError is not ValueError) is HAS_STALE_ERROR
    assert not is_stale_session_error(caught.value)


class ToolLlm(LocalLlm):
    """Calls the tool once and then answers."""

    async def generate_content_async(self, llm_request, stream=False):
        if llm_request.contents[-1].parts[0].function_response:
            yield LlmResponse(content=content("pong", "model"))
        else:
            call = types.Part(function_call=types.FunctionCall(name="look_up", args={}))
            yield LlmResponse(content=types.Content(role="model", parts=[call]))


def kinds(session):
    parts = [part for event in session.events if event.content for part in event.content.parts]
    return [part.text or ("call" if part.function_call else "response") for part in parts]


async def two_servers(service, interleaving):
    """One server runs a turn; while it waits for a tool, another resumes and ends the same invocation."""
    tool_called, resumed = asyncio.Event(), asyncio.Event()

    async def look_up() -> str:
        """Look it up."""
        if not tool_called.is_set():
            tool_called.set()
            await resumed.wait()
        return "found"

    async def run(**arguments):
        agent = Agent(name="agent", model=ToolLlm(), tools=[look_up])
        app = App(name="app", root_agent=agent, resumability_config=ResumabilityConfig(is_resumable=True))
        server = Runner(app=app, session_service=RetryingSessionService(service, interleaving=interleaving))
        return [event async for event in server.run_async(user_id="user", session_id="session", **arguments)]

    first = asyncio.create_task(run(new_message=content("ping")))
    await tool_called.wait()
    invocation = (await load(service)).events[0].invocation_id
    await run(invocation_id=invocation)
    resumed.set()
    return (await asyncio.gather(first, return_exceptions=True))[0]


async def test_of_two_servers_that_run_one_invocation_the_loser_is_told_and_the_trajectory_is_clean(storage):
    """google/adk-python#4751"""
    outcome = await two_servers(storage, "state_only")
    assert isinstance(outcome, InterleavedTurnError)
    stored = kinds(await load(storage))
    # Some releases resume under a new invocation id and call the tool again.
    assert stored == ["ping", *["call"] * (len(stored) - 3), "response", "pong"]


async def test_where_interleaving_is_allowed_two_servers_spoil_the_trajectory(storage):
    """google/adk-python#4751"""
    assert not isinstance(await two_servers(storage, "allow"), Exception)
    assert kinds(await load(storage))[-4:] == ["response", "pong", "response", "pong"]


async def test_of_two_turns_at_once_the_loser_is_told_and_the_trajectory_is_clean(storage):
    """google/adk-python#4751, with an invocation of its own on each server."""
    answered = asyncio.Event()

    class SlowLlm(LocalLlm):
        async def generate_content_async(self, llm_request, stream=False):
            asking.set()
            await answered.wait()
            yield LlmResponse(content=content("too late", "model"))

    asking = asyncio.Event()
    service = RetryingSessionService(storage, interleaving="same_turn")
    slow = asyncio.create_task(turn(runner_of(service, Agent(name="agent", model=SlowLlm())), "slow"))
    await asking.wait()
    assert await turn(runner_of(service), "fast") == ["pong"]
    answered.set()
    with pytest.raises(InterleavedTurnError):
        await slow
    assert texts(await load(storage)) == ["slow", "fast", "pong"]


@pytest.mark.parametrize("wrong", ["none", None, True])
async def test_an_unknown_interleaving_is_refused_by_name(sqlite_service, wrong):
    with pytest.raises(ValueError, match="interleaving must be one of 'allow', 'same_turn', 'state_only'"):
        RetryingSessionService(sqlite_service, interleaving=wrong)


async def test_the_session_is_read_once_for_a_rejection_that_ends_the_retries(storage):
    session = await load(storage)
    await interrupt(storage)
    service = RetryingSessionService(storage, interleaving="same_turn")
    with calls_of(storage, "get_session", "append_event") as calls, no_waiting(), pytest.raises(InterleavedTurnError):
        await service.append_event(session, answer())
    assert len(calls) == 2
