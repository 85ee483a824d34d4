"""Checked by `mypy --strict`, never run: a decorated append keeps its parameters and its result.

A line that must be a type error says so with an ignore, and an ignore that is not needed is an error itself.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from functools import partial

from typing_extensions import assert_type

from stale_retry import (
    CLASSIC_SCHEDULE,
    Attempts,
    StaleSessionRetrying,
    exponential,
    local_gate,
    retry_on_stale_session,
)


class Session:
    id: str


class Event: ...


class Stored: ...


async def refresh(session: Session) -> Session | None:
    return session


async def refresh_of_method(store: Store, session: Session) -> Session | None:
    return session


retrying = retry_on_stale_session(refresh)
assert_type(retrying, StaleSessionRetrying)
session, event = Session(), Event()


# A function


@retry_on_stale_session(refresh)
async def append(session: Session, event: Event, *, flush: bool = False) -> Stored:
    """Store it."""
    return Stored()


async def function() -> None:
    assert_type(await append(session, event), Stored)
    assert_type(await append(session, event=event, flush=True), Stored)
    await append(session, "event")  # type: ignore[arg-type]
    await append(event, event)  # type: ignore[arg-type]
    await append(session, event, True)  # type: ignore[call-arg]
    await append(session)  # type: ignore[call-arg]
    await append(session, event, flash=True)  # type: ignore[call-arg]
    _: Event = await append(session, event)  # type: ignore[assignment]
    assert_type(append.retrying, StaleSessionRetrying)
    assert_type(await append.retry_with(max_attempts=3)(session, event), Stored)
    await append.retry_with(max_attempts=3)(session, "event")  # type: ignore[arg-type]
    append.retry_with(max_attempts="3")  # type: ignore[arg-type]
    append.retry_with(attempts=3)  # type: ignore[call-arg]


# Methods


class Store:
    @retry_on_stale_session(refresh_of_method)
    async def append(self, session: Session, event: Event) -> Stored:
        return Stored()

    @classmethod
    @retry_on_stale_session(lambda cls, session: session)
    async def append_below(cls, session: Session, event: Event) -> Stored:
        return Stored()

    @retry_on_stale_session(lambda cls, session: session)
    @classmethod
    async def append_above(cls, session: Session, event: Event) -> Stored:
        return Stored()

    @staticmethod
    @retry_on_stale_session(refresh)
    async def static_below(session: Session, event: Event) -> Stored:
        return Stored()

    @retry_on_stale_session(refresh)
    @staticmethod
    async def static_above(session: Session, event: Event) -> Stored:
        return Stored()

    async def plain(self, session: Session, event: Event) -> Stored:
        return Stored()

    async def calls_its_own(self) -> Stored:
        await self.append(self, session, event)  # type: ignore[call-arg, arg-type]
        return await self.append(session, event)


class SubStore(Store):
    async def plain(self, session: Session, event: Event) -> Stored:
        return await super().append(session, event)


store = Store()


async def method() -> None:
    assert_type(await store.append(session, event), Stored)
    assert_type(await SubStore().append(session, event=event), Stored)
    await store.append(session, "event")  # type: ignore[arg-type]
    await store.append(session)  # type: ignore[call-arg]
    assert_type(await Store.append(store, session, event), Stored)
    await Store.append(session, event)  # type: ignore[call-arg]
    assert_type(store.append.retrying, StaleSessionRetrying)
    assert_type(await store.append.retry_with(deadline=1.0)(session, event), Stored)
    await store.append.retry_with(deadline=1.0)(store, session, event)  # type: ignore[call-arg, arg-type]
    assert_type(await Store.append.retry_with(deadline=1.0)(store, session, event), Stored)
    store.append.retry_with(deadline="1")  # type: ignore[arg-type]


async def class_method() -> None:
    assert_type(await store.append_below(session, event), Stored)
    assert_type(await store.append_above(session, event), Stored)
    await store.append_below(session, "event")  # type: ignore[arg-type]
    await store.append_above(session)  # type: ignore[call-arg]
    assert_type(await Store.append_below.retry_with(deadline=1.0)(Store, session, event), Stored)


async def static_method() -> None:
    assert_type(await Store.static_below(session, event), Stored)
    assert_type(await Store.static_above(session, event), Stored)
    await Store.static_below(session, "event")  # type: ignore[arg-type]
    await Store.static_above(session)  # type: ignore[call-arg]


# Mypy binds a decorated append as if it were a method, whatever classmethod and staticmethod say: it asks its type
# alone. These calls are right all the same. Once mypy knows better, these ignores are errors, and can go.


async def what_mypy_does_not_see() -> None:
    await Store.append_below(session, event)  # type: ignore[call-arg]
    await Store.append_above(session, event)  # type: ignore[call-arg]
    await store.static_below(session, event)  # type: ignore[call-arg, arg-type]
    await store.static_above(session, event)  # type: ignore[call-arg, arg-type]


# Other callables


class Append:
    async def __call__(self, session: Session, event: Event) -> Stored:
        return Stored()


async def callables() -> None:
    assert_type(await retrying(Append())(session, event), Stored)
    assert_type(await retrying(store.plain)(session, event), Stored)
    await retrying(store.plain)(session, "event")  # type: ignore[arg-type]
    assert_type(await retrying(partial(store.plain, event=event))(session), Stored)


def plain(session: Session, event: Event) -> Stored:
    return Stored()


async def generator(session: Session, event: Event) -> AsyncIterator[Stored]:
    yield Stored()


retrying(plain)  # type: ignore[arg-type]
retrying(generator)  # type: ignore[arg-type]


# One call, and a block


async def call() -> None:
    assert_type(await retrying.call(append, session, event, flush=True), Stored)
    assert_type(await retrying.call(store.plain, session, event=event), Stored)
    await retrying.call(store.plain, session, "event")  # type: ignore[arg-type]
    await retrying.call(store.plain, session)  # type: ignore[call-arg]
    await retrying.call(plain, session, event)  # type: ignore[arg-type]


async def attempts() -> None:
    block = retrying.attempts(session)
    assert_type(block, Attempts[Session])
    async for attempt in block:
        with attempt:
            assert_type(attempt.session, Session)
            assert_type(await append(attempt.session, event), Stored)
    async for attempt in block:
        async with attempt:
            assert_type(attempt.number, int)
    retrying.attempts()  # type: ignore[call-overload]


# A function that may return nothing, after its block: the retry may swallow the error in it


async def block_that_returns() -> Stored | None:
    async for attempt in retrying.attempts(session):
        with attempt:
            return await append(attempt.session, event)
    return None


# Options


def options() -> None:
    retry_on_stale_session(refresh, **CLASSIC_SCHEDULE)
    retry_on_stale_session(refresh, deadline=timedelta(seconds=5), gate=local_gate(lambda session: session.id))
    retry_on_stale_session(refresh, on=(ConnectionError, TimeoutError), backoff=exponential(0.1) + exponential(1))
    retry_on_stale_session(refresh, on=lambda error: isinstance(error, OSError), observers=[print, print])
    retry_on_stale_session()  # type: ignore[call-arg]
    retry_on_stale_session(refresh, jitter="full")  # type: ignore[arg-type]
    retry_on_stale_session(refresh, max_attempts=2.5)  # type: ignore[arg-type]
    retry_on_stale_session(refresh, max_attempt=3)  # type: ignore[arg-type]
    assert_type(retrying.replace(max_attempts=3), StaleSessionRetrying)
    retrying.replace(max_attempt=3)  # type: ignore[call-arg]
    assert_type(retrying.schedule(3), list[float])
