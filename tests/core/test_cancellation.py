"""Cancellation is never swallowed and never retried, and nothing is held after it."""

import asyncio
import sys

import anyio
import pytest

from stale_retry import InDoubtError, StaleSessionError, constant, retry_on_stale_session

from .virtual import run
from .ways import SOON, WAYS, append_in

if sys.version_info < (3, 11):
    from exceptiongroup import ExceptionGroup

pytestmark = pytest.mark.anyio
on_asyncio = pytest.mark.parametrize("anyio_backend", ["asyncio"])
counted = pytest.mark.skipif(sys.version_info < (3, 11), reason="nobody counts cancellations before")

queued = pytest.mark.parametrize("key", [None, repr], ids=["no queue", "queue"])


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
@on_asyncio
@pytest.mark.parametrize("way", WAYS)
@queued
@pytest.mark.parametrize("rejections", [0, 1])
@pytest.mark.parametrize("accepted_by", ["on", "in_doubt"])
async def test_a_cancellation_that_the_append_turned_into_an_error_is_not_retried(way, key, rejections, accepted_by):
    driver = Driver(rejections)
    options = (
        {"in_doubt": ConnectionError} if accepted_by == "in_doubt" else {"on": (ConnectionError, StaleSessionError)}
    )
    policy = retry_on_stale_session(
        lambda session: session, **SOON, key=key, on_conflict=lambda conflict: None, **options
    )
    task = asyncio.create_task(append_in(way, policy, driver.append, "session", "event"))
    await driver.reached.wait()
    task.cancel()
    with pytest.raises(ConnectionError, match="the connection was lost"):
        await task
    assert driver.calls == rejections + 1
    assert key is None or len(policy.queues) == 0


@counted
@on_asyncio
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
@on_asyncio
@queued
async def test_an_append_made_while_a_cancellation_is_being_handled_is_retried_like_any_other(key):
    calls = []

    @retry_on_stale_session(lambda session: session, key=key, **SOON)
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
@on_asyncio
@pytest.mark.parametrize("way", WAYS)
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


class TestEverywhere:
    @pytest.mark.parametrize("where", ["append", "wait", "queue", "refresh", "find_stored", "hook"])
    async def test_it_propagates_from_everywhere_and_is_never_retried(self, where):
        reached, finished = [], []
        scope = anyio.CancelScope()

        async def hang_in(step):
            if step == where:
                reached.append(step)
                scope.cancel()
                await anyio.sleep_forever()

        async def refresh(session):
            await hang_in("refresh")
            return session

        async def find_stored(session):
            await hang_in("find_stored")

        async def on_conflict(conflict):
            await hang_in("hook")

        def backoff(state):
            if where == "wait":
                reached.append("wait")
                scope.deadline = anyio.current_time() + 0.01
                return 60
            return 0

        policy = retry_on_stale_session(
            refresh,
            key=str,
            find_stored=find_stored,
            on_conflict=on_conflict,
            backoff=backoff,
            jitter=None,
            observers=(),
        )

        async def append(session, event):
            if event == "holder":
                await anyio.sleep_forever()
            await hang_in("append")
            if len(finished) == 0:
                finished.append("rejected")
                raise StaleSessionError
            finished.append("stored")

        async with anyio.create_task_group() as tasks:
            if where == "queue":
                tasks.start_soon(policy.call, append, "session", "holder")
                await anyio.wait_all_tasks_blocked()
                scope.deadline = anyio.current_time() + 0.01
                reached.append("queue")
            with scope:
                await policy.call(append, "session", "event")
            tasks.cancel_scope.cancel()
        assert scope.cancelled_caught
        assert "stored" not in finished
        assert reached == [where]
        assert len(policy.queues) == 0

    @pytest.mark.parametrize("way", WAYS)
    async def test_on_exception_never_retries_a_cancellation(self, way):
        calls = 0
        policy = retry_on_stale_session(lambda session: session, on=Exception, **SOON)

        async def append(session):
            nonlocal calls
            calls += 1
            await anyio.sleep_forever()

        with anyio.move_on_after(0.01) as scope:
            await append_in(way, policy, append)
        assert scope.cancelled_caught
        assert calls == 1

    @pytest.mark.parametrize("raised", [asyncio.CancelledError, KeyboardInterrupt, SystemExit, GeneratorExit])
    @pytest.mark.parametrize("on", [BaseException, lambda error: True])
    @pytest.mark.parametrize("way", WAYS)
    @pytest.mark.parametrize("rejections", [0, 1])
    def test_what_is_no_exception_is_never_retried(self, raised, on, way, rejections):
        calls = 0
        policy = retry_on_stale_session(lambda session: session, on=on, **SOON)

        async def append(session):
            nonlocal calls
            calls += 1
            raise StaleSessionError if calls <= rejections else raised

        async def main():
            try:
                await append_in(way, policy, append)
            except BaseException as error:
                return type(error)

        assert run(main) is raised
        assert calls == rejections + 1


@pytest.mark.asyncio
@pytest.mark.parametrize("where", ["wait", "append"])
async def test_a_native_cancellation_propagates(where):
    there = asyncio.Event()

    @retry_on_stale_session(lambda session: "fresh", backoff=constant(0 if where == "append" else 60), observers=())
    async def append(session, event):
        there.set()
        if session == "fresh":
            await asyncio.sleep(60)
        raise StaleSessionError

    task = asyncio.create_task(append("session", "event"))
    await there.wait()
    await asyncio.sleep(0.01)
    task.cancel()
    await asyncio.wait([task])
    assert task.cancelled()


@pytest.mark.skipif(sys.version_info < (3, 11), reason="a task of Python 3.10 does not count its cancellations")
@pytest.mark.parametrize("first", ["deadline", "cancellation"])
def test_a_native_cancellation_at_the_very_instant_of_the_deadline_is_not_swallowed(first):
    async def refresh(session):
        await asyncio.sleep(60)

    @retry_on_stale_session(refresh, deadline=5, **{**SOON, "backoff": constant(1)})
    async def append(session):
        raise StaleSessionError

    async def main():
        loop = asyncio.get_running_loop()
        task = asyncio.create_task(append("session"))
        if first == "cancellation":
            loop.call_at(5, task.cancel)
        await asyncio.sleep(2)
        if first == "deadline":
            loop.call_at(5, task.cancel)
        await asyncio.wait([task])
        return task.cancelled(), loop.time()

    assert run(main) == (True, 5)
