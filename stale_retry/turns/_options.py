"""The options of a queue and of a lease, each checked once against its rule."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal, get_args

from .. import _checks
from .events import TurnObserver, log_turn
from .leases import LeaseStore

WhenBusy = Literal["enqueue", "reject", "interrupt"]


@dataclass(frozen=True)
class Options:
    when_busy: WhenBusy
    longest: float
    deadline: float | None
    reader_patience: float | None
    observers: tuple[TurnObserver, ...]
    name: str


def checked(*, when_busy: Any, longest: Any, deadline: Any, reader_patience: Any, observers: Any, name: Any) -> Options:
    if when_busy not in get_args(WhenBusy):
        raise ValueError(f"when_busy must be 'enqueue', 'reject' or 'interrupt', got {when_busy!r}")
    told = _checks.as_functions("observers", observers, (log_turn,), "a function of the event", _checks.is_observer)
    return Options(
        when_busy,
        0 if when_busy == "reject" else _count("longest", longest),
        _checks.as_seconds("deadline", deadline),
        _checks.as_seconds("reader_patience", reader_patience),
        told,
        _checks.is_text("name", name),
    )


def is_store(shared: Any) -> LeaseStore | None:
    if shared is not None and (isinstance(shared, type) or not isinstance(shared, LeaseStore)):
        raise TypeError(f"shared must be a store of leases such as sql_lease(engine), or None; got {shared!r}")
    return shared


def is_plain_function_or_none(option: str, value: Any) -> Any:
    return _checks.is_plain_function_or_none(option, value, "a plain function without arguments")


def _count(option: str, value: Any) -> float:
    if value is None:
        return math.inf
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{option} must be a whole number, or None for any number; got {value!r}")
    if value < 1:
        raise ValueError(f"{option} must be at least 1; to let no turn wait, use when_busy='reject'; got {value!r}")
    return value


def finite_seconds(option: str, value: Any) -> float:
    if value is None:
        raise TypeError(f"{option} must be seconds or a timedelta, got None")
    seconds = _checks.as_seconds(option, value)
    if seconds is None:
        raise ValueError(f"{option} must be finite, got {value!r}")
    return seconds
