"""What is known between a rejected attempt and the next one, and how a hook can end the call there."""

from __future__ import annotations

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
        error: the error of the failed attempt. An append that waited for its place at a local gate is refreshed before
            its first attempt; the error is a `StaleSessionError` of ours then, and `attempt` is 0.
        stale: the session that attempt went through. The same object as `fresh` where the refresh hook updates it
            in place.
        fresh: the session that the refresh hook returned.
        attempt: attempts made so far, the first included.
        elapsed: seconds since the call's entry.
        arguments: name to value of the coming call, the fresh session and defaults included. Changing an entry
            changes the call: that is how an event is rebased.
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
