"""How long to wait before a retry: tenacity waits under their common names, and jitters. Pure: no clock is read.

In every formula n is the number of attempts made so far, so the wait before the first retry has n = 1.
"""

from __future__ import annotations

import math
import random
from numbers import Real
from typing import TypedDict

from tenacity import wait_exponential, wait_fixed, wait_incrementing
from tenacity.wait import wait_base

from ._types import Jitter


def linear(step: float, *, max: float | None = None) -> wait_base:
    """Wait step · n seconds, at most `max`: `linear(0.5)` waits 0.5, 1, 1.5, 2, 2.5, …

    Raises:
        TypeError: `step` or `max` is not a number of seconds.
        ValueError: `step` or `max` is negative or not finite.
    """
    step = _seconds("step", step)
    if max is None:
        return wait_incrementing(start=step, increment=step)
    return wait_incrementing(start=step, increment=step, max=_seconds("max", max))


def exponential(initial: float, *, factor: float = 2.0, max: float | None = None) -> wait_base:
    """Wait initial · factor^(n-1) seconds, at most `max`: `exponential(0.05, max=2.0)` waits 0.05, 0.1, 0.2, 0.4,
    0.8, 1.6, 2, 2, …

    Raises:
        TypeError: `initial`, `factor` or `max` is not a number.
        ValueError: `initial` or `max` is negative, `factor` is below 1, or one is not finite.
    """
    initial = _seconds("initial", initial)
    factor = _seconds("factor", factor)
    if factor < 1:
        raise ValueError(f"factor must be at least 1, got {factor!r}")
    if max is None:
        return wait_exponential(multiplier=initial, exp_base=factor)
    return wait_exponential(multiplier=initial, exp_base=factor, max=_seconds("max", max))


def constant(delay: float) -> wait_base:
    """Wait `delay` seconds each time: `constant(0.2)` waits 0.2, 0.2, 0.2, …

    Raises:
        TypeError: `delay` is not a number of seconds.
        ValueError: `delay` is negative or not finite.
    """
    return wait_fixed(_seconds("delay", delay))


def full_jitter(delay: float) -> float:
    """Uniform in [0, delay]. Spreads contenders the most for the least waiting.

    Source of the name and of `equal_jitter`: Marc Brooker, "Exponential Backoff And Jitter", AWS Architecture
    Blog, 2015.
    """
    return random.uniform(0.0, delay)


def equal_jitter(delay: float) -> float:
    """delay/2 + uniform in [0, delay/2]. Never waits less than half of the backoff."""
    return delay / 2 + random.uniform(0.0, delay / 2)


def proportional_jitter(fraction: float) -> Jitter:
    """Delay ± fraction · delay, uniform: `proportional_jitter(0.1)` turns 2 s into 1.8 to 2.2 s.

    Raises:
        TypeError: `fraction` is not a number.
        ValueError: `fraction` is not within [0, 1].
    """
    fraction = _seconds("fraction", fraction)
    if fraction > 1:
        raise ValueError(f"fraction must be within [0, 1], got {fraction!r}")

    def jitter(delay: float) -> float:
        return delay * random.uniform(1 - fraction, 1 + fraction)

    return jitter


def additive_jitter(spread: float) -> Jitter:
    """Delay + uniform in [0, spread] seconds.

    Raises:
        TypeError: `spread` is not a number of seconds.
        ValueError: `spread` is negative or not finite.
    """
    spread = _seconds("spread", spread)

    def jitter(delay: float) -> float:
        return delay + random.uniform(0.0, spread)

    return jitter


def _seconds(option: str, value: float) -> float:
    if isinstance(value, bool) or not isinstance(value, Real):
        raise TypeError(f"{option} must be a number, in seconds where it is a time; got {value!r}")
    if not (math.isfinite(value) and value >= 0):
        raise ValueError(f"{option} must be finite and not negative, got {value!r}")
    return float(value)


class _Schedule(TypedDict):
    backoff: wait_base
    jitter: Jitter | None
    max_attempts: int | None
    deadline: float | None


CLASSIC_SCHEDULE: _Schedule = {"backoff": linear(0.5), "jitter": None, "max_attempts": 6, "deadline": 90.0}
"""The schedule first proposed for google-adk, 5 retries after 0.5, 1, 1.5, 2 and 2.5 s, 90 s in all, no jitter.

For comparison and for those who need just that: `retry_on_stale_session(refresh, **CLASSIC_SCHEDULE)`. Under
contention it loses appends; the defaults do not.
"""
