"""State that the caller and others both wrote: `state_conflicts`, and what is kept, taken and told of each key."""

import contextlib
import logging

import pytest
from google.adk.agents import Agent
from google.adk.models import LlmResponse
from google.adk.sessions.base_session_service import GetSessionConfig
from google.adk.sessions.state import State
from google.adk.tools import ToolContext
from google.genai import types

from stale_retry import StaleSessionRetryError, is_stale_session_error
from stale_retry.adk import RetryingSessionService, StateConflictError, retry_on_stale_session
from stale_retry.adk._releases import AdkStaleSessionError
from stale_retry.testing import no_waiting

from .app import APP, LocalLlm, calls_of, event, ids, interrupt, load, runner_of, turns
from .releases import DATABASE_RELOADS_SILENTLY

pytestmark = pytest.mark.asyncio

DELTAS = {
    "a key": ({"cart": ["milk"]}, {"cart": ["milk", "eggs"]}, {"cart": ["milk", "bread"]}),
    "a new key": ({}, {"cart": ["eggs"]}, {"cart": ["bread"]}),
    "the user's": ({"user:points": 1}, {"user:points": 2}, {"user:points": 3}),
    "the app's": ({"app:count": 1}, {"app:count": 2}, {"app:count": 3}),
    "a deletion of theirs": ({"k": 1}, {"k": None}, {"k": 2}),
    "a deletion of mine": ({"k": 1}, {"k": 2}, {"k": None}),
}
deltas = pytest.mark.parametrize(("base", "theirs", "mine"), DELTAS.values(), ids=DELTAS)


def write(session, coming, key, value):
    """What `ctx.state[key] = value` does: at once to the session, and to the event that is yet to come."""
    State(session.state, coming.actions.state_delta)[key] = value


def add(key, base, theirs, mine):
    return theirs + mine - (base or 0)


async def conflicting(storage, state_conflicts, base, theirs, mine):
    """An append of `mine` after others stored `theirs`: the session, the service."""
    service = RetryingSessionService(storage, state_conflicts=state_conflicts)
    await interrupt(storage, state=base)
    session = await load(service)
    await interrupt(storage, state=theirs)
    coming = event("mine", author="agent")
    for key, value in mine.items():
        write(session, coming, key, value)
    with no_waiting():
        await service.append_event(session, coming)
    return session, service


def without_none(state):
    """Some releases of SqliteSessionService delete a key that is set to None."""
    return {key: value for key, value in state.items() if value is not None}


@deltas
async def test_the_last_one_wins_and_it_is_logged_and_counted(storage, caplog, base, theirs, mine):
    caplog.set_level(logging.WARNING, "stale_retry")
    session, service = await conflicting(storage, "last_wins", base, theirs, mine)
    (key,) = mine
    assert without_none((await load(storage)).state) == without_none(mine) == without_none(session.state)
    assert service.lost_updates == 1 == service.retrying.lost_updates
    (logged,) = [record.getMessage() for record in caplog.records if "overwrites" in record.getMessage()]
    assert logged.startswith(
        f"{type(storage).__name__}.append_event overwrites state that others stored meanwhile: {key}"
    )


@deltas
async def test_it_is_raised_and_nothing_is_stored(storage, base, theirs, mine):
    with pytest.raises(StateConflictError, match=f"others stored {next(iter(mine))} since") as caught:
        await conflicting(storage, "raise", base, theirs, mine)
    assert isinstance(caught.value, AdkStaleSessionError)
    assert isinstance(caught.value, StaleSessionRetryError)
    assert is_stale_session_error(caught.value.last_error)
    stored = await load(storage)
    assert len(stored.events) == 2
    assert without_none(stored.state) == without_none(theirs)


@deltas
async def test_a_function_is_asked_and_its_answer_is_stored(storage, base, theirs, mine):
    asked = []

    def merge(key, *values):
        asked.append((key, *values))
        return "merged"

    session, service = await conflicting(storage, merge, base, theirs, mine)
    (key,) = mine
    assert asked == [(key, base.get(key), theirs[key], mine[key])]
    assert (await load(storage)).state == {key: "merged"} == session.state
    assert service.lost_updates == 0


async def test_the_same_value_on_both_sides_is_a_conflict_as_any_other(storage):
    """Of two turns that count from 1 to 2 one is lost."""
    session, _ = await conflicting(storage, add, {"k": 1}, {"k": 2}, {"k": 2})
    assert (await load(storage)).state == {"k": 3} == session.state


