"""Checks of what a store does to appends that come from one and the same version."""

from __future__ import annotations

import functools
from collections.abc import AsyncIterator, Hashable, Iterable
from dataclasses import dataclass
from typing import Any

from ._check import Bench, CannotRunError, Check, FailedError
from ._user_store import Append, count, gathered


@dataclass(frozen=True)
class Race:
    """Appends through sessions of one version, and what was stored in the end.

    Attributes:
        schedule: how they ran.
        on_empty: whether the session had no events before.
    """

    schedule: str
    on_empty: bool
    appends: tuple[Append, ...]
    stored: list[Hashable]


async def _races(bench: Bench) -> AsyncIterator[Race]:
    """One after the other, all at once, and one stopped at each of its awaits while another one runs.

    They are made as they are asked for, and only once for all checks.
    """
    made: list[Race] = bench.facts.setdefault("races", [])
    source: AsyncIterator[Race] = bench.facts.setdefault("source of races", _made(bench))
    for race in made:
        yield race
    async for race in source:
        made.append(race)
        yield race
    if not bench.facts.get("all races"):
        raise CannotRunError("an earlier check ran out of time before all races were made")


async def _made(bench: Bench) -> AsyncIterator[Race]:
    store = bench.store
    for on_empty in (False, True):

        async def race(schedule: str, session_id: object, appends: Iterable[Append], on_empty: bool = on_empty) -> Race:
            return Race(schedule, on_empty, tuple(appends), await store.stored(session_id))

        async def sessions(number: int, on_empty: bool = on_empty) -> tuple[object, list[Any]]:
            session_id = await store.create(*(() if on_empty else (store.new_event(),)))
            return session_id, [await store.load(session_id) for _ in range(number)]

        bench.far = "two appends, one after the other"
        session_id, (one, other) = await sessions(2)
        made = [await store.append(one, store.new_event()), await store.append(other, store.new_event())]
        yield await race("one after the other", session_id, made)

        bench.far = f"{bench.writers} appends at once"
        session_id, writers = await sessions(bench.writers)
        events = [store.new_event() for _ in writers]
        bench.random.shuffle(events)
        yield await race("all at once", session_id, await gathered(map(store.append, writers, events)))

        for at in bench.points("an append"):  # pragma: no branch
            session_id, (one, other) = await sessions(2)
            raced = await bench.race(
                functools.partial(store.append, one, store.new_event()),
                functools.partial(store.append, other, store.new_event()),
                at,
            )
            yield await race(f"one stopped at its await {at}", session_id, (raced.first, raced.second))
            if not raced.stopped:
                break
    bench.facts["all races"] = True


async def _one_winner(bench: Bench, *, on_empty: bool) -> str:
    number = 0
    async for race in _races(bench):
        if race.on_empty == (not on_empty):
            if number:
                break
            continue
        number += 1
        accepted = sum(append.accepted for append in race.appends)
        if accepted == 1 or (accepted == 0 and any(append.verdict == "unclear" for append in race.appends)):
            continue
        raise FailedError(f"{accepted} of {len(race.appends)} appends from one version were accepted ({race.schedule})")
    stopped = f"1 of 2 with one stopped at each await ({number - 3})"
    return f"1 of 2 one after the other, 1 of {bench.writers} at once, {stopped}"


async def one_winner(bench: Bench) -> str:
    return await _one_winner(bench, on_empty=False)


async def first_append(bench: Bench) -> str:
    return await _one_winner(bench, on_empty=True)


async def nothing_stored(bench: Bench) -> str:
    number = 0
    async for race in _races(bench):
        for append in race.appends:
            number += append.refused
            if append.refused and append.identity in race.stored:
                raise FailedError(f"the event of an append that was rejected is stored ({race.schedule}): {append}")
    _some_rejection(number)
    if bench.store.has_seen:
        await _nothing_shown(bench)
    return f"{count(number, 'rejected append')} stored nothing"


async def _nothing_shown(bench: Bench) -> None:
    store = bench.store
    session_id = await store.create(store.new_event())
    one, other = await store.load(session_id), await store.load(session_id)
    await store.append(one, store.new_event())
    before = store.seen(other)
    made = await store.append(other, store.new_event())
    if made.refused and store.seen(other) != before:
        raise FailedError("a session whose append was rejected shows the rejected event as if it were stored")


