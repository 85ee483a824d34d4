"""Cancellation is never swallowed and never retried, and nothing is held after it."""

import asyncio
import sys
from contextlib import asynccontextmanager

import anyio
import pytest

from stale_retry import InDoubtError, StaleSessionError, retry_on_stale_session

from .ways import SOON, append_in

if sys.version_info < (3, 11):
    from exceptiongroup import ExceptionGroup

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.parametrize("anyio_backend", ["asyncio"]),
]
counted = pytest.mark.skipif(sys.version_info < (3, 11), reason="nobody counts cancellations before")

GATES = {
    "no gate": None,
    "a local gate": local_gate(str),
    "a foreign gate": lambda session: anyio.Lock(),
    "both": [local_gate(str), lambda session: anyio.Lock()],
}


class Driver:
    """One that turns a cancellation into a connection error of its own, as some do."""

    def __init__(self, rejections=0):
        self.rejections = rejections
        self.calls = 0
        self.reached = asyncio.Event()

    async def append(self, session, event):
        self.calls += 1
        if self.calls <= self.rejections:
            raise StaleSessionError
        self.reached.set()
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            raise ConnectionError("the connection was lost") from None


def free(gate):
    return all(len(one) == 0 for one in (gate if isinstance(gate, list) else [gate]) if hasattr(one, "__len__"))


@counted
@pytest.mark.parametrize("way", ["decorator", "with", "async with"])
@pytest.mark.parametrize("gate", GATES)
@pytest.mark.parametrize("rejections", [0, 1])
@pytest.mark.parametrize("accepted_by", ["on", "in_doubt"])
async def test_a_cancellation_that_the_append_turned_into_an_error_is_not_retried(way, gate, rejections, accepted_by):
    driver = Driver(rejections)
    options = (
        {"in_doubt": ConnectionError} if accepted_by == "in_doubt" else {"on": (ConnectionError, StaleSessionError)}
    )
    policy = retry_on_stale_session(
        lambda session: session, **SOON, gate=GATES[gate], on_conflict=lambda conflict: None, **options
    )
    task = asyncio.create_task(append_in(way, policy, driver.append, "session", "event"))
    await driver.reached.wait()
    task.cancel()
    with pytest.raises(ConnectionError, match="the connection was lost"):
        await task
    assert driver.calls == rejections + 1
    assert free(GATES[gate])


@counted
async def test_asyncio_timeout_and_task_groups_around_it_end_as_they_would_without_us():
    policy = retry_on_stale_session(lambda session: session, on=ConnectionError, **SOON)
    driver = Driver()
    with pytest.raises(ConnectionError):
        async with asyncio.timeout(0.01):
            await policy.call(driver.append, "session", "event")
    assert driver.calls == 1

    async def fails():
        await driver.reached.wait()
        raise ZeroDivisionError

    driver = Driver()
    with pytest.raises(ExceptionGroup) as caught:
        async with asyncio.TaskGroup() as group:
            group.create_task(policy.call(driver.append, "session", "event"))
            group.create_task(fails())
    assert driver.calls == 1
    assert {type(error) for error in caught.value.exceptions} <= {ZeroDivisionError, ConnectionError}


@counted
@pytest.mark.parametrize("gate", GATES)
async def test_an_append_made_while_a_cancellation_is_being_handled_is_retried_like_any_other(gate):
    calls = []

    @retry_on_stale_session(lambda session: session, gate=GATES[gate], **SOON)
    async def append(session, event):
        calls.append(event)
        if len(calls) < 3:
            raise StaleSessionError

    async def turn():
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            await append("session", "stopped")
            raise

    task = asyncio.create_task(turn())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert calls == ["stopped"] * 3