@pytest.mark.parametrize(
    ("base", "theirs", "mine"),
    [
        ({"k": 1}, {"other": 2}, {"k": 3}),
        ({"k": [1, {"a": 1.0}]}, {"k": [1, {"a": 1}]}, {"k": 2}),
        ({"k": None}, {"k": None}, {"k": 2}),
    ],
)
async def test_a_key_that_others_left_or_set_to_what_it_was_is_no_conflict(storage, base, theirs, mine):
    await conflicting(storage, "raise", base, theirs, mine)


async def test_an_event_that_brings_state_which_was_not_written_to_the_session_is_seen_too(storage):
    service = RetryingSessionService(storage, state_conflicts="raise")
    session = await load(service)
    await interrupt(storage, state={"k": 1})
    with no_waiting(), pytest.raises(StateConflictError):
        await service.append_event(session, event(state={"k": 2}))


async def test_what_was_appended_is_not_taken_for_a_write_that_is_still_to_come(storage):
    service = RetryingSessionService(storage, state_conflicts="raise")
    session = await load(service)
    for number in range(3):
        mine = event(state={})
        write(session, mine, "mine", number)
        await service.append_event(session, mine)
    await interrupt(storage, state={"mine": "theirs"})
    with no_waiting():
        await service.append_event(session, event("next", author="agent"))
    assert session.state == {"mine": "theirs"} == (await load(storage)).state


async def test_each_round_of_a_merge_begins_where_the_last_one_ended(storage):
    """Two are beaten to it twice: each conflict is merged against what was stored last."""
    service = RetryingSessionService(storage, state_conflicts=add)
    session = await load(service)
    append, beaten = storage.append_event, []

    async def beaten_twice(**arguments):
        if len(beaten) < 2:
            beaten.append(1)
            other = await load(storage)
            count = other.state.get("count", 0) + 10
            await append(session=other, event=event(state={"count": count}, timestamp=other.last_update_time + 1))
        return await append(**arguments)

    storage.append_event = beaten_twice
    mine = event(state={})
    write(session, mine, "count", 1)
    with no_waiting():
        await service.append_event(session, mine)
    assert (await load(storage)).state["count"] == 21 == session.state["count"]


async def after_a_write_that_met_a_conflict_before_its_event_came(storage, state_conflicts, rewrite=None):
    """A parallel branch's event meets the conflict; the event that brings the write comes later and meets none."""
    service = RetryingSessionService(storage, state_conflicts=state_conflicts)
    await interrupt(storage, state={"k": [0]})
    session = await load(service)
    await interrupt(storage, state={"k": [0, 1]})
    mine = event("mine", author="agent")
    write(session, mine, "k", [0, 2])
    with no_waiting():
        await service.append_event(session, event("another branch's", author="agent"))
    if rewrite is not None:
        write(session, mine, "k", rewrite(session.state["k"]))
    with calls_of(storage, "append_event") as calls:
        try:
            await service.append_event(session, mine)
        finally:
            assert len(calls) <= 1
    return service, session, (await load(storage)).state


async def test_a_pending_write_that_met_a_conflict_is_logged_when_it_does(storage, caplog):
    service, session, stored = await after_a_write_that_met_a_conflict_before_its_event_came(storage, "last_wins")
    assert stored == {"k": [0, 2]} == session.state
    assert service.lost_updates == 1


async def test_a_pending_write_that_met_a_conflict_ends_the_event_that_met_it(storage):
    """Some services store it with that event."""
    with pytest.raises(StateConflictError):
        await after_a_write_that_met_a_conflict_before_its_event_came(storage, "raise")
    assert (await load(storage)).state == {"k": [0, 1]}


def union(key, base, theirs, mine):
    return sorted({*theirs, *mine})


async def test_a_pending_write_that_met_a_conflict_is_merged_when_its_event_comes(storage):
    _, session, stored = await after_a_write_that_met_a_conflict_before_its_event_came(storage, union)
    assert stored == {"k": [0, 1, 2]} == session.state


async def test_a_pending_write_that_is_made_again_on_the_merged_value_is_stored_as_it_is(storage):
    again = lambda merged: [*merged, 3]  # noqa: E731
    _, session, stored = await after_a_write_that_met_a_conflict_before_its_event_came(storage, union, again)
    assert stored == {"k": [0, 1, 2, 3]} == session.state


