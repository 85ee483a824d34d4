"""An append that is cancelled, wherever it has got to, leaves nothing half done."""

import asyncio
import itertools
import random

import anyio
import pytest
import pytest_asyncio
from google.adk.sessions import InMemorySessionService
from tenacity import stop_when_event_set

from stale_retry import StaleSessionError, constant
from stale_retry.adk import RetryingSessionService
from stale_retry.testing import no_waiting

from .stores import APP, close
from .writers import make_event, message_of

numbers = itertools.count()
STORES = ["postgres", "sqlite-immediate", "sqlite-service"]


class CancelledAtStep:
    """Awaits a coroutine and calls `cancel` when it suspends for the nth time."""

    def __init__(self, coroutine, step, cancel):
        self.coroutine = coroutine
        self.step = step
        self.cancel = cancel

    def __await__(self):
        inner = self.coroutine.__await__()
        proceed, value = inner.send, None
        for step in itertools.count(1):
            try:
                future = proceed(value)
            except StopIteration as done:
                return done.value
            if step == self.step:
                self.cancel()
            try:
                value = yield future
                proceed = inner.send
            except BaseException as error:
                proceed, value = inner.throw, error


async def cancel_task(step, coroutine):
    """Cancel it there, once, as asyncio does. True when it was cancelled."""

    async def run():
        return await CancelledAtStep(coroutine, step, asyncio.current_task().cancel)

    task = asyncio.ensure_future(run())
    await asyncio.wait([task])
    if not task.cancelled():
        task.result()
    return task.cancelled()


async def cancel_scope(step, coroutine):
    """Cancel it there, and at every await after that, as anyio and web frameworks built on it do."""
    with anyio.CancelScope() as scope:
        await CancelledAtStep(coroutine, step, scope.cancel)
    return scope.cancelled_caught


@pytest_asyncio.fixture
async def service(request, bench):
    store = bench.on_postgres() if request.param == "postgres" else bench.on_sqlite(request.param)
    service = store.open()
    yield service
    await close(service)


@pytest_asyncio.fixture
async def wrapped(service):
    return RetryingSessionService(service, observers=())


async def open_session(wrapped):
    return await wrapped.create_session(**APP, session_id=f"cancelled-{next(numbers)}")


async def reload(wrapped, session):
    return await wrapped.service.get_session(**APP, session_id=session.id)


def ids(session):
    return [event.id for event in session.events]


def state_of(events):
    state = {}
    for event in events:
        state.update(event.actions.state_delta)
    return state


async def assert_nothing_is_half_done(wrapped, session):
    """The session shows what is stored or less, and the next append through it works and leaves it complete.

    Returns what is stored then.
    """
    assert len(wrapped.retrying.queues) == 0
    stored = ids(await reload(wrapped, session))
    assert len(set(ids(session))) == len(session.events)
    assert ids(session) == [id for id in stored if id in ids(session)]
    assert session.state == state_of(session.events)
    await wrapped.append_event(session, make_event("next 0"))
    fresh = await reload(wrapped, session)
    assert ids(session) == ids(fresh)
    assert session.state == fresh.state == state_of(fresh.events)
    assert len(wrapped.retrying.queues) == 0
    return ids(fresh)


@pytest.mark.asyncio
@pytest.mark.parametrize("service", STORES, indirect=True)
@pytest.mark.parametrize("is_stale", [False, True], ids=["current", "stale"])
@pytest.mark.parametrize("cancel_at", [cancel_task, cancel_scope])
async def test_cancelled_at_any_step_nothing_is_half_done(wrapped, is_stale, cancel_at):
    outcomes = set()
    # A stale append has many steps: the two ways of cancelling take turns.
    steps = itertools.count(1 + (cancel_at is cancel_scope), 2) if is_stale else itertools.count(1)
    for step in steps:
        session = await open_session(wrapped)
        if is_stale:
            await wrapped.append_event(await reload(wrapped, session), make_event("other 0"))
        event = make_event("mine 0")
        with no_waiting():
            cancelled = await cancel_at(step, wrapped.append_event(session, event))
        stored = await assert_nothing_is_half_done(wrapped, session)
        assert stored.count(event.id) <= 1
        outcomes.add((cancelled, event.id in stored))
        if not cancelled:
            assert event.id in stored
            break
    engine = getattr(wrapped.service, "db_engine", None)
    if engine is not None and engine.dialect.name == "sqlite" and not is_stale:
        assert outcomes == {(True, True), (False, True)}, "what has begun is finished"
    else:
        assert (True, False) in outcomes, "no step was early enough"
        assert step > 3


