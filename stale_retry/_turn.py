"""What a retry holds while it runs: a time limit and, inside it, the gate."""

from __future__ import annotations

import logging
import math
import sys
from contextlib import AbstractAsyncContextManager, nullcontext
from types import TracebackType
from typing import Any, cast

import anyio

from .errors import apart_from
from .gate import Gate, LocalTurn

logger = logging.getLogger("stale_retry")

RELEASE_GRACE = 5.0
"""Seconds that a gate is given to be released when the call around it is cancelled."""


class Turn:
    """Entered step by step, left exactly once by `leave` or `leave_now`.

    Held across separate calls of `Attempts`, which is why it is not a `with` block.
    """

    # Scopes are left in the reverse order. So a limit ends before the attempt begins, because the block that makes it
    # may open scopes around it; and a gate that may have opened some itself, a task group for instance, is held in a
    # scope of its own.

    __slots__ = ("_around_gate", "_gate", "_scope")

    def __init__(self) -> None:
        self._gate: AbstractAsyncContextManager[Any] | None = None
        self._scope: anyio.CancelScope | None = None
        self._around_gate: anyio.CancelScope | None = None

    def limit(self, deadline: float) -> None:
        self._scope = anyio.CancelScope(deadline=deadline)
        self._scope.__enter__()

    async def queue(self, gate: Gate, session: Any) -> None:
        """Enter the gate, within the limit."""
        entering = gate(session)
        await entering.__aenter__()
        self._gate = entering
        limit = self._scope
        if limit is not None and not isinstance(entering, LocalTurn):
            self._around_gate = limit
            self.limit(limit.deadline)
            limit.deadline = math.inf

    def lift_limit(self) -> bool:
        """No limit from here on. True when it is over already."""
        limits = [scope for scope in (self._around_gate, self._scope) if scope is not None]
        expired = any(scope.cancel_called or anyio.current_time() > scope.deadline for scope in limits)
        self._leave_scope(None)
        return expired

    async def leave(self, error: BaseException | None) -> bool:
        """Release the gate and lift the limit. True when `error` is only this limit's own cancellation."""
        timed_out = False
        try:
            timed_out = self.leave_now(error)
        finally:
            if self._around_gate is not None and await self._release(self._around_gate, error):
                timed_out = True
        return timed_out

    def leave_now(self, error: BaseException | None) -> bool:
        """The same without an await, where the gate is a local one or there is none."""
        if isinstance(self._gate, LocalTurn):
            self._gate.release()
        return self._leave_scope(error)

    def _leave_scope(self, error: BaseException | None) -> bool:
        scope, self._scope = self._scope, None
        return scope is not None and _leave(scope, error)

    async def _release(self, scope: anyio.CancelScope, error: BaseException | None) -> bool:
        # Shielded, or a cancelled call would leave a lock on another machine held. Whether the event is stored has been
        # decided by then, so a gate that cannot be released must not change what the caller is told.
        handled = sys.exc_info()[1]
        gate = cast(AbstractAsyncContextManager[Any], self._gate)
        expired = scope.cancel_called
        scope.shield, scope.deadline = True, anyio.current_time() + RELEASE_GRACE
        try:
            with anyio.CancelScope(shield=True, deadline=scope.deadline) if expired else nullcontext():
                await gate.__aexit__(*_details(error))
        except Exception as raised:
            logger.warning("the gate could not be released", exc_info=apart_from(raised, handled))
        except BaseException as cancelled:
            if not _leave(scope, cancelled):
                raise
            logger.warning("the gate was not released within %.0f s", RELEASE_GRACE)
            return False
        return _leave(scope, error if expired else None)


def _leave(scope: anyio.CancelScope, error: BaseException | None) -> bool:
    took_it = scope.__exit__(*_details(error))
    return error is not None and bool(took_it)


def _details(
    error: BaseException | None,
) -> tuple[type[BaseException] | None, BaseException | None, TracebackType | None]:
    return (None, None, None) if error is None else (type(error), error, error.__traceback__)
