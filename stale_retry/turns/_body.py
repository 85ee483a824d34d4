"""What runs inside a turn, and how it is ended early from outside."""

from __future__ import annotations

import asyncio
import logging
import weakref
from collections.abc import Callable
from typing import Any, Literal

import anyio

from .._loops import run_in, spawn
from ._cancelling import Cancelling, cancelling
from .errors import EndReason, TurnError, TurnInterruptedError, TurnLostError
from .events import TurnKind

logger = logging.getLogger("stale_retry")

GRACE = 5.0
"""Seconds that a block has to end after its abort hook was called; that a lost turn has to end before the next one
begins; and that a store has to take a lease back."""

EndedBy = Literal["newer", "stopped", "lost"]
Report = Callable[[TurnKind, EndedBy], object]


class Body:
    """The task inside an `async with turns(key)`. The block may be left in another task.

    Attributes:
        task: a weak reference to the task that waits for what the block does.
        ended: why it was ended early.
        has_begun: whether the block was entered.
        insists: whether it is cancelled again if it has not ended after a while.
        leave_slot: gives the slot back, for a body that nothing can cancel because its task is over.

    Args:
        report: told when it is ended early.
        abort: ends it gently, by a plain function that its code listens to; None: it is cancelled.
    """

    __slots__ = ("_abort", "_cancelling", "_report", "ended", "has_begun", "insists", "leave_slot", "loop", "task")

    def __init__(self, loop: Any, task: Any, report: Report, abort: Callable[[], object] | None) -> None:
        self.loop: Any = loop
        self.ended: EndedBy | None = None
        self.has_begun: bool = False
        self.insists: bool = False
        self.leave_slot: Callable[[], object] | None = None
        self.task: weakref.ref[Any] = weakref.ref(task)
        self._report = report
        self._abort = abort
        self._cancelling: Cancelling | None = cancelling(task)

    def end(self, reason: EndedBy) -> None:
        """From any thread. Only the first reason counts."""
        run_in(self.loop, self._end, reason)

    def _end(self, reason: EndedBy) -> None:
        if self.ended is not None or self._cancelling is None:
            return
        self.ended = reason
        self._report("interrupted", reason)
        if self._abort is None or not self.has_begun:
            if not self._cancelling.cancel() and self.leave_slot is not None:
                self.leave_slot()
            if not self.insists:
                return
        else:
            try:
                self._abort()
            except Exception:
                logger.exception("the abort hook of a turn raised; the turn is cancelled instead")
                self._cancelling.cancel()
                return
        if isinstance(self.loop, asyncio.AbstractEventLoop):
            self.loop.call_later(GRACE, self._cancel)
        else:
            spawn(self._cancel_later)

    def _cancel(self) -> None:
        if self._cancelling is not None:
            self._cancelling.cancel()

    async def _cancel_later(self) -> None:
        await anyio.sleep(GRACE)
        self._cancel()

    def leave(self, error: BaseException | None) -> bool:
        """Whether the error that the block is left with is nothing but what `end` brought about.

        Anything else that was raised on the way out, another cancellation above all, is not to be hidden.
        """
        cancelling, self._cancelling = self._cancelling, None
        self._abort = self.leave_slot = None
        return cancelling is not None and cancelling.leave(error)

    def error(self) -> TurnError:
        """Of a body that was ended early."""
        if self.ended == "lost":
            return TurnLostError(
                "the lease that keeps this session's turns apart ran out while this turn ran, so another process may "
                "have begun one of its own; look at what is stored before you send it again"
            )
        what = "a newer turn interrupted this one" if self.ended == "newer" else "this turn was stopped"
        so_far = "; what it stored until then is stored" if self.has_begun else " before it began; nothing is stored"
        reason: EndReason = "newer" if self.ended == "newer" else "stopped"
        return TurnInterruptedError(f"{what}{so_far}", reason=reason, started=self.has_begun)
