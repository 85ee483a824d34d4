"""Exceptions by what they were raised from: nothing is lost on the way up, and nobody else's chain is rewritten.

Everything is set past the exception's own class, which may be frozen or slotted.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from typing import cast

if sys.version_info < (3, 11):
    from exceptiongroup import BaseExceptionGroup

NOTE = "stale_retry: "

NOTHING_HANDLED: frozenset[int] = frozenset()
"""One for all, because each of 100,000 waiters would keep its own."""


def behind(error: BaseException | None) -> Iterator[BaseException]:
    """The error and everything that it was raised from or is a group of, shown in a traceback or not."""
    seen: set[int] = set()
    left = [] if error is None else [error]
    while left:
        link = left.pop()
        if id(link) in seen:
            continue
        seen.add(id(link))
        yield link
        left += [other for other in (link.__cause__, link.__context__) if other is not None]
        if isinstance(link, BaseExceptionGroup):
            left += cast("tuple[BaseException, ...]", link.exceptions)


def being_handled() -> frozenset[int]:
    """The identities of what the caller is just handling; not to be asked inside an `except` of our own."""
    handled = sys.exc_info()[1]
    if handled is None:
        return NOTHING_HANDLED
    return frozenset(id(link) for link in behind(handled))


def chain(raised: BaseException, origin: BaseException, handled: frozenset[int], since: float) -> None:
    """Make `origin` reachable from `raised`, at the end of what belongs to `raised` alone.

    What `origin` itself was raised from, and what the caller is handling, belongs to others. Nothing is done where it
    would make a circle, which not everybody that follows a chain would leave again. A link that an earlier call made,
    before `since` on the monotonic clock, is replaced: an error object that outlives its call (a module's constant)
    would collect the errors of all of them.
    """
    others = handled | {id(link) for link in behind(origin)}
    if id(raised) in others or any(link is origin for link in behind(raised)):
        return
    tail = raised
    known: set[int] = set()
    while True:
        known.add(id(tail))
        following = tail.__cause__
        if following is None and not tail.__suppress_context__:
            following = tail.__context__
        if (
            following is None
            or id(following) in others
            or id(following) in known
            or _is_earlier(tail, following, since)
        ):
            break
        tail = following
    BaseException.__setattr__(tail, "__cause__", origin)
    BaseException.__setattr__(tail, _LINKED, (id(origin), time.monotonic()))


_LINKED = "__stale_retry_linked__"
"""Where an error remembers which cause is a link of ours, and since when."""


def is_linked(error: BaseException) -> bool:
    """Whether the error's cause is a link of ours: what a call met before is no evidence of what this error means."""
    linked, _ = getattr(error, _LINKED, (0, 0.0))
    return bool(linked == id(error.__cause__))


def _is_earlier(tail: BaseException, following: BaseException, since: float) -> bool:
    linked, at = getattr(tail, _LINKED, (0, 0.0))
    return bool(linked == id(following) and at < since)


def drop_frames(error: BaseException, handled: frozenset[int]) -> None:
    """Let go of the frames that an error passed through, and of what they hold; not of what the caller is handling."""
    for link in behind(error):
        if id(link) not in handled:
            BaseException.with_traceback(link, None)


def note(error: BaseException, facts: str) -> None:
    """Put the facts into the error's notes, instead of earlier ones: a store may raise one object often."""
    notes = [text for text in getattr(error, "__notes__", ()) if not str(text).startswith(NOTE)]
    BaseException.__setattr__(error, "__notes__", [*notes, NOTE + facts])


def apart_from(error: BaseException, *others: BaseException | None) -> BaseException:
    """`error`, which nobody else will see, cut off from `others` so that a log of it does not quote them."""
    theirs = {id(link) for other in others for link in behind(other)}
    for link in list(behind(error)):
        if id(link) not in theirs:
            if id(link.__cause__) in theirs:
                BaseException.__setattr__(link, "__cause__", None)
            if id(link.__context__) in theirs:
                BaseException.__setattr__(link, "__context__", None)
    return error
