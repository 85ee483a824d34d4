"""How a turn ends that did not get its slot, or did not keep it."""

from __future__ import annotations

import functools
from typing import Any, Literal

BusyReason = Literal["busy", "longest", "deadline", "deadlock"]
EndReason = Literal["newer", "stopped"]


class TurnError(RuntimeError):
    """The base of the three errors of a turn, for code that answers them alike."""


class SessionBusyError(TurnError):
    """Raised when a turn is refused. Its block was not entered, so nothing of it is stored.

    Attributes:
        reason: "busy", another turn runs and `when_busy` is "reject"; "longest", as many wait already as may;
            "deadline", the turn waited that long; "deadlock", the turn that runs waits, itself or through others, for
            a turn that this one is inside of.
        waiting: how many turns of this process wait for the same key.
        waited: seconds that this one waited.
    """

    def __init__(self, message: str, *, reason: BusyReason, waiting: int, waited: float) -> None:
        super().__init__(message)
        self.reason: BusyReason = reason
        self.waiting = waiting
        self.waited = waited

    def __reduce__(self) -> tuple[Any, ...]:
        rebuild: Any = functools.partial(type(self), reason=self.reason, waiting=self.waiting, waited=self.waited)
        return rebuild, self.args


class TurnInterruptedError(TurnError):
    """Raised when a turn was ended from outside.

    Attributes:
        reason: "newer", a newer turn of the key took its slot, with `when_busy="interrupt"`; "stopped", somebody called
            `TurnQueue.stop`.
        started: whether the block was entered. What it stored until then is stored; if it was not entered, nothing is.
    """

    def __init__(self, message: str, *, reason: EndReason, started: bool) -> None:
        super().__init__(message)
        self.reason: EndReason = reason
        self.started = started

    def __reduce__(self) -> tuple[Any, ...]:
        return functools.partial(type(self), reason=self.reason, started=self.started), self.args


class TurnLostError(TurnError):
    """Raised when the lease that processes share ran out while the turn ran.

    Another process may have begun a turn of its own meanwhile, so what this one stored may stand among that one's.
    """
