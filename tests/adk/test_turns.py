"""Many users' turns on one session at once, through real runners."""

import itertools

import pytest
from google.adk.agents import Agent, SequentialAgent
from google.adk.models import LlmResponse
from google.adk.tools import ToolContext
from google.genai import types

from stale_retry.adk import RetryingSessionService

from .app import KEY, LocalLlm, content, ids, interrupt, load, runner_of, texts, turn, turns
from .releases import APPLIES_TEMP_STATE, DATABASE_LOCKS, DATABASE_REJECTS_STALE

pytestmark = pytest.mark.asyncio

TURNS = 20


class Noting(RetryingSessionService):
    """Remembers the session of every context that appends."""

    def __init__(self, service, **options):
        super().__init__(service, **options)
        self.sessions = []

    async def append_event(self, session, event):
        if not any(session is known for known in self.sessions):
            self.sessions.append(session)
        return await super().append_event(session, event)


async def test_every_one_of_twenty_concurrent_turns_is_answered_and_stored_once(database):
    service = Noting(database)
    outcomes = await turns(runner_of(service), TURNS)
    stored = ids(await database.get_session(**KEY))
    assert outcomes == [["pong"]] * TURNS
    assert len(stored) == 2 * TURNS == len(set(stored))
    assert len(service.sessions) == TURNS


async def test_without_the_wrapper_turns_are_lost_in_every_release_that_rejects_stale_sessions(database):
    outcomes = await turns(runner_of(database), TURNS)
    lost = sum(isinstance(outcome, ValueError) for outcome in outcomes)
    if DATABASE_REJECTS_STALE:
        assert lost >= TURNS / 2
        assert len((await load(database)).events) < 2 * TURNS
    else:
        assert lost == 0


async def test_every_contexts_history_ends_as_storage_has_it(database):
    service = Noting(database)
    await turns(runner_of(service), TURNS)
    stored = ids(await load(database))
    histories = sorted((ids(session) for session in service.sessions), key=len)
    assert len(histories) == TURNS
    if DATABASE_LOCKS:
        assert histories == [stored[: len(history)] for history in histories]
        assert histories[-1] == stored
    else:
        # This release stores through a stale session and leaves it without what others stored.
        assert set(stored) == set(itertools.chain.from_iterable(histories))


class ToolLlm(LocalLlm):
    """Calls the tool `look_up` once and then answers with what its instruction says."""

    async def generate_content_async(self, llm_request, stream=False):
        async for response in super().generate_content_async(llm_request, stream):
            if llm_request.tools_dict and not llm_request.contents[-1].parts[0].function_response:
                call = types.Part(function_call=types.FunctionCall(name="look_up", args={}))
                response = LlmResponse(content=types.Content(role="model", parts=[call]))
            else:
                response = LlmResponse(content=content(f"{llm_request.config.system_instruction}", "model"))
            yield response


def research_agent():
    """One agent finds something with a tool and leaves it in temp: state, which the next one reads."""
    numbers = itertools.count()

    async def look_up(tool_context: ToolContext) -> str:
        """Look it up."""
        number = next(numbers)
        tool_context.state["temp:found"] = f"found {number}"
        return f"found {number}"

    # In releases that never apply a temp: key which comes with the event, only the tool's way works.
    output = {"output_key": "temp:said"} if APPLIES_TEMP_STATE else {}
    said = "{temp:said}" if APPLIES_TEMP_STATE else "first"
    return SequentialAgent(
        name="research",
        sub_agents=[
            Agent(name="finder", model=ToolLlm(), tools=[look_up], instruction="first", **output),
            Agent(name="reader", model=ToolLlm(), instruction=f"{{temp:found}} after {said}"),
        ],
    )


async def test_temp_state_written_by_one_agent_is_read_by_the_next_across_retries(database):
    service = RetryingSessionService(database)
    outcomes = await turns(runner_of(service, research_agent()), 8)
    found = sorted(answers[-1].partition(" after ")[0].partition("found ")[2] for answers in outcomes)
    assert found == sorted(str(number) for number in range(8))
    assert all(" after " in answers[-1] and "first" in answers[-1].partition(" after ")[2] for answers in outcomes)
    stored = await load(database)
    assert len(stored.events) == 5 * 8 == len(set(ids(stored)))
    assert not any(key.startswith("temp:") for key in stored.state)


async def test_a_message_stored_during_a_turn_does_not_end_it(storage):
    class InterruptedLlm(LocalLlm):
        async def generate_content_async(self, llm_request, stream=False):
            await interrupt(storage, state={"theirs": 1})
            yield LlmResponse(content=content("pong", "model"))

    service = Noting(storage)
    assert await turn(runner_of(service, Agent(name="agent", model=InterruptedLlm())), "ping") == ["pong"]
    (session,) = service.sessions
    assert texts(session) == ["ping", "theirs", "pong"] == texts(await load(storage))
    assert session.state["theirs"] == 1
