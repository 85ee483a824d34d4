"""What a queue is told once, and the rule each of it is checked against."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import timedelta
from numbers import Real
from typing import Any, Literal, get_args

from .. import _checks
from .events import TurnObserver, log_turn
from .leases import LeaseStore

WhenBusy = Literal["enqueue", "reject", "interrupt"]


@dataclass(frozen=True)
class Options:
    when_busy: WhenBusy
    longest: float
    deadline: float
    shared: LeaseStore | None
    observers: tuple[TurnObserver, ...]
    name: str


def checked(*, when_busy: Any, longest: Any, deadline: Any, shared: Any, observers: Any, name: Any) -> Options:
    if when_busy not in get_args(WhenBusy):
        raise ValueError(f"when_busy must be 'enqueue', 'reject' or 'interrupt', got {when_busy!r}")
    if shared is not None and (isinstance(shared, type) or not isinstance(shared, LeaseStore)):
        raise TypeError(f"shared must be a store of leases such as postgres_lease(engine), or None; got {shared!r}")
    _checks.is_text("name", name)
    told = _checks.as_functions("observers", observers, (log_turn,), "a function of the event", _checks.is_observer)
    waiting = 0 if when_busy == "reject" else _count("longest", longest)
    return Options(when_busy, waiting, seconds("deadline", deadline), shared, told, name)


def _count(option: str, value: Any) -> float:
    if value is None:
        return math.inf
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{option} must be a whole number, or None for any number; got {value!r}")
    if value < 1:
        raise ValueError(f"{option} must be at least 1; for none at all say when_busy='reject'; got {value!r}")
    return value


def seconds(option: str, value: Any, *, finite: bool = False) -> float:
    """Seconds above zero. None is infinity."""
    if isinstance(value, timedelta):
        value = value.total_seconds()
    if value is None and not finite:
        return math.inf
    if isinstance(value, bool) or not isinstance(value, Real):
        raise TypeError(f"{option} must be seconds or a timedelta{'' if finite else ', or None'}; got {value!r}")
    number = _checks.as_float(value)
    if not number > 0 or (finite and math.isinf(number)):
        raise ValueError(f"{option} must be above zero{' and finite' if finite else ''}; got {value!r}")
    return number
