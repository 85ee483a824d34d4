"""A coroutine in a task of its own, for callers that wait for it: their cancellations are passed on to it."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Coroutine
from typing import Any, Generic, TypeVar, cast

import anyio

from .._loops import cancelled_class, spawn
from ._body import GRACE

T = TypeVar("T")


class Worker(Generic[T]):
    """Begins soon after it is made, in the current event loop and in a copy of this context.

    Attributes:
        done: set when it has ended.

    Args:
        on_done: called then, too.
    """

    def __init__(
        self, work: Callable[[], Coroutine[Any, Any, T]], on_done: Callable[[], object] = lambda: None
    ) -> None:
        self.done = anyio.Event()
        self._work = work
        self._on_done = on_done
        self._result: T | None = None
        self._error: BaseException | None = None
        self._traceback: Any = None
        self._scope = anyio.CancelScope()
        self._task: Any = spawn(self._run)
        self._is_native = isinstance(self._task, asyncio.Task)
        if self._is_native:
            self._task.add_done_callback(self._end)  # it may be cancelled before it begins

    async def _run(self) -> None:
        try:
            if self._is_native:
                self._result = await self._work()
                return
            with self._scope:
                self._result = await self._work()
            if self._scope.cancelled_caught:
                raise asyncio.CancelledError
        except BaseException as error:
            self._error, self._traceback = error, error.__traceback__
        finally:
            if not self._is_native:
                self._end()

    def _end(self, task: asyncio.Task[None] | None = None) -> None:
        if task is not None and task.cancelled():
            self._error = asyncio.CancelledError()
        self.done.set()
        self._on_done()

    def cancel(self) -> None:
        if self._is_native:
            self._task.cancel()
        else:
            self._scope.cancel()

    def result(self) -> T:
        """What it returned, when it is done; its error is raised."""
        if self._error is not None:
            raise self._error.with_traceback(self._traceback)
        return cast("T", self._result)

    async def ended(self, cancelled: BaseException | None = None) -> None:
        """Wait until it is done. Each cancellation of the caller is passed on, and raised when it is done.

        A scope of anyio's, or of trio, cancels its tasks again and again; it is passed on every `GRACE` seconds.

        Args:
            cancelled: a cancellation of the caller that was caught before.
        """
        if cancelled is not None:
            self.cancel()
        while not self.done.is_set():
            try:
                if cancelled is not None and anyio.current_effective_deadline() == -math.inf:
                    with anyio.move_on_after(GRACE, shield=True):
                        await self.done.wait()
                    if not self.done.is_set():
                        self.cancel()
                else:
                    await self.done.wait()
            except cancelled_class() as error:
                cancelled = error
                self.cancel()
        if cancelled is not None:
            try:
                raise cancelled
            finally:
                del cancelled
