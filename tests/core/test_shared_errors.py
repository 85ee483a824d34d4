"""Errors that outlive their call, or pass through several: what one call met says nothing to another."""

import gc
import weakref

import pytest

from stale_retry import StaleSessionError, StaleSessionRetryError, constant, retry_on_stale_session

from .ways import SOON, WAYS, append_in

pytestmark = pytest.mark.anyio


class Thing:
    """A session or an event that can be watched."""


@pytest.fixture
def closed():
    """An error object that a driver keeps, as the reason why its connection was closed."""
    return ConnectionError("the connection was closed")


def store_that_raises(*errors):
    """An append that meets the errors in turn, with the events that it stored."""
    left, stored = list(errors), []

    async def append(session, event):
        error = left.pop(0) if left else None
        if not isinstance(error, StaleSessionError):
            stored.append(event)
        if error is not None:
            raise error
        return event

    return append, stored


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("rejections", [1, 2])
async def test_an_error_that_a_nested_append_ends_with_is_no_rejection_to_the_outer_one(way, rejections, closed):
    append, stored = store_that_raises(*[StaleSessionError() for _ in range(rejections)], closed)
    policy = retry_on_stale_session(lambda session: session, **SOON)

    async def outer(session, event):
        return await append_in(way, policy, append, session, event)

    with pytest.raises(ConnectionError) as caught:
        await append_in(way, policy, outer, "session", "event")
    assert caught.value is closed
    assert isinstance(closed.__cause__, StaleSessionError)
    assert stored == ["event"]


@pytest.mark.parametrize("way", WAYS)
async def test_an_error_object_that_ended_an_earlier_call_is_no_rejection_to_the_next(way, closed):
    append, stored = store_that_raises(StaleSessionError(), closed, closed)
    policy = retry_on_stale_session(lambda session: session, **SOON)
    for event in ("first", "second"):
        with pytest.raises(ConnectionError):
            await append_in(way, policy, append, "session", event)
    assert stored == ["first", "second"]


async def test_an_error_that_the_store_itself_raised_from_a_rejection_is_one():
    calls = []

    @retry_on_stale_session(lambda session: session, **SOON)
    async def append(session, event):
        calls.append(event)
        if len(calls) == 1:
            raise RuntimeError("not saved") from StaleSessionError()

    await append("session", "event")
    assert len(calls) == 2


@pytest.mark.parametrize("where", ["append", "behind the append's", "hook", "refresh"])
async def test_an_error_object_that_is_raised_by_every_call_collects_nothing_of_them(where, closed):
    alive, attempts = [], 0

    def new_session():
        session = Thing()
        alive.append(weakref.ref(session))
        return session

    async def append(session, event):
        nonlocal attempts
        attempts += 1
        if attempts % 2 or where in ("hook", "refresh"):
            raise StaleSessionError
        if where == "append":
            raise closed
        raise RuntimeError from closed

    def refresh(session):
        if where == "refresh":
            raise closed
        return new_session()

    def hook(conflict):
        if where == "hook":
            raise RuntimeError from closed

    policy = retry_on_stale_session(
        refresh, on_conflict=hook, backoff=constant(0), jitter=None, observers=(), reraise=True
    )
    for event in range(30):
        with pytest.raises((ConnectionError, RuntimeError, StaleSessionRetryError)):
            await policy.call(append, new_session(), event)
    closed.__traceback__ = None  # which an object that is raised again and again collects by itself
    gc.collect()
    links, link = 0, closed
    while link is not None:
        links, link = links + 1, link.__cause__ or link.__context__
    assert links <= 3
    assert sum(reference() is not None for reference in alive) <= 2
