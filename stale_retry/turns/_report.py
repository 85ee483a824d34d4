"""What is told of one turn, to its observers and to who was refused."""

from __future__ import annotations

from collections.abc import Hashable

from ._lines import Lines
from ._loops import Loop
from ._options import Options
from .errors import BusyReason, SessionBusyError
from .events import TurnEvent, TurnKind, TurnReason, tell


class Report:
    """Begins when the turn arrives."""

    def __init__(self, options: Options, lines: Lines, key: Hashable, loop: Loop) -> None:
        self._options = options
        self._lines = lines
        self._key = key
        self._loop = loop
        self._arrived = loop.time()
        self._started: float | None = None
        self._is_waiting = False

    @property
    def waited(self) -> float:
        return (self._loop.time() if self._started is None else self._started) - self._arrived

    def tell(self, kind: TurnKind, reason: TurnReason | None = None) -> None:
        observers = self._options.observers
        if not observers:
            return
        running = None if self._started is None else self._loop.time() - self._started
        waiting = self._lines.waiting(self._key)
        tell(observers, TurnEvent(kind, self._options.name, waiting, self.waited, running, reason))

    def waits(self) -> None:
        """Told once."""
        if not self._is_waiting:
            self._is_waiting = True
            self.tell("waiting")

    def started(self) -> None:
        self._started = self._loop.time()
        self.tell("started")

    def ended(self, reason: TurnReason | None) -> None:
        self.tell("ended", reason)

    def refusal(self, reason: BusyReason) -> SessionBusyError:
        """Tells it, too."""
        self.tell("refused", reason)
        waiting, waited = self._lines.waiting(self._key), self.waited
        why = {
            "busy": "another turn of it runs",
            "longest": f"{waiting} turns of it wait already, which is as many as may",
            "deadline": f"this turn waited {waited:.1f} s for its place, which is as long as it may",
        }[reason]
        advice = {
            "busy": "send it again when that one has ended, or let turns wait with when_busy='enqueue'",
            "longest": "send it again later, or let more of them wait with longest=",
            "deadline": "send it again later; if no turn takes that long, look for one that never ends",
        }[reason]
        return SessionBusyError(
            f"the session is busy: {why}. Nothing of this turn is stored; {advice}",
            reason=reason,
            waiting=waiting,
            waited=waited,
        )
