"""Appends around, inside and after task groups, and calls made in child tasks."""

import asyncio
import sys
from contextlib import suppress

import anyio
import pytest

from stale_retry import StaleSessionError, constant, retry_on_stale_session, retry_transaction
from stale_retry.testing import VersionedStore

from .ways import SOON, WAYS, append_in, by_id

if sys.version_info < (3, 11):
    from exceptiongroup import BaseExceptionGroup, ExceptionGroup

    pytest.skip("asyncio has no task groups, and counts no cancellations", allow_module_level=True)

pytestmark = [pytest.mark.anyio, pytest.mark.parametrize("anyio_backend", ["asyncio"])]

OPTIONS = pytest.mark.parametrize(
    "options", [{}, {"key": by_id}, {"attempt_timeout": 5}], ids=["plain", "key", "timeout"]
)


@pytest.fixture
def store():
    return VersionedStore()


async def behind(store):
    """A session that another writer has made stale."""
    session = store.open()
    await store.append(store.open(), "other")
    return session


@OPTIONS
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("framework", ["asyncio", "anyio"])
async def test_a_rejection_that_surfaces_from_a_group_inside_the_append_is_retried(store, way, options, framework):
    async def insert(session, event):
        await asyncio.sleep(0.001)
        await store.append(session, event)

    async def append(session, event):
        if framework == "asyncio":
            async with asyncio.TaskGroup() as group:
                group.create_task(insert(session, event))
        else:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(insert, session, event)

    policy = retry_on_stale_session(store.refresh, **SOON, **options)
    await append_in(way, policy, append, await behind(store), "mine")
    assert store.events() == ["other", "mine"]


async def a_group_that_failed():
    async def fail():
        await asyncio.sleep(0.001)
        raise KeyError

    with suppress(BaseExceptionGroup):
        async with asyncio.TaskGroup() as group:
            group.create_task(fail())


async def a_cancellation_that_was_swallowed():
    asyncio.get_running_loop().call_soon(asyncio.current_task().cancel)
    with suppress(asyncio.CancelledError):
        await asyncio.sleep(60)
    assert asyncio.current_task().cancelling()


@OPTIONS
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("earlier", [a_group_that_failed, a_cancellation_that_was_swallowed])
async def test_what_a_task_has_behind_it_changes_nothing(store, way, options, earlier):
    policy = retry_on_stale_session(store.refresh, **SOON, **options)

    async def worker():
        await earlier()
        for number in range(3):
            await append_in(way, policy, store.append, await behind(store), number)

    await asyncio.create_task(worker())
    assert [event for event in store.events() if event != "other"] == [0, 1, 2]


async def test_it_changes_nothing_for_a_transaction_either():
    calls = []

    @retry_transaction(key="chat", **SOON)
    async def save(chat):
        calls.append(chat)
        async with asyncio.TaskGroup() as group:
            group.create_task(asyncio.sleep(0))
            group.create_task(insert())

    async def insert():
        await asyncio.sleep(0)
        if len(calls) < 3:
            raise StaleSessionError

    await a_group_that_failed()
    await save("chat")
    assert len(calls) == 3


async def directly(call):
    return await call


async def by_timeout(call):
    async with asyncio.timeout(5):
        return await call


async def in_a_task_group(call):
    async with asyncio.TaskGroup() as group:
        group.create_task(call)


CHILDREN = [
    directly,
    by_timeout,
    in_a_task_group,
    asyncio.gather,
    asyncio.create_task,
    asyncio.shield,
    lambda call: asyncio.wait_for(call, 5),
]
NAMES = ["directly", "timeout", "TaskGroup", "gather", "create_task", "shield", "wait_for"]


class TestAnInnerCallThatGaveUp:
    """With `reraise` it ends with the store's own error, which the outer call would retry if it knew no better."""

    OPTIONS = {"backoff": constant(0), "jitter": None, "observers": (), "max_attempts": 3}  # noqa: RUF012

    async def calls_made(self, child, rejected, *, reraise=True):
        calls = 0

        async def append(session, event):
            nonlocal calls
            calls += 1
            await rejected()

        inner = retry_on_stale_session(lambda session: session, reraise=reraise, **self.OPTIONS)(append)

        @retry_on_stale_session(lambda session: session, reraise=reraise, **self.OPTIONS)
        async def outer(session, event):
            await child(inner(session, event))

        with pytest.raises((StaleSessionError, ExceptionGroup)):
            await outer("session", "event")
        return calls

    @pytest.mark.parametrize("reraise", [True, False])
    @pytest.mark.parametrize("child", CHILDREN, ids=NAMES)
    async def test_is_not_retried_by_the_outer_one_whichever_task_it_ran_in(self, child, reraise):
        async def rejected():
            raise StaleSessionError

        assert await self.calls_made(child, rejected, reraise=reraise) == 3

    @pytest.mark.parametrize("child", CHILDREN, ids=NAMES)
    async def test_is_not_retried_if_the_rejections_came_out_of_a_group(self, child):
        async def reject():
            raise StaleSessionError

        async def rejected():
            await in_a_task_group(reject())

        assert await self.calls_made(child, rejected) == 3
