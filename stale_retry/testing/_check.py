"""What a check is, and what it may use while it runs."""

from __future__ import annotations

import itertools
import random
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

from ._pausing import Hung, Interleaved, Operation, interleaved
from ._user_store import UserStore

T = TypeVar("T")
U = TypeVar("U")


class FailedError(Exception):
    """Raised by a check that found something wrong. The text says what was seen."""


class CannotRunError(Exception):
    """Raised by a check that can say nothing of this store. The text says why."""


class Bench:
    """A store under test, and how far the current check has come.

    Attributes:
        store: the user's store.
        writers: how many append at once.
        seconds, seed: as in `check_store`.
        random: for everything that is left to chance.
        typical: seconds that loading, appending and reading took together, when nothing else ran.
        far: how far the current check is, in case time runs out.
        limit: seconds after which an operation that nothing holds up counts as hung.
        facts: what one check leaves for another.
    """

    def __init__(self, store: UserStore, *, writers: int, seconds: float, seed: int) -> None:
        self.store = store
        self.writers = writers
        self.random = random.Random(seed)
        self.seconds = seconds
        self.seed = seed
        self.far = ""
        self.limit = min(2.0, seconds / 15)
        self.typical = 0.0
        self._blocked = False
        self.facts: dict[str, Any] = {}

    async def race(self, first: Operation[T], second: Operation[U], at: int) -> Interleaved[T, U]:
        """Stop `first` at its await number `at`, and run `second` meanwhile.

        Raises:
            FailedError: they block each other for good.
        """
        # Once an operation was seen to wait for another one's lock, a fraction of that time is enough to see it again.
        patience = max(min(1.0, self.seconds / 30) / (30 if self._blocked else 1), 3 * self.typical)
        try:
            raced = await interleaved(first, second, at, patience=patience, limit=max(self.limit, 20 * self.typical))
        except Hung:
            raise FailedError(f"with one operation stopped at its await {at}, two operations never ended") from None
        self._blocked |= raced.blocked
        return raced

    def points(self, what: str) -> Iterator[int]:
        """1, 2, 3, …: the awaits of an operation. To be left when there is none of that number."""
        for at in itertools.count(1):  # pragma: no branch
            self.far = f"await {at} of {what}"
            yield at


@dataclass(frozen=True)
class Check:
    """One thing that must hold of a store.

    Attributes:
        name: for reports.
        promise: what holds.
        meaning: what it means for users of a store for which it does not.
        cure: what to do about it.
        run: returns what was seen, or raises FailedError or CannotRunError.
        needs: names of the checks without which this one says nothing.
    """

    name: str
    promise: str
    meaning: str
    cure: str
    run: Callable[[Bench], Awaitable[str]]
    needs: tuple[str, ...] = ()
