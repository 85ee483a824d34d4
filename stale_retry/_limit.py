"""A time limit around awaits, entered and left without an await."""

from __future__ import annotations

import math
import sys
from types import TracebackType
from typing import TYPE_CHECKING, Any

from ._loops import current_loop, is_asyncio

if TYPE_CHECKING:
    import asyncio


class _AsyncioLimit:
    # As `asyncio.timeout` does it: a scope of anyio's takes several times as long, and before anyio 4.16 it swallowed
    # a cancellation that came at the very instant of the limit.

    __slots__ = ("_before", "_cancelled", "_handle", "_is_over", "_task", "is_over")

    def __init__(self, loop: asyncio.AbstractEventLoop, deadline: float) -> None:
        import asyncio

        task = asyncio.current_task(loop)
        assert task is not None  # noqa: S101  # it awaits
        self.is_over = False
        self._is_over = False
        self._cancelled = asyncio.CancelledError
        self._task = task
        self._before = task.cancelling()
        self._handle = loop.call_at(deadline, self._cancel)

    def _cancel(self) -> None:
        self._is_over = True
        self._task.cancel()

    def __enter__(self) -> _AsyncioLimit:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool:
        self._handle.cancel()
        if not self._is_over:
            return False
        self.is_over = self._task.uncancel() <= self._before and isinstance(error, self._cancelled)
        return self.is_over


class _ScopeLimit:
    __slots__ = ("_scope", "is_over")

    def __init__(self, deadline: float) -> None:
        import anyio

        self.is_over = False
        self._scope = anyio.CancelScope(deadline=deadline)

    def __enter__(self) -> _ScopeLimit:
        self._scope.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool:
        try:
            swallowed = bool(self._scope.__exit__(kind, error, traceback))
        except BaseException:
            self._scope.deadline = math.inf  # it was not left, where another task closes a generator
            raise
        self.is_over = swallowed and error is not None
        return swallowed


class _NoLimit:
    __slots__ = ()

    is_over = False

    def __enter__(self) -> _NoLimit:
        return self

    def __exit__(self, *_: object) -> None:
        pass


_no_limit = _NoLimit()


def time_limit(deadline: float) -> Any:
    """Cancel the block at `deadline`, on the running loop's clock; infinity sets no limit.

    The result has `is_over`: whether the block was cancelled for that, which its end swallows.
    """
    if deadline == math.inf:
        return _no_limit
    loop = current_loop()
    if sys.version_info >= (3, 11) and is_asyncio(loop):
        return _AsyncioLimit(loop, deadline)
    return _ScopeLimit(deadline)