async def test_a_key_that_the_caller_did_not_write_takes_the_stored_value_whoever_wrote_it(storage):
    """By another session, by a late event that is not read, by hand: the session's own events prove nothing."""
    service = RetryingSessionService(storage)
    await interrupt(storage, state={"k": 1, "user:k": 1})
    session = await load(service, config=GetSessionConfig(num_recent_events=1))
    other = await storage.create_session(**APP, session_id="other")
    await storage.append_event(other, event(state={"user:k": 2}))
    await interrupt(storage, state={"k": 2}, timestamp=1.0)
    await interrupt(storage)
    with no_waiting():
        await service.append_event(session, event("mine"))
    assert session.state == {"k": 2, "user:k": 2} == (await load(storage)).state


async def test_writes_that_are_not_yet_appended_stay_in_a_windowed_session_too(storage):
    service = RetryingSessionService(storage)
    for number in range(5):
        await interrupt(storage, state={"draft": number})
    session = await load(service, config=GetSessionConfig(num_recent_events=2))
    coming = event("mine")
    write(session, coming, "draft", "not yet appended")
    await interrupt(storage)
    with no_waiting():
        await service.append_event(session, event("first"))
    assert session.state == {"draft": "not yet appended"}
    await service.append_event(session, coming)
    assert (await load(storage)).state == {"draft": "not yet appended"}


async def test_a_value_that_did_not_change_stays_the_same_object(storage):
    """Google-adk notices a write into a list that it handed out only while the state holds that very list."""
    service = RetryingSessionService(storage)
    await interrupt(storage, state={"tags": ["a"]})
    session = await load(service)
    tags = session.state["tags"]
    await interrupt(storage, state={"other": 1})
    with no_waiting():
        await service.append_event(session, event("mine"))
    assert session.state["tags"] is tags


async def test_a_write_into_a_list_that_the_state_holds_is_a_write(storage):
    service = RetryingSessionService(storage, state_conflicts="raise")
    await interrupt(storage, state={"tags": ["a"]})
    session = await load(service)
    session.state["tags"].append("b")
    await interrupt(storage)
    with no_waiting():
        await service.append_event(session, event("mine"))
    assert session.state["tags"] == ["a", "b"]
    await interrupt(storage, state={"tags": ["c"]})
    with no_waiting(), pytest.raises(StateConflictError):
        await service.append_event(session, event(state={"tags": ["a", "b"]}))


async def test_what_the_caller_took_out_of_state_stays_out_until_somebody_writes_it(storage):
    service = RetryingSessionService(storage)
    await interrupt(storage, state={"gone": 1, "rewritten": 1})
    session = await load(service)
    del session.state["gone"], session.state["rewritten"]
    await interrupt(storage, state={"rewritten": 2})
    with no_waiting():
        await service.append_event(session, event("mine"))
    assert session.state == {"rewritten": 2}


async def test_state_that_json_does_not_know_is_compared_as_it_is_stored(storage):
    service = RetryingSessionService(storage, state_conflicts="raise")
    session = await load(service)
    values = {"tuple": (1, 2), "int keys": {1: "a"}, "float": 1e300, "content": types.Part(text="x"), "set": {1}}
    with contextlib.suppress(Exception):  # some releases store nothing but JSON
        await service.append_event(session, event(state=values))
    if not session.events:
        return
    await interrupt(storage)
    with no_waiting():
        await service.append_event(session, event("mine"))
    assert session.state.keys() == values.keys()
    assert service.lost_updates == 0


async def test_a_message_that_was_stored_without_an_answer_gives_way_to_what_was_stored_after_it(storage):
    service = RetryingSessionService(storage, state_conflicts="raise")
    session, mine = await load(service), event("mine")
    write(session, mine, "k", "mine")
    await storage.append_event(await load(storage), mine.model_copy(deep=True))
    await interrupt(storage, state={"k": "theirs"})
    with no_waiting():
        assert await service.append_event(session, mine) is mine
    assert session.state == {"k": "theirs"}
    assert ids(session) == ids(await load(storage))


async def test_a_clash_of_a_pending_write_is_raised_by_the_next_event_where_the_one_that_met_it_is_stored(storage):
    service = RetryingSessionService(storage, state_conflicts="raise")
    session, mine = await load(service), event("mine")
    await storage.append_event(await load(storage), mine.model_copy(deep=True))
    await interrupt(storage, state={"k": "theirs"})
    write(session, event(), "k", "mine")
    with no_waiting():
        assert await service.append_event(session, mine) is mine
        for _ in range(2):
            with pytest.raises(StateConflictError):
                await service.append_event(session, event("next", author="agent"))
    assert (await load(storage)).state == {"k": "theirs"}