@counted
@pytest.mark.parametrize("way", ["decorator", "with", "async with"])
async def test_an_attempt_that_attempt_timeout_cancelled_is_judged_though_the_append_made_an_error_of_it(way):
    driver = Driver()
    policy = retry_on_stale_session(
        lambda session: session,
        **SOON,
        in_doubt=ConnectionError,
        on_conflict=lambda conflict: None,
        attempt_timeout=0.01,
        max_attempts=2,
    )
    with pytest.raises(InDoubtError):
        await append_in(way, policy, driver.append, "session", "event")
    assert driver.calls == 2
    assert asyncio.current_task().cancelling() == 0


@pytest.mark.parametrize("way", ["decorator", "with", "async with"])
@pytest.mark.parametrize("leaving", ["after a success", "after a rejection", "after another error"])
async def test_a_cancellation_while_a_gate_is_left_leaves_no_place_held(way, leaving, recwarn):
    leaves, go_on = asyncio.Event(), asyncio.Event()
    local = local_gate(str)
    calls = []

    @asynccontextmanager
    async def slow(session):
        yield
        leaves.set()
        await go_on.wait()

    async def append(session, event):
        calls.append(event)
        if len(calls) == 1:
            raise StaleSessionError
        if leaving == "after a rejection":
            raise StaleSessionError
        if leaving == "after another error":
            raise KeyError

    policy = retry_on_stale_session(lambda session: session, gate=[local, slow], **SOON)
    task = asyncio.create_task(append_in(way, policy, append, "session", "event"))
    await leaves.wait()
    task.cancel()
    if way == "with" and leaving == "after another error":
        with pytest.raises((KeyError, asyncio.CancelledError)):
            await task
    else:
        with pytest.raises(asyncio.CancelledError):
            await task
    assert len(local) == 0
    go_on.set()
    assert len(calls) == 2
    assert not [warning for warning in recwarn if warning.category is ResourceWarning]


@pytest.mark.parametrize("way", ["decorator", "with", "async with"])
async def test_a_cancellation_while_one_gate_is_left_leaves_the_others_too(way):
    leaves, left = asyncio.Event(), []

    @asynccontextmanager
    async def first(session):
        yield
        left.append("first")

    @asynccontextmanager
    async def last(session):
        yield
        leaves.set()
        await asyncio.sleep(60)

    async def append(session, event):
        raise StaleSessionError

    policy = retry_on_stale_session(lambda session: session, gate=[first, last], **SOON)
    task = asyncio.create_task(append_in(way, policy, append, "session", "event"))
    await leaves.wait()
    task.cancel()
    # What is raised keeps the call alive, so nothing is left by its being freed.
    with pytest.raises(asyncio.CancelledError) as caught:
        await task
    await asyncio.sleep(0.001)
    assert left == ["first"]
    del caught


async def test_a_gate_that_is_cancelled_by_itself_is_not_taken_for_entered():
    calls = []

    async def append(session, event):
        calls.append(event)
        raise StaleSessionError

    @asynccontextmanager
    async def broken(session):
        raise asyncio.CancelledError
        yield

    policy = retry_on_stale_session(lambda session: session, gate=broken, max_attempts=3, **SOON)
    with pytest.raises(asyncio.CancelledError):
        await policy.call(append, "session", "event")
    assert len(calls) == 1


async def test_a_native_cancellation_does_not_interrupt_the_leaving_of_a_gate():
    inside, go_on, calls, left = asyncio.Event(), asyncio.Event(), [], []

    @asynccontextmanager
    async def gate(session):
        try:
            yield
        finally:
            await go_on.wait()
            left.append(session)

    async def append(session, event):
        calls.append(event)
        if len(calls) == 1:
            raise StaleSessionError
        inside.set()
        await asyncio.sleep(60)

    policy = retry_on_stale_session(lambda session: session, gate=gate, **SOON)
    task = asyncio.create_task(policy.call(append, "session", "event"))
    await inside.wait()
    task.cancel()
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not left
    go_on.set()
    for _ in range(5):
        await asyncio.sleep(0)
    assert left == ["session"]
