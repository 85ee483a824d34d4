"""What an observer of a queue is told, and the default one, which logs it."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

logger: logging.Logger = logging.getLogger("stale_retry")

TurnKind = Literal["waiting", "started", "ended", "refused", "interrupted"]
TurnReason = Literal["busy", "longest", "deadline", "deadlock", "newer", "stopped", "lost", "dropped"]
_WORDS = {
    "waiting": "is waiting",
    "started": "started",
    "ended": "ended",
    "refused": "was refused",
    "interrupted": "was interrupted",
}


@dataclass(frozen=True)
class TurnEvent:
    """One thing that happened to one turn. Carries names and numbers: never a key.

    Attributes:
        kind: "waiting", the key is busy and the turn waits in the queue; "started", it has its slot; "ended", it gave
            its slot back; "refused", it was not let in; "interrupted", it was told to end, while it ran or while it
            waited. A turn that is cancelled while it waits reports nothing more. One inside another turn of its key
            reports nothing at all.
        name: the queue's name.
        waiting: how many turns of this process wait for the key now.
        waited: seconds that this turn waited so far.
        running: seconds since it started, None before that.
        reason: of "refused", that of the `SessionBusyError`; of "interrupted", "newer" for a newer turn, "stopped", or
            "lost" when its lease ran out; of "ended", that one too if there was one, or "dropped" when no code left
            the block.
    """

    kind: TurnKind
    name: str
    waiting: int
    waited: float
    running: float | None = None
    reason: TurnReason | None = None


TurnObserver = Callable[[TurnEvent], None]
"""Called in the turn's own event loop, so it must not block. One that raises is logged and disturbs no turn."""


def log_turn(event: TurnEvent) -> None:
    """Log to `logging.getLogger("stale_retry")`: WARNING for a turn that was refused or interrupted, INFO for one that
    waits or had to wait, DEBUG for the rest. The event's fields are in the record under `stale_retry.`.
    """
    level = level_of(event.kind, event.waited)
    if not logger.isEnabledFor(level):
        return
    fields = {f"stale_retry.{name}": value for name, value in vars(event).items()}
    text = f"%s: a turn {_WORDS[event.kind]}, waited %.2f s, %d waiting"
    values: tuple[object, ...] = (event.name, event.waited, event.waiting)
    if event.running is not None:
        text, values = f"{text}, ran %.2f s", (*values, event.running)
    if event.reason is not None:
        text, values = f"{text}: %s", (*values, event.reason)
    logger.log(level, text, *values, extra=fields)


def level_of(kind: TurnKind, waited: float) -> int:
    if kind in ("refused", "interrupted"):
        return logging.WARNING
    return logging.INFO if kind == "waiting" or (kind == "started" and waited) else logging.DEBUG
