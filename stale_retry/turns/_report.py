"""What is told of one turn, to its observers and to the caller of one that was refused."""

from __future__ import annotations

import logging
import time
from collections.abc import Hashable

from .._telling import tell
from ._options import Options
from ._queues import TurnQueues
from .errors import BusyReason, SessionBusyError
from .events import TurnEvent, TurnKind, TurnReason, level_of, log_turn

logger = logging.getLogger("stale_retry")

LONG = 60.0
"""Seconds after which a turn that still waits logs a warning."""

_LOG_ALONE = (log_turn,)


class Report:
    """Begins when the turn arrives."""

    __slots__ = ("_arrived", "_has_warned", "_is_waiting", "_key", "_options", "_queues", "_started")

    def __init__(self, options: Options, queues: TurnQueues, key: Hashable) -> None:
        self._options = options
        self._queues = queues
        self._key = key
        self._arrived = time.monotonic()
        self._started: float | None = None
        self._is_waiting = False
        self._has_warned = False

    @property
    def waited(self) -> float:
        return (time.monotonic() if self._started is None else self._started) - self._arrived

    def tell(self, kind: TurnKind, reason: TurnReason | None = None) -> None:
        observers, waited = self._options.observers, self.waited
        if not observers or (observers == _LOG_ALONE and not logger.isEnabledFor(level_of(kind, waited))):
            return
        running = None if self._started is None else time.monotonic() - self._started
        waiting = self._queues.waiting(self._key)
        tell(observers, TurnEvent(kind, self._options.name, waiting, waited, running, reason))

    def waits(self) -> None:
        """Told once, and warned of once more after `LONG` seconds; may be called again and again."""
        if not self._is_waiting:
            self._is_waiting = True
            self.tell("waiting")
        elif not self._has_warned and self.waited >= LONG:
            self._has_warned = True
            running = self._queues.running_for(self._key)
            what = "a turn of another process runs" if running is None else f"the running one began {running:.0f} s ago"
            logger.warning("%s: a turn has waited %.0f s; %s", self._options.name, self.waited, what)

    def started(self) -> None:
        self._started = time.monotonic() if self._is_waiting else self._arrived
        self.tell("started")

    def ended(self, reason: TurnReason | None) -> None:
        self.tell("ended", reason)

    def refusal(self, reason: BusyReason) -> SessionBusyError:
        """Tells it, too."""
        self.tell("refused", reason)
        waiting, waited = self._queues.waiting(self._key), self.waited
        why = {
            "busy": "another turn of it runs",
            "longest": f"{waiting} turns of it wait already, which is as many as may",
            "deadline": f"this turn waited {waited:.1f} s, which is as long as it may",
            "deadlock": "the turn of it that runs waits for a turn that this one is inside of",
        }[reason]
        advice = {
            "busy": "send it again when that one has ended, or let turns wait with when_busy='enqueue'",
            "longest": "send it again later, or let more of them wait with longest=",
            "deadline": "send it again later; if no turn takes that long, look for one that never ends",
            "deadlock": "take turns of several keys in the same order everywhere",
        }[reason]
        return SessionBusyError(
            f"the session is busy: {why}. Nothing of this turn is stored; {advice}",
            reason=reason,
            waiting=waiting,
            waited=waited,
        )
