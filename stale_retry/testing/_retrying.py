"""Checks of appends with retries: nothing lost, nothing doubled, and an answer that was lost is found again."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable, Hashable
from typing import Any

from .._types import Options
from ._check import Bench, CannotRunError, Check, FailedError
from ._lost_answers import lose_answers
from ._user_store import count, gave_up, said, twice

EACH = 4
"""Appends of each writer."""


async def contended(bench: Bench) -> str:
    bench.facts["contended"] = False
    seen = await _contended(bench)
    bench.facts["contended"] = True
    return seen


async def _contended(bench: Bench, wrap: Callable[[Any], Any] | None = None) -> str:
    session_id = await bench.store.create(bench.store.new_event())
    acknowledged, errors = await writing(bench, session_id, wrap)
    everything = bench.writers * EACH
    verify_stored(acknowledged, await bench.store.stored(session_id), errors, everything)
    return f"{everything} of {everything} appends by {bench.writers} writers stored once"


async def writing(
    bench: Bench, session_id: Any, wrap: Callable[[Any], Any] | None = None
) -> tuple[list[Hashable], list[str]]:
    """Let all writers append at once, with retries. Returns the acknowledged events, and what was raised.

    `wrap` changes the bare append; then lost answers are looked up.
    """
    store = bench.store

    def backoff(retry_state: Any) -> float:
        """Waits that suit a test: short, and the same for a seed."""
        return bench.random.uniform(0, min(0.05, 0.001 * 2.0 ** min(retry_state.attempt_number, 10)))

    quick: Options = {"backoff": backoff, "jitter": None, "deadline": None, "max_attempts": 500}
    append = store.retrying(wrap, **quick)
    acknowledged: list[Hashable] = []
    errors: list[Exception] = []

    async def writer(events: list[Any]) -> None:
        for event in events:
            for _ in range(bench.random.randrange(4)):
                await asyncio.sleep(0)
            try:
                await append(await store.load(session_id), event)
            except Exception as error:
                errors.append(error)
            else:
                acknowledged.append(store.identity(event))
                bench.far = f"{len(acknowledged)} of {bench.writers * EACH} appends"

    writers = [[store.new_event() for _ in range(EACH)] for _ in range(bench.writers)]
    async with _all_ended() as tasks:
        tasks += [asyncio.ensure_future(writer(events)) for events in writers]
        await asyncio.gather(*tasks)
    return acknowledged, [said(error) for error in sorted(errors, key=gave_up)]


def verify_stored(acknowledged: list[Hashable], stored: list[Hashable], errors: list[str], everything: int) -> None:
    """Raise FailedError if an acknowledged event is lost or doubled, or an append raised."""
    lost = len(set(acknowledged) - set(stored))
    doubled = len(twice(stored))
    if lost or doubled:
        raise FailedError(
            f"of {everything} appends {len(acknowledged)} returned: {count(lost, 'event')} lost, {doubled} stored twice"
        )
    if errors:
        raise FailedError(f"{len(errors)} of {everything} appends raised, such as {errors[0]}")


class _all_ended:
    """Tasks that are cancelled and have ended when the block is left."""

    async def __aenter__(self) -> list[asyncio.Future[Any]]:
        self._tasks: list[asyncio.Future[Any]] = []
        return self._tasks

    async def __aexit__(self, *_: object) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


async def lost_answer(bench: Bench) -> str:
    store = bench.store
    if not store.has_find_stored:
        raise CannotRunError("needs find_stored=; without one, an append whose answer is lost cannot be retried safely")
    for later in (0, 3):
        session_id = await store.create(store.new_event())
        stale = await store.load(session_id)
        event = store.new_event()
        await store.append(await store.load(session_id), event)
        for _ in range(later):
            await store.append(await store.load(session_id), store.new_event())
        if not await store.find(await store.refresh(stale), event):
            after = f"after {later} more events of others " if later else ""
            raise FailedError(f"find_stored does not find an event that is stored {after}(falsy means not found)")
    if not bench.facts.get("contended"):
        raise CannotRunError(
            "find_stored finds the event, but is not tried under contention before `contended writers` passes"
        )
    for resend in (False, True):
        lose = functools.partial(lose_answers, resend=resend, session=store.policy.session)
        try:
            await _contended(bench, lose)
        except FailedError as failed:
            raise FailedError(f"{failed} (every third answer lost{', and the client sent again' * resend})") from None
    return f"found, also after 3 more events; {bench.writers * EACH} appends stored once, every third answer lost"


async def look_alikes(bench: Bench) -> str:
    store = bench.store
    session_id = await store.create(store.new_event())
    one, other = store.new_event(), store.new_event()
    await store.append(await store.load(session_id), one)
    session = await store.load(session_id)
    if store.has_find_stored and await store.find(session, other):
        raise FailedError("find_stored takes the stored event of another writer for an event that is not stored")
    # That look-alikes are all stored, the check `stored` has seen.
    looked = ", and find_stored tells them apart" if store.has_find_stored else ""
    return f"events that differ in their identity only are all stored{looked}"


async def gone(bench: Bench) -> str:
    store = bench.store
    if not store.has_delete:
        raise CannotRunError("needs delete=, which deletes a session")
    session_id = await store.create(store.new_event())
    session, other = await store.load(session_id), await store.load(session_id)
    await store.delete(session_id)
    made = await store.append(session, store.new_event())
    if made.accepted:
        raise FailedError("an append to a session that was deleted was accepted")
    if made.verdict != "rejected":
        return f"an append to a deleted session raises {made}"
    try:
        fresh = await store.refresh(other)
    except Exception as error:
        return f"an append to a deleted session is rejected, and its refresh raises: {said(error)}"
    if fresh is not None:
        raise FailedError("an append to a deleted session is rejected, and refresh returns a session all the same")
    return "an append to a deleted session is rejected, and refresh returns None"


CHECKS = (
    Check(
        "contended writers",
        "writers that append at once, with retries, lose and double nothing",
        "Events are lost or stored twice whenever two writers meet.",
        "See the checks above first. If they pass, look at what append and refresh share between writers: a "
        "connection, a cache, a session object.",
        contended,
        needs=("recognised", "refresh newest"),
    ),
    Check(
        "look-alikes",
        "two events that differ in nothing but their identity are two events",
        "A message is taken for stored because somebody else said the same, and is lost.",
        "Find events by an id that the writer gives them, never by what they say or when they were made.",
        look_alikes,
    ),
    Check(
        "lost answer",
        "an event whose answer was lost is found by find_stored",
        "A retry after a lost connection stores the event twice.",
        "Look the event up by its id in what the store has acknowledged, in all of the session; return the event. If "
        "a second sending raises another error than a conflict, such as one on the id's unique constraint, `on` has to "
        "accept that too.",
        lost_answer,
        needs=("refresh newest", "look-alikes"),
    ),
    Check(
        "gone",
        "the writer of a deleted session is told",
        "The event goes into a session that nobody can open any more, or the append is retried until its deadline.",
        "Reject an append to a session that is not there, and return None from refresh; that requires a row for "
        "the session itself. If your sessions are never deleted, leave out delete=.",
        gone,
    ),
)
