"""When not to retry: what others stored in between would leave the history of a turn in pieces."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal

from google.adk.events import Event

from ..conflict import Conflict
from ..errors import StaleSessionRetryError
from ._releases import AdkStaleSessionError

Interleaving = Literal["allow", "same_turn", "state_only"]
MODES = ("allow", "same_turn", "state_only")


class InterleavedTurnError(StaleSessionRetryError, AdkStaleSessionError):
    """Raised when an append is given up because of what was stored in between, as `interleaving` asks.

    The event is not stored and the session is left stale, so nothing else of the same turn is stored through it. It
    is google-adk's own `StaleSessionError` too, where the installed release has one.
    """


def mode(interleaving: Any) -> Interleaving:
    if interleaving not in MODES:
        raise ValueError(f"interleaving must be one of {', '.join(map(repr, MODES))}; got {interleaving!r}")
    return interleaving  # type: ignore[no-any-return]


def refuse_interleaved(interleaving: Interleaving, conflict: Conflict[Any], event: Event, new: Iterable[Event]) -> None:
    """Raises:
    InterleavedTurnError: `event` belongs to a turn, and `new` holds events that must not come before it.
    """
    if interleaving == "allow" or not _belongs_to_a_turn(event):
        return
    for other in new:
        if other.content is None or (interleaving == "same_turn" and other.invocation_id == event.invocation_id):
            continue
        raise InterleavedTurnError(
            f"invocation {other.invocation_id} stored an event while invocation {event.invocation_id} was running, "
            f"and interleaving={interleaving!r} gives up then. The event was not stored: start the turn again on a "
            f"newly loaded session.",
            attempts=conflict.attempt,
            elapsed=conflict.elapsed,
            last_error=conflict.error,
        )


def _belongs_to_a_turn(event: Event) -> bool:
    # A write of state alone leaves every history whole. The error that ends a turn does not: it has no content either.
    return event.content is not None or event.error_code is not None
