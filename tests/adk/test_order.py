"""One order for ever, whatever the machines' clocks say: every event is dated after all that its session knows."""

import asyncio
import contextlib
import random
import time

import pytest
from google.adk.agents import Agent
from google.adk.models import LlmResponse
from google.genai import types

from stale_retry.adk import RetryingSessionService, refresh_session
from stale_retry.adk import _known as known_module
from stale_retry.testing import no_waiting

from .app import APP, LocalLlm, content, event, ids, interrupt, load, runner_of, texts, turn
from .releases import HAS_CLOCK

pytestmark = pytest.mark.asyncio

SECONDS_APART = [0.05, 1.0, 120.0]


async def test_an_event_is_dated_after_what_its_session_knows_on_the_first_attempt_too(storage):
    service = RetryingSessionService(storage)
    await interrupt(storage, timestamp=time.time() + 60)
    session = await load(service)
    for text in ("1", "2", "3"):
        await service.append_event(session, event(text))
    dates = [other.timestamp for other in session.events]
    assert dates == sorted(set(dates))
    assert texts(session) == ["theirs", "1", "2", "3"] == texts(await load(storage))


async def test_an_import_keeps_its_dates(storage):
    service = RetryingSessionService(storage)
    session = await service.create_session(**APP, session_id="imported")
    dates = [5.0, 6.0, time.time() - 3600]
    for date in dates:
        await service.append_event(session, event(f"{date}", timestamp=date))
    stored = await storage.get_session(**APP, session_id="imported")
    assert [other.timestamp for other in stored.events] == pytest.approx(dates, abs=1e-6)


async def test_an_import_that_meets_a_conflict_keeps_its_dates_too(storage):
    service = RetryingSessionService(storage)
    session = await load(service)
    await interrupt(storage)
    old = event("old", timestamp=5.0)
    with no_waiting():
        await service.append_event(session, old)
    assert old.timestamp == 5.0


@pytest.mark.parametrize("key", ["the wrapper's", "one's own"])
async def test_an_event_is_no_import_because_it_had_to_wait_in_the_queue(storage, monkeypatch, key):
    """Nobody saw its session being loaded, and it waits for longer than an event may be older than its session."""
    own = {} if key == "the wrapper's" else {"key": lambda session: session.id}
    service = RetryingSessionService(storage, **own)
    session, mine = await load(storage), event("mine")
    append, appending, go_on = storage.append_event, asyncio.Event(), asyncio.Event()

    async def append_when_told(session, event):
        storage.append_event = append
        appending.set()
        await go_on.wait()
        return await append(session, event)

    storage.append_event = append_when_told
    first = asyncio.create_task(service.append_event(await load(storage), event("first")))
    await appending.wait()
    waiting = asyncio.create_task(service.append_event(session, mine))
    await asyncio.sleep(0)
    monkeypatch.setattr(known_module, "now", lambda: time.time() + 60)
    await interrupt(storage, timestamp=time.time() + 60)
    go_on.set()
    with no_waiting():
        await asyncio.gather(first, waiting)
    assert texts(await load(storage))[-1] == "mine"


async def test_an_event_that_was_stored_without_an_answer_takes_the_date_it_is_stored_with(storage):
    """Sent again it may have been dated anew; the session in memory must sort as storage does."""
    service = RetryingSessionService(storage)
    session, mine = await load(service), event("mine")
    stored = mine.model_copy(deep=True)
    await storage.append_event(await load(storage), stored)
    await interrupt(storage)
    mine.timestamp += 30
    with no_waiting():
        await service.append_event(session, mine)
    assert mine.timestamp == pytest.approx(stored.timestamp, abs=1e-6)
    assert ids(session) == ids(await load(storage))


async def test_every_event_of_clocks_a_minute_and_more_ahead_is_seen_by_everybody(storage):
    """B is two minutes ahead of A and C; what C stores between two events of B must not hide from A."""
    a, b, c = (RetryingSessionService(storage) for _ in range(3))
    session = await load(a)
    with no_waiting():
        for service, seconds, text in ((b, 120, "1"), (c, 0, "2"), (b, 120, "3"), (c, 0, "4")):
            await service.append_event(await load(service), event(text, timestamp=time.time() + seconds))
            if text == "1":
                await refresh_session(storage, session)
        await refresh_session(storage, session)
    assert texts(session) == ["1", "2", "3", "4"] == texts(await load(storage))


