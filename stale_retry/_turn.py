"""What a retry holds while it runs: a time limit and, inside it, the gate."""

from __future__ import annotations

import logging
import math
import sys
from contextlib import AbstractAsyncContextManager
from typing import Any

import anyio

from .errors import apart_from
from .gate import Gate, LocalTurn

logger = logging.getLogger("stale_retry")

RELEASE_GRACE = 5.0
"""Seconds that a gate is given to be released when the call around it is cancelled."""


class Turn:
    """Entered at construction, left exactly once by `leave` or `leave_now`.

    Held across separate calls of `Attempts`, which is why it is not a `with` block.
    """

    __slots__ = ("_gate", "_scope")

    def __init__(self, deadline: float = math.inf) -> None:
        self._gate: AbstractAsyncContextManager[Any] | None = None
        self._scope = anyio.CancelScope(deadline=deadline)
        self._scope.__enter__()

    async def queue(self, gate: Gate, session: Any) -> None:
        entering = gate(session)
        await entering.__aenter__()
        self._gate = entering

    @property
    def expired(self) -> bool:
        return self._scope.cancel_called or anyio.current_time() > self._scope.deadline

    def limit(self, deadline: float) -> None:
        self._scope.deadline = deadline

    async def leave(self, error: BaseException | None) -> bool:
        """Release the gate and lift the limit. True when `error` is only this limit's own cancellation."""
        gate = self._gate
        try:
            if gate is not None and not isinstance(gate, LocalTurn):
                self._gate = None
                await _release(gate, error)
        finally:
            timed_out = self.leave_now(error)
        return timed_out

    def leave_now(self, error: BaseException | None) -> bool:
        """The same without an await, where the gate is a local one or there is none."""
        if isinstance(self._gate, LocalTurn):
            self._gate.release()
        if error is None:
            self._scope.__exit__(None, None, None)
            return False
        return bool(self._scope.__exit__(type(error), error, error.__traceback__))


async def _release(gate: AbstractAsyncContextManager[Any], error: BaseException | None) -> None:
    # Shielded, or a cancelled call would leave a lock on another machine held. Whether the event is stored has been
    # decided by then, so a gate that cannot be released must not change what the caller is told.
    handled = sys.exc_info()[1]
    with anyio.move_on_after(RELEASE_GRACE, shield=True) as grace:
        try:
            await gate.__aexit__(
                None if error is None else type(error), error, None if error is None else error.__traceback__
            )
        except Exception as raised:
            logger.warning("the gate could not be released", exc_info=apart_from(raised, handled))
    if grace.cancelled_caught:
        logger.warning("the gate was not released within %.0f s", RELEASE_GRACE)
