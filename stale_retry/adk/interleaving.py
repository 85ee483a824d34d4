"""When not to go on: what others stored in between would leave the history of a turn in pieces, or has annulled it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Literal

from google.adk.events import Event

from .. import Conflict, StaleSessionRetryError
from ._releases import AdkStaleSessionError, rewinds_to

Interleaving = Literal["allow", "same_turn", "state_only"]
MODES = ("allow", "same_turn", "state_only")


class InterleavedTurnError(StaleSessionRetryError, AdkStaleSessionError):
    """Raised when an append is given up because of what was stored in between: as `interleaving` asks, or because the
    turn that the event belongs to was rewound.

    The event is not stored and the session is left stale, so nothing else of the same turn is stored through it. It
    is google-adk's own `StaleSessionError` too, where the installed release has one.
    """


def checked(interleaving: Any) -> Interleaving:
    if interleaving not in MODES:
        raise ValueError(f"interleaving must be one of {', '.join(map(repr, MODES))}; got {interleaving!r}")
    return interleaving  # type: ignore[no-any-return]


def refuse_rewound(conflict: Conflict[Any], event: Event, held: Sequence[Event], new: Sequence[Event]) -> None:
    """Raises:
    InterleavedTurnError: among `new` is a rewind that took back what the event's invocation had stored.
    """
    history = [*held, *new]
    for index, other in enumerate(new, len(held)):
        target = rewinds_to(other)
        if target is None:
            continue
        annulled = (e.invocation_id for e in history[_first_of(target, history) : index])
        if event.invocation_id in annulled:
            rewound = f"invocation {event.invocation_id} was rewound while it was running. The event was not stored"
            raise _refusal(conflict, rewound)


def _first_of(invocation: str, history: Iterable[Event]) -> int:
    # Where it is not found, it began before the session's window does.
    return next((index for index, event in enumerate(history) if event.invocation_id == invocation), 0)


def refuse_interleaved(
    interleaving: Interleaving, conflict: Conflict[Any], event: Event, held: Iterable[Event], new: Iterable[Event]
) -> None:
    """Raises:
    InterleavedTurnError: `event` goes on with a turn, and `new` holds events that must not come before it.
    """
    if interleaving == "allow" or not _belongs_to_a_turn(event) or _opens_a_turn(event, held):
        return
    for other in new:
        if other.content is None or (interleaving == "same_turn" and other.invocation_id == event.invocation_id):
            continue
        raise _refusal(
            conflict,
            f"invocation {other.invocation_id} stored an event while invocation {event.invocation_id} was running, "
            f"and interleaving={interleaving!r} gives up then. The event was not stored: start the turn again on a "
            f"newly loaded session",
        )


def _refusal(conflict: Conflict[Any], reason: str) -> InterleavedTurnError:
    return InterleavedTurnError(
        f"{reason}.", attempts=conflict.attempt, elapsed=conflict.elapsed, last_error=conflict.error
    )


def _belongs_to_a_turn(event: Event) -> bool:
    # A write of state alone leaves every history whole. The error that ends a turn does not: it has no content either.
    return event.content is not None or event.error_code is not None


def _opens_a_turn(event: Event, held: Iterable[Event]) -> bool:
    # What a user says is based on nothing that anybody could have changed.
    return event.author == "user" and all(event.invocation_id != other.invocation_id for other in held)
