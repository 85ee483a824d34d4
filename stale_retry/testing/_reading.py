"""Checks of what a session shows: that events are stored at all, and that a version never runs ahead of its events."""

from __future__ import annotations

import functools
import time
from collections.abc import Awaitable, Callable, Hashable
from typing import Any

from ._check import Bench, CannotRunError, Check, FailedError
from ._races import rejects
from ._user_store import count

_Read = Callable[[], Awaitable[Any]]


async def stored(bench: Bench) -> str:
    store = bench.store
    session_id = await store.create()
    if found := await store.stored(session_id):
        raise FailedError(f"a new session holds {count(len(found), 'event')} already")
    given: list[Hashable] = []
    for number in (1, 2, 3):
        began = time.perf_counter()
        made = await store.append(await store.load(session_id), store.new_event())
        bench.typical = time.perf_counter() - began
        if not made.accepted:
            raise FailedError(f"append {number}, through a session just loaded, was not accepted: {made}")
        if made.identity in given:
            raise FailedError(f"event({number - 2}) and event({number - 1}) have the same identity {made.identity!r}")
        given.append(made.identity)
    if (found := await store.stored(session_id)) != given:
        raise FailedError(f"appended {given!r}, in this order, and read back {found!r}")
    if store.has_seen and (shown := store.seen(await store.load(session_id))) != given:
        raise FailedError(f"events has {given!r}, and a loaded session shows {shown!r}")
    return "3 of 3 events read back in order"


async def refresh_newest(bench: Bench) -> str:
    store = bench.store
    for rejected_before in (False, True):
        session_id = await store.create(store.new_event())
        stale = await store.load(session_id)
        for _ in range(3):
            await store.append(await store.load(session_id), store.new_event())
        if rejected_before:
            await store.append(stale, store.new_event())
        await _newest(bench, session_id, await store.refresh(stale), "refreshed")
    return "after 3 appends of others the refreshed session shows them, and its append is accepted"


async def _newest(bench: Bench, session_id: Any, session: Any, how: str) -> None:
    store = bench.store
    if session is None:
        raise FailedError("refresh returned None, which means that the session is gone; return the session")
    if store.has_seen:
        shown, there = store.seen(session), await store.stored(session_id)
        if shown != there:
            raise FailedError(
                f"the {how} session shows {count(len(shown), 'event')}, the store holds {len(there)}{_doubled(shown)}"
            )
    made = await store.append(session, store.new_event())
    if made.refused:
        raise FailedError(f"nobody appended meanwhile, and an append through the {how} session was rejected: {made}")


def _doubled(shown: list[Hashable]) -> str:
    return ", some of them twice" if len(set(shown)) < len(shown) else ""


async def no_hidden_events(bench: Bench) -> str:
    if not bench.store.has_seen:
        raise CannotRunError("needs seen=, which tells the events that a session shows")
    if not await rejects(bench):
        raise CannotRunError("no append was ever rejected; see the check `one winner`")
    counts: list[int] = []
    for reader in ("load", "refresh"):
        counts.append(await _reader_stopped(bench, reader))
        counts.append(await _writer_stopped(bench, reader))
    return f"{sum(counts)} races: a load, a refresh and an append stopped at each await"


async def _reader_stopped(bench: Bench, reader: str) -> int:
    """Two events are appended while a load or a refresh is under way."""
    store = bench.store
    at = 0
    for at in bench.points(f"a {reader}"):  # pragma: no branch
        session_id = await store.create(store.new_event())
        stale = await store.load(session_id)

        async def others(session_id: Any = session_id) -> None:
            for _ in range(2):
                await store.append(await store.load(session_id), store.new_event())

        raced = await bench.race(_reading(bench, reader, session_id, stale), others, at)
        await _shows_all(bench, session_id, raced.first, f"a {reader} stopped at its await {at} while others append")
        if not raced.stopped:
            break
    return at


async def _writer_stopped(bench: Bench, reader: str) -> int:
    """A session is read while an append to it is under way."""
    store = bench.store
    at = 0
    for at in bench.points(f"an append, while another session is read by {reader}"):  # pragma: no branch
        session_id = await store.create(store.new_event())
        stale, writer = await store.load(session_id), await store.load(session_id)
        raced = await bench.race(
            functools.partial(store.append, writer, store.new_event()),
            _reading(bench, reader, session_id, stale),
            at,
        )
        await _shows_all(bench, session_id, raced.second, f"a {reader} while an append is stopped at its await {at}")
        if not raced.stopped:
            break
    return at


def _reading(bench: Bench, reader: str, session_id: Any, stale: Any) -> Any:
    store = bench.store

    async def read() -> tuple[Any, list[Hashable]]:
        session = await (store.load(session_id) if reader == "load" else store.refresh(stale))
        return session, [] if session is None else store.seen(session)

    return read


async def _shows_all(bench: Bench, session_id: Any, read: tuple[Any, list[Hashable]], schedule: str) -> None:
    """An append that is accepted proves the version the newest; then the session must have shown all events."""
    store, (session, shown) = bench.store, read
    if session is None:
        raise FailedError(f"the session is there, and was not found ({schedule})")
    made = await store.append(session, store.new_event())
    if not made.accepted:
        return
    there = [identity for identity in await store.stored(session_id) if identity != made.identity]
    if shown != there:
        raise FailedError(
            f"a session that shows {count(len(shown), 'event')}{_doubled(shown)} was accepted as the newest version, "
            f"the store held {len(there)} ({schedule})"
        )


STORED = Check(
    "stored",
    "an append is stored once, in order, and read back",
    "Nothing else can be checked.",
    "Look at what was read back. If the functions that describe the store are right (create, load, append, events, "
    "event, identity, seen), the store drops, doubles or reorders events, or takes events that look alike for one.",
    stored,
)
CHECKS = (
    Check(
        "refresh newest",
        "a refreshed session is the newest state, and its append is accepted",
        "Each retry is rejected again until the call gives up, or its writer decides on old events.",
        "Read from where the store writes (no cache, no replica that lags), and update events and version together.",
        refresh_newest,
    ),
    Check(
        "no hidden events",
        "a loaded or refreshed session never has a version newer than its events",
        "A writer passes the version check without having seen the last events: it answers past them, or a store "
        "that writes the whole session overwrites them.",
        "Read version and events in one statement or one snapshot, or read the version first; write event and "
        "version in one transaction.",
        no_hidden_events,
        needs=("refresh newest",),
    ),
)
