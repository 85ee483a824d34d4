"""One call's time: when it began, when it is due, and what a last attempt needs."""

from __future__ import annotations

import math
import time

from ._loops import clock_of, current_loop

LEAST_RESERVE = 0.01
"""Seconds that are left for a last attempt at least."""

GRACE = 1.0
"""Seconds past the deadline for the last look into the store."""


class Clock:
    """On the event loop's clock, so that virtual time works.

    Attributes:
        deadline: when the call is due; infinity where nothing limits it.
        now: tells the time on the loop's clock.
        queued: seconds spent waiting in the queue so far.
        is_cut: whether the wait before the coming attempt was cut, which makes it the last one.
    """

    __slots__ = ("_append", "_began", "_reload", "_total", "deadline", "is_cut", "now", "queued")

    def __init__(self, entered: float, deadline: float | None) -> None:
        self.now = clock_of(current_loop())
        self._began = self.now() - (time.monotonic() - entered)
        self._total = math.inf if deadline is None else deadline
        self.deadline = self._began + self._total
        self.queued = 0.0
        self.is_cut = False
        self._append = 0.0
        self._reload = 0.0

    @property
    def began(self) -> float:
        return self._began

    @property
    def elapsed(self) -> float:
        """Seconds since the call's entry."""
        return self.now() - self._began

    @property
    def is_late(self) -> bool:
        return self.now() >= self.deadline

    def skip(self, seconds: float) -> None:
        """Let that much time have passed: the call began, and is due, that much earlier."""
        self._began -= seconds
        self.deadline -= seconds

    def cut(self, wait: float) -> float | None:
        """The wait, shortened so that a last attempt ends by the deadline. None: there is no time for another attempt.

        Left for it are 1.5 times the longest refresh and append so far, and at least 10 ms.
        """
        left = self.deadline - self.now() - max(1.5 * (self._append + self._reload), LEAST_RESERVE)
        if wait < left:
            return wait
        if self.is_cut or left <= 0 or left == math.inf:
            return None
        self.is_cut = True
        return left

    def attempted(self, seconds: float) -> None:
        """Note how long an attempt took."""
        self._append = max(self._append, seconds)

    def reloaded(self, seconds: float) -> None:
        """Note how long it took to refresh the session."""
        self._reload = max(self._reload, seconds)

    def queue_until(self) -> float:
        """When a waiter goes on without the slot: when a quarter of its deadline is left."""
        return self.deadline - self._total / 4 if self._total < math.inf else math.inf

    def refresh_early_until(self) -> float:
        """When a caller that waited is attempted without a refresh: half of what is left."""
        return (self.now() + self.deadline) / 2 if self._total < math.inf else math.inf
