"""A gate that is entered and left in a task of its own.

So no scope or task group that the gate opens surrounds the caller's code, which may open and close its own in any
order; the gate may be left from where no await is possible; and no cancellation of the caller interrupts its leaving.
"""

from __future__ import annotations

import logging
from contextlib import AbstractAsyncContextManager, AsyncExitStack, nullcontext
from typing import Any, cast

import anyio

from ._loops import current_loop, run_in, spawn

logger = logging.getLogger("stale_retry")

RELEASE_GRACE = 5.0
"""Seconds that the caller waits for a gate to be left."""


class Hold:
    """One place at a gate: `enter` it, `release` it from anywhere, and wait until it is `left`."""

    def __init__(self, place: AbstractAsyncContextManager[Any]) -> None:
        self._state = _State(place)

    async def enter(self) -> None:
        """Wait until the gate is entered.

        Raises:
            Exception: whatever the gate raised.
        """
        state = self._state
        spawn(state.keep)
        try:
            await state.entered.wait()
        except BaseException:
            state.give_back()
            raise
        error, state.error = state.error, None
        if error is not None:
            try:
                raise error
            finally:
                del error

    def release(self) -> None:
        """Have the gate left, soon."""
        self._state.give_back()

    async def left(self) -> None:
        """Wait, whatever happens, until the gate is left, for `RELEASE_GRACE` seconds at most."""
        with anyio.move_on_after(RELEASE_GRACE, shield=True):
            await self._state.left.wait()
            return
        logger.warning("the gate was not released within %.0f s", RELEASE_GRACE)

    def __del__(self) -> None:
        self._state.give_back_from_anywhere()


class _State:
    """What the task and its owner share, so that the task keeps no owner alive."""

    def __init__(self, place: AbstractAsyncContextManager[Any]) -> None:
        self.entered, self.left = anyio.Event(), anyio.Event()
        self.error: BaseException | None = None
        self._place: AbstractAsyncContextManager[Any] | None = place
        self._given_back = anyio.Event()
        self._entering = anyio.CancelScope()
        self._loop = current_loop()

    async def keep(self) -> None:
        place, self._place = cast("AbstractAsyncContextManager[Any]", self._place), None
        try:
            with self._entering:
                stack = AsyncExitStack()
                await stack.enter_async_context(place)
                del place
                self.entered.set()
                # One that is entered although nobody waits any longer is left in peace.
                with anyio.CancelScope(shield=True) if self._entering.cancel_called else nullcontext():
                    async with stack:
                        await self._given_back.wait()
        except (anyio.get_cancelled_exc_class(), GeneratorExit) as raised:  # the event loop ends, or the gate's own
            if not self.entered.is_set():
                self.error = raised
            raise
        except BaseException as raised:
            # Whether the event is stored has been decided by the time a gate is left, so that changes nothing.
            if self.entered.is_set():
                logger.warning("the gate could not be released", exc_info=raised)
            else:
                self.error = raised
        finally:
            self.entered.set()
            self.left.set()

    def give_back(self) -> None:
        if not self.entered.is_set():
            self._entering.cancel()
        self._given_back.set()

    def give_back_from_anywhere(self) -> None:
        if not self.left.is_set():
            run_in(self._loop, self.give_back)  # where the loop is over, so is the task
