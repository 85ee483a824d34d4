"""Two machines on one PostgreSQL, each with connections and a clock of its own, whose turns have tools."""

import asyncio
import contextlib

import pytest
import pytest_asyncio
from google.adk.sessions import DatabaseSessionService

from stale_retry.adk import RetryingSessionService, refresh_session

from .app import KEY, event, ids, load
from .releases import DATABASE_REJECTS_STALE, HAS_CLOCK
from .test_order import Machine, clock, kinds, of_one_turn, texts_of

pytestmark = [
    pytest.mark.asyncio,
    pytest.mark.skipif(not HAS_CLOCK, reason="google-adk has a clock that can be set since 1.27"),
    pytest.mark.skipif(not DATABASE_REJECTS_STALE, reason="this release stores through a stale session"),
]

APART = [seconds * sign for seconds in (0.05, 1.0, 120.0) for sign in (1, -1)]


@pytest_asyncio.fixture
async def connect(new_postgresql_database):
    """Makes one more service on the same database, in which there is an empty session."""
    url = new_postgresql_database()
    async with contextlib.AsyncExitStack() as opened:

        def service():
            made = DatabaseSessionService(url)
            opened.push_async_callback(made.db_engine.dispose)
            return made

        await service().create_session(**KEY)
        yield service


@pytest.mark.parametrize("seconds", APART)
async def test_whatever_their_clocks_say_turns_stay_in_order_and_whole_and_nobody_misses_anything(connect, seconds):
    machines = [Machine(connect(), 0.0), Machine(connect(), seconds)]
    beside = RetryingSessionService(connect())
    watched = [await load(machine.service) for machine in machines]

    async def note(number):
        with clock(seconds / 2):
            session = await load(beside)
            for index in range(4):
                await beside.append_event(session, event(f"note {number}.{index}", invocation=f"note {number}"))
                await asyncio.sleep(0.01)

    orders = [(machine, f"{name}{number}") for number in range(3) for name, machine in zip("ab", machines, strict=True)]
    await asyncio.gather(note(0), note(1), *(machine.turn(order) for machine, order in orders))

    stored = (await load(connect())).events
    assert [other.id for other in sorted(stored, key=lambda other: other.timestamp)] == [other.id for other in stored]
    for machine, order in orders:
        (invocation,) = {other.invocation_id for other in stored if f"order {order}" in texts_of(other)}
        assert list(kinds(other for other in stored if other.invocation_id == invocation)) == of_one_turn(order)
        assert sorted(done for done in machine.done if order in done) == [f"check {order}", f"pay {order}"]
    for number in range(2):
        notes = [text for other in stored for text in texts_of(other) if text.startswith(f"note {number}")]
        assert notes == [f"note {number}.{index}" for index in range(4)]
    for machine, session in zip(machines, watched, strict=True):
        await refresh_session(machine.service, session)
        assert ids(session) == [other.id for other in stored]


@pytest.mark.parametrize("seconds", [120.0, -120.0])
async def test_a_session_that_is_brought_up_to_date_again_and_again_misses_nothing(connect, seconds):
    """Each time it has seen a date of the clock ahead; what the clock behind appends then is dated after it."""
    here, there = (RetryingSessionService(connect()) for _ in range(2))
    watched = await load(here)
    for number in range(6):
        for service, ahead in ((there, seconds), (here, 0.0)):
            with clock(ahead):
                await service.append_event(await load(service), event(f"{number}"))
            await refresh_session(here, watched)
    assert ids(watched) == ids(await load(here))
    assert len(watched.events) == 12
