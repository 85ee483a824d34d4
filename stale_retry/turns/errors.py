"""How a turn ends that did not have its place, or did not keep it."""

from __future__ import annotations

import functools
from typing import Any, Literal

BusyReason = Literal["busy", "longest", "deadline"]


class TurnError(RuntimeError):
    """What the three errors of a turn have in common, for whoever answers them alike."""


class SessionBusyError(TurnError):
    """Raised by `async with turns(key)` when a turn is refused. Its block was not entered, so nothing is stored.

    Attributes:
        reason: "busy", another turn runs and `when_busy` is "reject"; "longest", as many wait already as may;
            "deadline", the place was not had in time.
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
    """Raised out of `async with turns(key)` when a newer turn of the key took the place; `when_busy` is "interrupt".

    Attributes:
        started: whether the block was entered. What it stored until then is stored; if it was not, nothing is.
    """

    def __init__(self, message: str, *, started: bool) -> None:
        super().__init__(message)
        self.started = started

    def __reduce__(self) -> tuple[Any, ...]:
        return functools.partial(type(self), started=self.started), self.args


class TurnLostError(TurnError):
    """Raised out of `async with turns(key)` when the lease that processes share ran out while the turn ran.

    Another process may have begun a turn of its own meanwhile, so what this one stored may stand among that one's.
    """
