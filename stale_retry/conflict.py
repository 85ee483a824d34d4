"""What is known between a rejected attempt and the next one, and how a hook can end the call there."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

S = TypeVar("S")


@dataclass(frozen=True)
class Settled:
    """The call ends with this result and no further attempt. Made by `Conflict.settle`."""

    result: Any = field(repr=False)


@dataclass(frozen=True)
class Conflict(Generic[S]):
    """Handed to `on_conflict` after each refresh, before the next attempt.

    Attributes:
        error: the error of the rejected attempt.
        stale: the session that attempt went through. The same object as `fresh` where the refresh hook updates it
            in place.
        fresh: the session that the refresh hook returned.
        attempt: attempts made so far, the first included.
        elapsed: seconds since the call's entry.
        arguments: name to value of the coming call, the fresh session included. Changing an entry changes the
            call: that is how an event is rebased.
    """

    error: Exception
    stale: S = field(repr=False)
    fresh: S = field(repr=False)
    attempt: int
    elapsed: float
    arguments: dict[str, Any] = field(repr=False)

    def settle(self, result: Any = None) -> Settled:
        """End the call with `result` and no further attempt; return this from the hook.

        For an event that the fresh session already has: a commit whose acknowledgement was lost.
        """
        return Settled(result)


ConflictHook = Callable[[Conflict[Any]], Awaitable[Settled | None] | Settled | None]
"""Async or plain. Returns None to go on or `conflict.settle(result)` to end the call; raises to abort it."""