async def recognised(bench: Bench) -> str:
    rejected: list[Append] = []
    async for race in _races(bench):
        for append in race.appends:
            if append.verdict == "unknown":
                raise FailedError(f"`on` does not accept {append} ({race.schedule})")
            rejected += [append] if append.refused else []
    _some_rejection(len(rejected))
    return f"{len(rejected)} rejections, such as {rejected[0]}"


async def still_stale(bench: Bench) -> str:
    store = bench.store
    session_id = await store.create(store.new_event())
    one, other = await store.load(session_id), await store.load(session_id)
    await store.append(one, store.new_event())
    event = store.new_event()
    _some_rejection((await store.append(other, event)).refused)
    for again in (2, 3):
        if (await store.append(other, event)).accepted:
            raise FailedError(f"the attempt number {again} through one stale session, without a refresh, was accepted")
    return "3 attempts through one stale session were rejected"


def _some_rejection(number: int) -> None:
    if not number:
        raise CannotRunError("no append was ever rejected; see the check `one winner`")


async def rejects(bench: Bench) -> bool:
    """Whether the store ever rejects an append. Where it does not, an append that is accepted proves nothing."""
    return any([append.refused async for race in _races(bench) for append in race.appends])


async def other_sessions(bench: Bench) -> str:
    store = bench.store

    async def mixed_up(schedule: str, appends: Iterable[Append], *session_ids: object) -> None:
        for append, session_id in zip(appends, session_ids, strict=True):
            stored = await store.stored(session_id)
            if append.accepted and stored != [append.identity]:
                raise FailedError(f"a session with one append holds {count(len(stored), 'event')} ({schedule})")

    a, b = await store.create(), await store.create()
    one, other = await store.load(a), await store.load(b)
    made = [await store.append(one, store.new_event()), await store.append(other, store.new_event())]
    for append in made:
        if append.refused:
            raise FailedError(f"an append to one session disturbed another one (one after the other): {append}")
    await mixed_up("one after the other", made, a, b)
    at = waited = rejected = 0
    for at in bench.points("an append"):  # pragma: no branch
        a, b = await store.create(), await store.create()
        one, other = await store.load(a), await store.load(b)
        raced = await bench.race(
            functools.partial(store.append, one, store.new_event()),
            functools.partial(store.append, other, store.new_event()),
            at,
        )
        waited += raced.blocked
        # A database that is careful, as PostgreSQL at SERIALIZABLE, may reject one of two that overlap; a retry passes.
        rejected += raced.first.refused or raced.second.refused
        await mixed_up(f"one stopped at its await {at}", (raced.first, raced.second), a, b)
        if not raced.stopped:
            break
    waits = f"; at {waited} the other session had to wait" if waited else ""
    rejects = f"; at {rejected} one of the two was rejected" if rejected else ""
    return f"stored apart, with one stopped at each await ({at - 1}){waits}{rejects}"


CHECKS = (
    Check(
        "one winner",
        "of appends through one version exactly one is accepted",
        "Two writers both believe that they appended to the version they saw. One of the two events can be lost, or "
        "stand after events that its writer never read; nobody gets an error.",
        "Compare the version and write in one atomic step: UPDATE ... WHERE version = ? and check the row count, a "
        "unique constraint on (session, version), If-Match, WATCH. Reading the version first is not enough.",
        one_winner,
    ),
    Check(
        "first append",
        "the same holds for the first append to a session",
        "Two first messages of a conversation both pass, and one of them can be lost.",
        "Let the first append compare too: insert the session's row when it is created, or insert the first "
        "event under a unique (session, version) instead of an upsert.",
        first_append,
    ),
    Check(
        "nothing stored",
        "a rejected append stores nothing and shows nothing",
        "The retry stores the event a second time.",
        "Check the version before the first write, or do both in one transaction that the rejection rolls back; change "
        "the session only after the store has accepted.",
        nothing_stored,
    ),
    Check(
        "recognised",
        "`on` accepts what a rejected append raises or returns",
        "The rejection is not retried: the caller gets the store's error, and the event is not stored.",
        "Pass on= with that error's class, or one of unique_violation(...), http_status(...), retry_if_result(...).",
        recognised,
    ),
    Check(
        "still stale",
        "the session of a rejected append is rejected again until it is refreshed",
        "A retry that reloads nothing passes, so its writer appends to events that it has not read.",
        "Do not move the session's version when an append is rejected.",
        still_stale,
    ),
    Check(
        "other sessions",
        "appends to different sessions do not disturb each other",
        "Writers of different sessions retry because of each other, or their events get mixed up.",
        "Keep one version for each session, and filter by the session's id in every statement.",
        other_sessions,
    ),
)
