"""A decorated function is what it was: the same parameters, the same result."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from functools import partial
from typing import Any

from store import AppendFunction, Event, Receipt, Session, event, load, session, store
from typing_extensions import assert_type

from stale_retry import StaleSessionRetrying, retry_on_stale_session, retry_with


@retry_on_stale_session(load)
async def append(session: Session, event: Event, *, flush: bool = False) -> Receipt:
    """Store it."""
    return Receipt(session.version + flush)


async def main() -> None:
    assert_type(await append(session, event), Receipt)
    assert_type(await append(session, event=event, flush=True), Receipt)
    print(append.__name__, append.__doc__)

    await append(session, "hello")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await append(event, session)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await append(session, event, True)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    await append(session)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    await append(session, event, flash=True)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    stored: Event = await append(session, event)  # type: ignore[assignment]  # pyright: ignore[reportAssignmentType]
    print(stored)


# Where a function is wanted


async def send_all(append: Callable[[Session, Event], Awaitable[Receipt]], events: list[Event]) -> list[Receipt]:
    return [await append(session, event) for event in events]


async def handed_on() -> None:
    await send_all(append, [event])
    await send_all(store.append, [event])
    callback: AppendFunction = append
    callback = store.append
    coroutine: Coroutine[Any, Any, Receipt] = callback(session, event)
    assert_type(await coroutine, Receipt)
    handlers: dict[str, AppendFunction] = {"function": append, "method": store.append}
    assert_type(await handlers["method"](session, event), Receipt)


# Another policy for the same append


async def in_a_hurry() -> None:
    soon = retry_with(append, deadline=1.0, max_attempts=3)
    assert_type(await soon(session, event, flush=True), Receipt)
    await soon(session, "hello")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    retry_with(append, max_attempts="3")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    retry_with(append, attempts=3)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    retry_with("append", deadline=1.0)  # type: ignore[type-var]  # pyright: ignore[reportArgumentType]


# One policy for many


retrying = retry_on_stale_session(load)
assert_type(retrying, StaleSessionRetrying)


@retrying
async def insert(session: Session, event: Event) -> Receipt:
    return Receipt(session.version)


@retrying
async def insert_many(session: Session, *events: Event, **flags: bool) -> list[Receipt]:
    return [await insert(session, event) for event in events]


async def many() -> None:
    assert_type(await insert(session, event), Receipt)
    assert_type(await insert_many(session, event, event, flush=True), list[Receipt])
    await insert_many(session, "hello")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


# Partials, and objects that are called


class Appender:
    async def __call__(self, session: Session, event: Event) -> Receipt:
        return Receipt(session.version)


async def other_callables() -> None:
    assert_type(await retrying(Appender())(session, event), Receipt)
    assert_type(await retrying(partial(insert, event=event))(session), Receipt)
    assert_type(await retrying(partial(store.append_once, event=event))(session), Receipt)
    assert_type(await retrying(store.append_once)(session, event), Receipt)
    await retrying(store.append_once)(session, "hello")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


# One call


async def one_call() -> None:
    assert_type(await retrying.call(insert, session, event), Receipt)
    assert_type(await retrying.call(append, session, event=event, flush=True), Receipt)
    assert_type(await retrying.call(store.append_once, session, event), Receipt)
    assert_type(await retrying.call(partial(store.append_once, event=event), session), Receipt)
    await retrying.call(insert, session, "hello")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await retrying.call(insert, session)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]


# What cannot be retried


def plain(session: Session, event: Event) -> Receipt:
    return Receipt(session.version)


async def generator(session: Session, event: Event) -> AsyncIterator[Receipt]:
    yield Receipt(session.version)


async def refused() -> None:
    retrying(plain)  # type: ignore[type-var]  # pyright: ignore[reportArgumentType]
    retrying(generator)  # type: ignore[type-var]  # pyright: ignore[reportArgumentType]
    await retrying.call(plain, session, event)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
