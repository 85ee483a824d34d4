"""Hooks, keys and observers of one's own types; and what a caller catches."""

from __future__ import annotations

import logging

from store import Event, Receipt, Session, Store, event, load, reload, session, store
from typing_extensions import assert_type

from stale_retry import (
    AttemptsExhaustedError,
    Conflict,
    DeadlineExceededError,
    InDoubtError,
    RetryEvent,
    SessionGoneError,
    SessionRefreshError,
    StaleSessionError,
    StaleSessionRetryError,
    retry_if_transient,
    retry_on_stale_session,
)
from stale_retry.observers.opentelemetry import OpenTelemetryObserver
from stale_retry.observers.prometheus import PrometheusObserver
from stale_retry.testing import VersionedSession, VersionedStore, no_waiting
from stale_retry.typing import ConflictHook, FindStored, Key, Kind, Observer, Reason, Refresh, Settled

# Refresh hooks


def reload_in_place(session: Session) -> Session:
    session.version += 1
    return session


def refresh_hooks() -> None:
    hooks: list[Refresh] = [load, reload_in_place, reload, store.load]
    for refresh in hooks:
        retry_on_stale_session(refresh)


# Conflict hooks


def rebase(conflict: Conflict[Session]) -> None:
    assert_type(conflict.fresh, Session)
    assert_type(conflict.stale.events, list[Event])
    assert_type(conflict.error, Exception)
    assert_type(conflict.attempt, int)
    conflict.arguments["event"] = Event(f"{conflict.arguments['event'].text} at {conflict.fresh.version}")
    conflict.fresh.append(event)  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType]
    conflict.fresh = conflict.stale  # type: ignore[misc]  # pyright: ignore[reportAttributeAccessIssue]


def settle_if_stored(conflict: Conflict[Session]) -> Settled | None:
    event: Event = conflict.arguments["event"]
    return conflict.settle(Receipt(conflict.fresh.version)) if event in conflict.fresh.events else None


async def look(conflict: Conflict[Session]) -> Settled | None:
    fresh = await load(conflict.fresh)
    return None if fresh else conflict.settle()


async def refuse(conflict: Conflict[Session]) -> None:
    raise PermissionError(conflict.fresh.id)


class Rebase:
    def __init__(self, store: Store) -> None:
        self.store = store

    async def on_conflict(self, conflict: Conflict[Session]) -> None:
        await self.store.load(conflict.fresh.id)

    def __call__(self, conflict: Conflict[Session]) -> Settled | None:
        return None


@retry_on_stale_session(load, in_doubt=retry_if_transient(), on_conflict=settle_if_stored)
async def append(session: Session, event: Event) -> Receipt:
    return Receipt(session.version)


def conflict_hooks() -> None:
    hooks: list[ConflictHook] = [rebase, settle_if_stored, look, refuse, Rebase(store), Rebase(store).on_conflict]
    retry_on_stale_session(load, on_conflict=hooks)
    retry_on_stale_session(load, on_conflict=[rebase, look])
    retry_on_stale_session(load, on_conflict=(rebase, look, refuse))
    retry_on_stale_session(load, on_conflict=lambda conflict: conflict.settle(None))
    retry_on_stale_session(load, on_conflict=returns_a_session)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    retry_on_stale_session(load, on_conflict=load)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


def returns_a_session(conflict: Conflict[Session]) -> Session:
    return conflict.fresh


# The queue's key, and looking for an event


def by_id(session: Session) -> str:
    return session.id


async def find_stored(session: Session, event: object) -> bool:
    return False


def keys_and_finders() -> None:
    keys: list[Key | None] = [by_id, lambda session: (session.id, session.version), None]
    finders: list[FindStored | None] = [find_stored, None]
    for key, finder in zip(keys, finders, strict=True):
        retry_on_stale_session(load, key=key, find_stored=finder)
    retry_on_stale_session(load, key="id")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    retry_on_stale_session(load, find_stored=True)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


# Observers


def count(event: RetryEvent) -> None:
    assert_type(event.kind, Kind)
    assert_type(event.reason, Reason | None)
    assert_type(event.wait, float | None)
    assert_type(event.error_type, str | None)
    assert_type(event.in_doubt, bool)
    if event.kind == "gaveup":  # type: ignore[comparison-overlap]  # pyright: ignore[reportUnnecessaryComparison]
        logging.warning("%s after %s attempts", event.name, event.attempt)


def observers() -> None:
    seen: list[RetryEvent] = []
    retry_on_stale_session(load, observers=count)
    retry_on_stale_session(load, observers=())
    retry_on_stale_session(load, observers=[count, seen.append, PrometheusObserver(), OpenTelemetryObserver()])
    several: list[Observer] = [count, print]
    retry_on_stale_session(load, observers=several)
    retry_on_stale_session(load, observers=rebase)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


# What a caller catches


async def caught() -> None:
    try:
        await append(session, event)
    except (AttemptsExhaustedError, DeadlineExceededError, SessionGoneError, SessionRefreshError) as error:
        assert_type(error.attempts, int)
        assert_type(error.reason, Reason)
    except StaleSessionRetryError as error:
        assert_type(error.elapsed, float)
        assert_type(error.last_error, BaseException)
    except StaleSessionError as error:
        error.retry()  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType]
    except InDoubtError as error:
        assert_type(error.in_doubt, bool)


# In tests of one's own


async def test_an_append_is_retried() -> None:
    versioned = VersionedStore()
    assert_type(versioned.open(), VersionedSession)
    versioned.faults.stale = 2
    retrying = retry_on_stale_session(versioned.refresh)
    with no_waiting() as events:
        await retrying.call(versioned.append, versioned.open(), "hello")
    assert_type(events, list[RetryEvent])
    assert [event.kind for event in events] == ["retrying", "retrying", "recovered"]
