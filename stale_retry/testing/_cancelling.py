"""Checks of what a cancelled append or refresh leaves behind."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Coroutine
from typing import Any, TypeVar

from ._check import Bench, Check, FailedError
from ._pausing import Hung, Operation, When, cancelled
from ._races import rejects
from ._user_store import count

T = TypeVar("T")
_MOMENTS: tuple[When, ...] = ("waiting", "answered")


async def cancelled_append(bench: Bench) -> str:
    kept = points = 0
    for at in bench.points("a cancelled append"):  # pragma: no branch
        struck = False
        for when in _MOMENTS:
            was_struck, was_stored = await _cancel_append(bench, at, when)
            struck |= was_struck
            kept += was_struck and was_stored
        if not struck:
            break
        points = at
    return f"cancelled twice at each await ({points}): stored once {kept} times of {2 * points}, and never half"


async def _cancel_append(bench: Bench, at: int, when: When) -> tuple[bool, bool]:
    store, where = bench.store, _where(at, when)
    session_id = await store.create(store.new_event())
    writer, older = await store.load(session_id), await store.load(session_id)
    mine, other = store.new_event(), store.new_event()
    identity = store.identity(mine)
    struck = await _cancel(bench, lambda: store.append(writer, mine), at, when, where)

    times = (await _answered(bench, store.stored(session_id), where)).count(identity)
    if times > 1:
        raise FailedError(f"the event of an append {where} is stored {times} times")
    # The session that was loaded before tells whether the version and the event were stored together.
    made = await _answered(bench, store.append(older, other), where)
    is_stored = identity in await _answered(bench, store.stored(session_id), where)
    if not await rejects(bench):
        pass  # and then it tells nothing
    elif made.accepted and is_stored:
        raise FailedError(f"the event of an append {where} is stored, but a session from before is still accepted")
    elif made.verdict == "rejected" and not is_stored:
        raise FailedError(f"the event of an append {where} is not stored, but a session from before is rejected")
    elif made.verdict == "unknown" and not is_stored:
        raise FailedError(f"after an append was {where}, the next one raised {made}")

    for attempt in range(3):  # pragma: no branch
        session = await _answered(bench, store.load(session_id), where)
        last = await _answered(bench, store.append(session, store.new_event()), where)
        if last.accepted:
            break
        if attempt == 2:
            raise FailedError(f"after an append was {where}, no other append is accepted: {last}")
    there = await _answered(bench, store.stored(session_id), where)
    if store.has_seen and (shown := store.seen(await store.load(session_id))) != there:
        raise FailedError(f"after an append was {where}, a session shows {len(shown)} of {count(len(there), 'event')}")
    return struck, is_stored


async def cancelled_refresh(bench: Bench) -> str:
    store, points = bench.store, 0
    for at in bench.points("a cancelled refresh"):  # pragma: no branch
        struck = False
        for when in _MOMENTS:
            where = _where(at, when)
            session_id = await store.create(store.new_event())
            stale = await store.load(session_id)
            for _ in range(2):
                await store.append(await store.load(session_id), store.new_event())
            struck |= await _cancel(bench, functools.partial(store.refresh, stale), at, when, where)
            fresh = await _answered(bench, store.refresh(stale), where)
            there = await _answered(bench, store.stored(session_id), where)
            if fresh is None:
                raise FailedError(f"after a refresh was {where}, the next refresh returned None")
            if store.has_seen and (shown := store.seen(fresh)) != there:
                raise FailedError(
                    f"after a refresh was {where}, the next one shows {count(len(shown), 'event')}, "
                    f"the store holds {len(there)}"
                )
            made = await _answered(bench, store.append(fresh, store.new_event()), where)
            if made.refused:
                raise FailedError(f"after a refresh was {where}, an append through the next one was rejected: {made}")
        if not struck:
            break
        points = at
    return f"cancelled twice at each await ({points}), the next refresh is right"


def _where(at: int, when: When) -> str:
    return f"cancelled at its await {at}" + (", when the answer had come" if when == "answered" else "")


async def _cancel(bench: Bench, operation: Operation[Any], at: int, when: When, where: str) -> bool:
    try:
        return await cancelled(operation, at, when, limit=_limit(bench))
    except Hung:
        raise FailedError(f"an operation {where} does not end") from None


async def _answered(bench: Bench, operation: Coroutine[Any, Any, T], where: str) -> T:
    """What the store answers, and soon: a lock that was left behind is seen by an answer that does not come."""
    limit = _limit(bench)
    try:
        return await asyncio.wait_for(operation, limit)
    except asyncio.TimeoutError:  # another class before Python 3.11
        raise FailedError(f"after an operation was {where}, the store did not answer within {limit:.1f} s") from None


def _limit(bench: Bench) -> float:
    return max(bench.limit, 20 * bench.typical)


CHECKS = (
    Check(
        "cancelled append",
        "an append cancelled at any of its awaits is stored once or not at all, and the store works on",
        "A client that disconnects, or a timeout, leaves half an append, a lock that nobody frees, or a connection "
        "in the middle of a transaction.",
        "Write event and version in one transaction; free locks and connections in `finally` or `async with`.",
        cancelled_append,
    ),
    Check(
        "cancelled refresh",
        "a refresh cancelled at any of its awaits leaves a session that the next refresh puts right",
        "A session shows events twice, or never shows some, after a client disconnected.",
        "Update events and version of the session together, with no await in between.",
        cancelled_refresh,
        needs=("refresh newest",),
    ),
)
