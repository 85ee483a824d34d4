"""Cancellation is never swallowed and never retried, and nothing is held after it."""

import asyncio
import sys

import pytest

from stale_retry import InDoubtError, StaleSessionError, retry_on_stale_session

from .ways import SOON, append_in, keys_in_use

if sys.version_info < (3, 11):
    from exceptiongroup import ExceptionGroup

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.parametrize("anyio_backend", ["asyncio"]),
]
counted = pytest.mark.skipif(sys.version_info < (3, 11), reason="nobody counts cancellations before")

KEYS = {
    "no queue": None,
    "a queue": str,
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


@counted
@pytest.mark.parametrize("way", ["decorator", "with"])
@pytest.mark.parametrize("key", KEYS)
@pytest.mark.parametrize("rejections", [0, 1])
@pytest.mark.parametrize("accepted_by", ["on", "in_doubt"])
async def test_a_cancellation_that_the_append_turned_into_an_error_is_not_retried(way, key, rejections, accepted_by):
    driver = Driver(rejections)
    options = (
        {"in_doubt": ConnectionError} if accepted_by == "in_doubt" else {"on": (ConnectionError, StaleSessionError)}
    )
    policy = retry_on_stale_session(
        lambda session: session, **SOON, key=KEYS[key], on_conflict=lambda conflict: None, **options
    )
    task = asyncio.create_task(append_in(way, policy, driver.append, "session", "event"))
    await driver.reached.wait()
    task.cancel()
    with pytest.raises(ConnectionError, match="the connection was lost"):
        await task
    assert driver.calls == rejections + 1
    assert keys_in_use() == 0


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
@pytest.mark.parametrize("key", KEYS)
async def test_an_append_made_while_a_cancellation_is_being_handled_is_retried_like_any_other(key):
    calls = []

    @retry_on_stale_session(lambda session: session, key=KEYS[key], **SOON)
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
@pytest.mark.parametrize("way", ["decorator", "with"])
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
