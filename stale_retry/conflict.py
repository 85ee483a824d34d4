"""What is known between a rejected attempt and the next one, and how a hook can end the call there."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

S = TypeVar("S")


@dataclass(frozen=True)
class Settled:
    """The call ends with this result and no further attempt. `find_stored` may return one, a hook returns one that
    `Conflict.settle` made.
    """

    result: Any = field(repr=False)


@dataclass(frozen=True)
class Conflict(Generic[S]):
    """Handed to `on_conflict` after each refresh, before the next attempt.

    Attributes:
        error: the error of the failed attempt. An append that waited in the queue is refreshed before its first
            attempt if others stored meanwhile; then `error` is a `StaleSessionError` of ours, and `attempt` is 0.
        stale: the session that attempt went through. The same object as `fresh` where the refresh hook updates it
            in place.
        fresh: the session that the refresh hook returned.
        attempt: attempts made so far, the first included.
        elapsed: seconds since the call's entry.
        arguments: name to value of the coming call, the fresh session and defaults included. Changing an entry
            changes the call: that is how an event is rebased. Keep the event's id.
        in_doubt: whether an attempt ended without an answer, so that this call's own event may be among the stored
            ones.
    """

    error: Exception
    stale: S = field(repr=False)
    fresh: S = field(repr=False)
    attempt: int
    elapsed: float
    arguments: dict[str, Any] = field(repr=False)
    in_doubt: bool = False

    def settle(self, result: Any = None) -> Settled:
        """End the call with `result` and no further attempt; return this from the hook.

        To recognise an event that is stored already, use `find_stored` instead: it is asked in more cases.
        """
        return Settled(result)