@contextlib.contextmanager
def clock(seconds_ahead):
    """Google-adk's clock, for the task that this is done in."""
    from google.adk.platform import time as platform_time

    platform_time.set_time_provider(lambda: time.time() + seconds_ahead)
    try:
        yield
    finally:
        platform_time.reset_time_provider()


class PayingLlm(LocalLlm):
    """Pays for an order, checks it, and answers: whatever it was not shown the response of."""

    order: str

    async def generate_content_async(self, llm_request, stream=False):
        await asyncio.sleep(self.seconds)
        parts = [part for shown in llm_request.contents for part in shown.parts]
        responses = [part.function_response.response["result"] for part in parts if part.function_response]
        for task in (f"pay {self.order}", f"check {self.order}"):
            if task not in responses:
                call = types.FunctionCall(name=task.split()[0], args={"order": task})
                yield LlmResponse(content=types.Content(role="model", parts=[types.Part(function_call=call)]))
                return
        yield LlmResponse(content=content(f"done {self.order}", "model"))


class Machine:
    """One process on a machine of its own: a clock, a service, runners."""

    def __init__(self, storage, seconds_ahead):
        self.seconds_ahead = seconds_ahead
        self.service = RetryingSessionService(storage)
        self.done, self.sessions = [], []

    async def turn(self, order):
        async def pay(order: str) -> str:
            """Pay for an order."""
            self.done.append(order)
            return order

        async def check(order: str) -> str:
            """Check an order."""
            self.done.append(order)
            return order

        with clock(self.seconds_ahead):
            await asyncio.sleep(random.random() / 20)
            agent = Agent(name="agent", model=PayingLlm(order=order), tools=[pay, check])
            return await turn(runner_of(self.service, agent), f"order {order}")


def kinds(events):
    """What each event of one turn is."""
    for other in events:
        (part,) = other.content.parts
        if part.function_call:
            yield f"call {part.function_call.args['order']}"
        elif part.function_response:
            yield f"response {part.function_response.response['result']}"
        else:
            yield part.text


@pytest.mark.skipif(not HAS_CLOCK, reason="google-adk has a clock that can be set since 1.27")
@pytest.mark.parametrize("seconds", SECONDS_APART)
async def test_no_turns_events_change_places_no_tool_is_called_twice_and_none_is_dropped(storage, seconds):
    machines = [Machine(storage, 0.0), Machine(storage, seconds)]
    if hasattr(storage, "client"):
        storage.client.seconds_ahead = seconds / 2  # Firestore dates sessions by the server's clock
    orders = [(machine, f"{name}{number}") for number in range(3) for name, machine in zip("ab", machines, strict=True)]
    await asyncio.gather(*(machine.turn(order) for machine, order in orders))
    stored = (await load(storage)).events
    assert [other.id for other in sorted(stored, key=lambda other: other.timestamp)] == [other.id for other in stored]
    for machine, order in orders:
        turns = {other.invocation_id for other in stored if f"order {order}" in texts_of(other)}
        (invocation,) = turns
        assert list(kinds(other for other in stored if other.invocation_id == invocation)) == of_one_turn(order)
        assert sorted(done for done in machine.done if order in done) == [f"check {order}", f"pay {order}"]


def of_one_turn(order):
    return [
        f"order {order}",
        f"call pay {order}",
        f"response pay {order}",
        f"call check {order}",
        f"response check {order}",
        f"done {order}",
    ]


def texts_of(other):
    return [part.text for part in other.content.parts if part.text]


async def test_nobody_misses_an_event_that_was_appended_through_the_wrapper(strict):
    """Writers whose clocks differ by up to two minutes; each ends with the history that storage has."""
    services = [RetryingSessionService(strict) for _ in range(4)]
    ahead = [0.0, 0.05, 30.0, 120.0]
    sessions = [await load(service) for service in services]

    async def write(index):
        for number in range(15):
            date = time.time() + ahead[index] - random.random() / 10
            mine = event(f"{index}.{number}", timestamp=date)
            await services[index].append_event(sessions[index], mine)

    with no_waiting():
        await asyncio.gather(*(write(index) for index in range(4)))
    stored = ids(await load(strict))
    assert len(stored) == 60
    for session in sessions:
        assert ids(session) == stored[: len(session.events)]
    assert max(len(session.events) for session in sessions) == 60