async def test_what_an_append_stored_that_was_cut_off_is_the_callers_own(storage):
    service = RetryingSessionService(storage, state_conflicts="raise", interleaving="state_only")
    session, mine = await load(service), event("mine")
    write(session, mine, "k", 1)
    append = storage.append_event

    async def store_and_fail(*, session, event):
        storage.append_event = append
        await append(session=session.model_copy(deep=True), event=event.model_copy(deep=True))
        raise KeyError("cut off")

    storage.append_event = store_and_fail
    with pytest.raises(KeyError):
        await service.append_event(session, mine)
    following = event("next", author="agent")
    write(session, following, "k", 2)
    with no_waiting():
        await service.append_event(session, following)
    stored = await load(storage)
    assert ids(session) == [mine.id, following.id] == ids(stored)
    assert session.state == {"k": 2} == stored.state


async def test_a_write_that_was_stored_with_another_event_is_not_a_conflict_with_itself(storage):
    """FirestoreSessionService stores the whole state with each event."""
    service = RetryingSessionService(storage, state_conflicts="raise")
    session, coming = await load(service), event("coming", author="agent")
    write(session, coming, "k", 1)
    await service.append_event(session, event("another branch's", author="agent"))
    await interrupt(storage)
    with no_waiting():
        await service.append_event(session, coming)
    assert (await load(storage)).state == {"k": 1}


async def test_a_write_that_others_went_on_from_before_its_event_came_is_not_stored_over_theirs(storage):
    service = RetryingSessionService(storage, state_conflicts=add)
    await interrupt(storage, state={"k": 1})
    session, coming = await load(service), event("coming", author="agent")
    write(session, coming, "k", 2)
    await service.append_event(session, event("another branch's", author="agent"))
    others = (await load(storage)).state["k"]
    await interrupt(storage, state={"k": others + 1})
    with no_waiting():
        await service.append_event(session, event("another branch's", author="agent"))
        await service.append_event(session, coming)
    assert (await load(storage)).state == {"k": 3} == session.state


async def test_the_decorator_does_the_same(tmp_path):
    from google.adk.sessions.sqlite_session_service import SqliteSessionService

    class Own(SqliteSessionService):
        @retry_on_stale_session(state_conflicts="raise")
        async def append_event(self, session, event):
            return await super().append_event(session, event)

    service = Own(str(tmp_path / "own.db"))
    await service.create_session(**APP, session_id="session")
    session = await load(service)
    await service.append_event(session, event("question", state={"k": 1}))
    await interrupt(service, state={"k": 2})
    with no_waiting(), pytest.raises(StateConflictError):
        await service.append_event(session, event("answer", author="agent", state={"k": 3}))
    assert (await load(service)).state == {"k": 2}


@pytest.mark.parametrize("wrong", ["first_wins", None, 5])
async def test_an_unknown_way_is_refused_by_name(sqlite_service, wrong):
    with pytest.raises(ValueError, match="state_conflicts must be 'last_wins', 'raise' or a plain function"):
        RetryingSessionService(sqlite_service, state_conflicts=wrong)


async def test_an_async_function_is_refused(sqlite_service):
    async def merge(key, base, theirs, mine):
        return mine

    with pytest.raises(ValueError, match="a plain function"):
        RetryingSessionService(sqlite_service, state_conflicts=merge)


class CountingLlm(LocalLlm):
    async def generate_content_async(self, llm_request, stream=False):
        if llm_request.contents[-1].parts[0].function_response:
            yield LlmResponse(content=types.Content(role="model", parts=[types.Part(text="pong")]))
        else:
            call = types.Part(function_call=types.FunctionCall(name="count", args={}))
            yield LlmResponse(content=types.Content(role="model", parts=[call]))


async def test_a_counter_that_is_merged_counts_every_turn(database):
    """Nine turns at once, whose tool counts a key up; with the last one winning the counter stood at 3."""

    async def count(tool_context: ToolContext) -> str:
        """Count."""
        tool_context.state["count"] = tool_context.state.get("count", 0) + 1
        return "counted"

    service = RetryingSessionService(database, state_conflicts=add)
    agent = Agent(name="agent", model=CountingLlm(), tools=[count])
    outcomes = await turns(runner_of(service, agent), 9)
    if DATABASE_RELOADS_SILENTLY:
        return
    assert outcomes == [["pong"]] * 9
    assert (await load(database)).state["count"] == 9
