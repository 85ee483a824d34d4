"""Messages of this process that are being delivered: a second delivery waits for the first one."""

from __future__ import annotations

import asyncio
from collections.abc import Hashable
from concurrent.futures import Future
from contextlib import suppress

from ..turns import TurnError


class Delivery:
    """One delivery of a message.

    Attributes:
        has_waited: whether it had to wait for another one.
    """

    def __init__(self, running: dict[Hashable, Delivery], key: Hashable) -> None:
        self.has_waited = False
        self._running = running
        self._key = key
        self._outcome: Future[TurnError | None] = Future()

    async def begin(self, patience: float | None) -> None:
        """Wait for the delivery of the same message that runs, but not without end: its reader may be gone.

        Raises:
            TurnError: that one was refused, interrupted or stopped; it is that error.
        """
        while (first := self._running.setdefault(self._key, self)) is not self:
            self.has_waited = True
            with suppress(asyncio.TimeoutError):
                outcome = asyncio.shield(asyncio.wrap_future(first._outcome))
                error = await asyncio.wait_for(outcome, patience)
                if error is not None:
                    raise error
                continue
            return

    def over(self, error: TurnError | None = None) -> None:
        """Let the next one begin. Once more does nothing."""
        if self._running.get(self._key) is self:
            del self._running[self._key]
        if not self._outcome.done():
            self._outcome.set_result(error)


class Deliveries:
    """Safe to use from any event loop and thread."""

    def __init__(self) -> None:
        self._running: dict[Hashable, Delivery] = {}

    def __len__(self) -> int:
        return len(self._running)

    def of(self, key: Hashable) -> Delivery:
        return Delivery(self._running, key)
