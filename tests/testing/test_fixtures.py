"""`no_waiting` in the fixtures that users write: what a fixture enters, the test runs in."""

import sys
import unittest

import pytest
import pytest_asyncio
from tenacity import wait_fixed

from stale_retry import retry_on_stale_session
from stale_retry.testing import Faults, VersionedStore, no_waiting


async def told_of_one_retry_after_hours(events):
    store = VersionedStore(Faults(stale=1))
    retrying = retry_on_stale_session(store.refresh, backoff=wait_fixed(10_000), deadline=None, max_attempts=2)
    await retrying.call(store.append, store.open(), "event")
    return [event.kind for event in events] == ["retrying", "recovered"]


@pytest.fixture
def retries():
    with no_waiting() as events:
        yield events


@pytest_asyncio.fixture
async def retries_of_an_async_fixture():
    with no_waiting() as events:
        yield events


@pytest.fixture
async def retries_of_an_anyio_fixture():
    with no_waiting() as events:
        yield events


@pytest.mark.asyncio
async def test_a_sync_fixture_serves_pytest_asyncio(retries):
    assert await told_of_one_retry_after_hours(retries)


@pytest.mark.asyncio
async def test_an_async_fixture_serves_pytest_asyncio(retries_of_an_async_fixture):
    assert await told_of_one_retry_after_hours(retries_of_an_async_fixture)


@pytest.mark.asyncio(loop_scope="module")
async def test_a_sync_fixture_serves_an_event_loop_that_is_older_than_it(retries):
    assert await told_of_one_retry_after_hours(retries)


@pytest.mark.anyio
async def test_a_sync_fixture_serves_anyio(retries):
    assert await told_of_one_retry_after_hours(retries)


@pytest.mark.anyio
async def test_an_async_fixture_serves_anyio(retries_of_an_anyio_fixture):
    assert await told_of_one_retry_after_hours(retries_of_an_anyio_fixture)


if sys.version_info >= (3, 11):  # before, unittest runs setUp in one context and the test in another

    class TestUnittest(unittest.IsolatedAsyncioTestCase):
        def setUp(self):
            self.events = self.enterContext(no_waiting())

        async def test_set_up_serves_unittest(self):
            assert await told_of_one_retry_after_hours(self.events)
