"""A caller that is cancelled never goes on and stores, wherever the cancellation arrives and whatever the driver makes
of it.
"""

import asyncio
import sys

import anyio
import pytest

from stale_retry import StaleSessionError, constant, retry_on_stale_session
from stale_retry.testing import VersionedStore

from .ways import WAYS, append_in, by_id

if sys.version_info < (3, 11):
    pytest.skip(
        "nobody counts cancellations, so one that a driver turned into an error is none", allow_module_level=True
    )

pytestmark = [pytest.mark.anyio, pytest.mark.parametrize("anyio_backend", ["asyncio"])]

PLACES = ["append", "early refresh", "refresh", "find_stored", "hook", "slot", "backoff"]


class Driver:
    """It hangs in one place, and turns a cancellation there into an error of its own."""

    def __init__(self, place):
        self.place = place
        self.store = VersionedStore()
        self.reached = asyncio.Event()
        self.attempts = []
        self.rejects = place not in ("append", "early refresh", "slot")

    async def hang(self):
        self.reached.set()
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            raise ConnectionError("the connection was lost") from None

    async def append(self, session, event):
        self.attempts.append(event)
        if event == "other":
            if self.place == "slot":
                self.reached.set()
            await asyncio.sleep(0.02)
        elif self.place == "append":
            await self.hang()
        elif self.rejects:
            self.rejects = False
            if self.place == "backoff":
                self.reached.set()
            raise StaleSessionError
        return await self.store.append(session, event)

    async def refresh(self, session):
        if self.place in ("refresh", "early refresh"):
            await self.hang()
        return self.store.open()

    async def find_stored(self, session):
        if self.place == "find_stored":
            await self.hang()

    async def hook(self, conflict):
        if self.place == "hook":
            await self.hang()


async def by_cancel(driver, call):
    task = asyncio.ensure_future(call)
    await driver.reached.wait()
    task.cancel()
    await asyncio.wait({task})
    return "cancelled" if task.cancelled() else task.exception()


async def by_timeout(driver, call):
    try:
        async with asyncio.timeout(None) as limit:
            asyncio.ensure_future(end_soon(driver, lambda: limit.reschedule(0)))  # noqa: RUF006
            return await call
    except TimeoutError:
        return "cancelled"
    except Exception as error:
        return error


async def by_scope(driver, call):
    with anyio.CancelScope() as scope:
        asyncio.ensure_future(end_soon(driver, scope.cancel))  # noqa: RUF006
        try:
            return await call
        except Exception as error:
            return error
    return "cancelled"


async def end_soon(driver, end):
    await driver.reached.wait()
    end()


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("ended", [by_cancel, by_timeout, by_scope])
async def test_a_cancelled_caller_makes_no_further_attempt_and_leaves_no_slot(way, place, ended):
    driver = Driver(place)
    policy = retry_on_stale_session(
        driver.refresh,
        key=by_id,
        on=(StaleSessionError, ConnectionError),
        find_stored=driver.find_stored,
        on_conflict=() if place == "early refresh" else driver.hook,
        backoff=constant(10 if place == "backoff" else 0.001),
        jitter=None,
        observers=(),
    )
    other = None
    if place in ("early refresh", "slot"):
        other = asyncio.create_task(policy.call(driver.append, driver.store.open(), "other"))
        await asyncio.sleep(0)
    outcome = await ended(driver, append_in(way, policy, driver.append, driver.store.open(), "mine"))
    attempts = list(driver.attempts)
    if other is not None:
        await other
    await asyncio.sleep(0.03)
    assert outcome == "cancelled" or isinstance(outcome, ConnectionError)
    assert driver.attempts == attempts
    assert "mine" not in driver.store.events()
    assert len(policy.queues) == 0