@pytest.mark.asyncio
@pytest.mark.parametrize("service", STORES, indirect=True)
async def test_clients_that_disconnect_at_random_disturb_nobody_else(wrapped):
    chance = random.Random(4751)
    session = await open_session(wrapped)

    async def client(name, leaves):
        mine = await reload(wrapped, session)
        append = wrapped.append_event(mine, make_event(f"{name} 0"))
        if leaves:
            await cancel_task(chance.randint(1, 30), append)
        else:
            await append

    with no_waiting():
        await asyncio.gather(*(client(f"client{n}", leaves=n % 2 == 0) for n in range(20)))
    stored = [message_of(event) for event in (await reload(wrapped, session)).events]
    assert len(set(stored)) == len(stored)
    assert {f"client{n} 0" for n in range(1, 20, 2)} <= set(stored)
    await assert_nothing_is_half_done(wrapped, session)


@pytest.fixture
def service_in_memory():
    """In memory, and stale as long as it is told to be."""

    class Service(InMemorySessionService):
        stale = True

        async def append_event(self, session, event):
            if self.stale:
                raise StaleSessionError
            return await super().append_event(session, event)

    return Service()


@pytest.mark.asyncio
async def test_a_shutdown_ends_an_append_that_is_retried_and_nothing_is_stored(service_in_memory):
    shutdown = asyncio.Event()
    wrapped = RetryingSessionService(
        service_in_memory,
        stop=stop_when_event_set(shutdown),
        deadline=None,
        observers=lambda event: event.attempt == 3 and shutdown.set(),
    )
    session = await open_session(wrapped)
    with no_waiting(), pytest.raises(StaleSessionError) as caught:
        await wrapped.append_event(session, make_event("mine 0"))
    assert "the stop strategy ended it" in str(getattr(caught.value, "__notes__", "the stop strategy said so"))
    assert not session.events
    service_in_memory.stale = False
    await assert_nothing_is_half_done(wrapped, session)


@pytest.mark.asyncio
async def test_a_timeout_around_an_append_ends_it_while_it_waits(service_in_memory):
    wrapped = RetryingSessionService(service_in_memory, backoff=constant(60), jitter=None, observers=())
    session = await open_session(wrapped)
    with anyio.move_on_after(0.01) as scope:
        await wrapped.append_event(session, make_event("mine 0"))
    assert scope.cancelled_caught
    service_in_memory.stale = False
    await assert_nothing_is_half_done(wrapped, session)


@pytest.mark.asyncio
@pytest.mark.parametrize("service", ["postgres"], indirect=True)
async def test_a_timeout_around_an_append_ends_it_while_the_database_keeps_it_waiting(wrapped, postgres):
    session = await open_session(wrapped)
    holder = await postgres.connect()
    async with holder.transaction():
        await holder.execute("SELECT 1 FROM sessions WHERE id = $1 FOR UPDATE", session.id)
        with anyio.move_on_after(0.05) as scope:
            await wrapped.append_event(session, make_event("mine 0"))
    await holder.close()
    assert scope.cancelled_caught
    assert not (await reload(wrapped, session)).events
    await assert_nothing_is_half_done(wrapped, session)


@pytest.mark.asyncio
async def test_a_task_group_that_fails_elsewhere_ends_every_append_and_frees_the_slot(service_in_memory):
    failing = asyncio.Event()
    waiting = itertools.count(1)
    wrapped = RetryingSessionService(
        service_in_memory, backoff=constant(0), jitter=None, observers=lambda _: next(waiting) == 20 and failing.set()
    )
    session = await open_session(wrapped)
    handles = [await reload(wrapped, session) for _ in range(5)]

    async def fail():
        await failing.wait()
        raise KeyError("elsewhere")

    with pytest.raises(BaseException) as caught:
        async with anyio.create_task_group() as group:
            for number, handle in enumerate(handles):
                group.start_soon(wrapped.append_event, handle, make_event(f"writer{number} 0"))
            group.start_soon(fail)
    assert caught.group_contains(KeyError)
    assert len(wrapped.retrying.queues) == 0
    service_in_memory.stale = False
    for handle in handles:
        assert not handle.events
        await wrapped.append_event(handle, make_event("next 0"))
    assert len((await reload(wrapped, session)).events) == 5
