"""What runs inside a turn, and how it is made to end early from outside."""

from __future__ import annotations

import logging
import weakref
from collections.abc import Callable
from typing import Literal

from ._loops import Loop
from .errors import TurnError, TurnInterruptedError, TurnLostError
from .events import TurnKind

logger = logging.getLogger("stale_retry")

Why = Literal["interrupted", "lost"]
Report = Callable[[TurnKind, Why], object]


class Body:
    """The task inside an `async with turns(key)`. It is left in whatever task the block is left in.

    Attributes:
        task: who waits for what it does.

    Args:
        report: told when it is made to end.
        abort: ends it gently, by a plain function that its code listens to; None: it is cancelled.
        can_end: whether anything may ever end it early.
    """

    def __init__(self, loop: Loop, report: Report, abort: Callable[[], object] | None, *, can_end: bool) -> None:
        self.loop = loop
        self.ended: Why | None = None
        self.has_begun = False
        self._report = report
        self._abort = abort
        self.task: weakref.ref[object] = weakref.ref(loop.current_task())
        self._cancelling = loop.cancelling() if can_end else None

    def is_in(self, other: Body) -> bool:
        """Whether the same task waits for the other, which would wait for itself."""
        return self.task() is other.task()

    def end(self, why: Why) -> None:
        """From any thread. Only the first reason counts."""
        self.loop.call(self._end, why)

    def _end(self, why: Why) -> None:
        if self.ended is not None or self._cancelling is None:
            return
        self.ended = why
        self._report("interrupted", why)
        if self._abort is None or not self.has_begun:
            self._cancelling.cancel()
            return
        try:
            self._abort()
        except Exception:
            logger.exception("the abort hook of a turn raised; the turn is cancelled instead")
            self._cancelling.cancel()

    def leave(self, error: BaseException | None) -> bool:
        """Whether the error that the block is left with is nothing but what `end` brought about.

        Anything else that was raised on the way out, another cancellation above all, is not to be hidden.
        """
        cancelling, self._cancelling = self._cancelling, None
        return cancelling is not None and cancelling.leave(error)

    def error(self) -> TurnError:
        """Of a body that was made to end."""
        if self.ended == "lost":
            return TurnLostError(
                "the lease that keeps this session's turns apart ran out while this turn ran, so another process may "
                "have begun one of its own; look at what is stored before you send it again"
            )
        so_far = "; what it stored until then is stored" if self.has_begun else " before it began; nothing is stored"
        return TurnInterruptedError(f"a newer turn ended this one{so_far}", started=self.has_begun)
