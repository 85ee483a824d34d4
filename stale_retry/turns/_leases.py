"""One turn's lease, taken, kept alive and given back by tasks of its own."""

from __future__ import annotations

import logging
import math
import random
import time
from collections.abc import Callable
from typing import Any, cast

import anyio

from .._context import retry_checks
from .._loops import current_loop, now, run_in, spawn
from ._body import GRACE, EndedBy
from ._keeper import Keeper
from .errors import EndReason, TurnLostError
from .leases import LeaseAnswer

logger = logging.getLogger("stale_retry")


class HeldLease:
    """Its task takes and gives back, so that no scope is open around the turn's code, and so that a lease is given back
    whatever becomes of the turn's own task. Made in the event loop that it is kept alive in; `stop` from anywhere.

    Attributes:
        is_ours: whether it was taken.
        is_lost: whether it is another token's, or nobody's, although it was not given back.
        is_superseded: whether a newer turn of another process interrupted this one before it was taken.
        is_waited_for: whether another process asked for it lately.
        good_until: when it runs out unless it is renewed, by `time.monotonic`.
    """

    def __init__(
        self,
        keeper: Keeper,
        name: str,
        token: str,
        *,
        interrupts: bool,
        on_wait: Callable[[], object],
        on_asked_to_end: Callable[[EndedBy], object],
        on_end: Callable[[], object],
    ) -> None:
        self.loop: Any = current_loop()
        self.name = name
        self.token = token
        self.is_ours: bool = False
        self.is_lost: bool = False
        self.is_superseded: bool = False
        self.is_waited_for: bool = False
        self.good_until: float = 0.0
        self.error: Exception | None = None
        self._keeper = keeper
        self._store = keeper.store
        self._interrupts = interrupts
        self._on_wait = on_wait
        self._on_asked_to_end = on_asked_to_end
        self._on_end = on_end
        self._answered = anyio.Event()
        self._lost = anyio.Event()
        self._ended = anyio.Event()
        self._until_stopped = anyio.CancelScope()
        self._asking = anyio.CancelScope()

    async def take(self, *, patiently: bool) -> bool:
        """Whether it is ours. Waits for it until `stop` is called, or asks once.

        Raises:
            Exception: what the store raised, when it could not be asked.
        """
        spawn(lambda: self._hold(patiently))
        await self._answered.wait()
        if self.error is not None:
            raise self.error
        return self.is_ours

    def stop(self) -> None:
        """Give it back soon. From any thread."""
        run_in(self.loop, self._stop)

    def _stop(self) -> None:
        self._asking.deadline = now(self.loop) + GRACE
        self._until_stopped.cancel()

    async def end(self) -> None:
        """Give it back, which a cancellation does not prevent."""
        self.stop()
        with anyio.move_on_after(GRACE, shield=True):
            await self._ended.wait()

    @property
    def is_over(self) -> bool:
        """Whether it was given back, or is about to be."""
        return self._ended.is_set() or self._until_stopped.cancel_called

    async def check(self) -> None:
        """Raise if it is lost: by the clock, and by asking the store only when it should have been renewed by now.

        Raises:
            TurnLostError: nothing may be stored by this turn any more.
        """
        is_over = self.is_over
        if not self.is_lost and not is_over and time.monotonic() >= self.good_until and current_loop() is self.loop:
            await self._keeper.ask([self], renew=True)
            await anyio.lowlevel.checkpoint()  # where the block's own task is cancelled, if it has just been lost
        if self.is_lost or (not is_over and time.monotonic() >= self.good_until):
            raise TurnLostError(
                "the turn that this append belongs to has lost its lease, so another process may have begun a turn of "
                "its own; nothing of this append is stored by this attempt"
            )

    def hear(self, asked_to_end: EndReason | None, *, is_waited_for: bool) -> None:
        """What the keeper heard of it."""
        self.is_waited_for = is_waited_for
        if asked_to_end is not None:
            self._on_asked_to_end(asked_to_end)

    def lose(self) -> None:
        self.is_lost = True
        self._lost.set()
        self._on_asked_to_end("lost")

    async def _hold(self, patiently: bool) -> None:
        self._keeper.enter()
        try:
            with self._until_stopped:
                try:
                    self.is_ours = await self._acquire(patiently)
                except Exception as error:
                    self.error = error
                self._answered.set()
                if self.is_ours:
                    await self._keep()
        finally:
            self._answered.set()
            self._keeper.forget(self)
            try:
                with anyio.move_on_after(GRACE, shield=True):
                    await self._release()
            finally:
                self._ended.set()
                self._keeper.leave()
                self._on_end()

    async def _acquire(self, patiently: bool) -> bool:
        answered, arrived = -math.inf, None
        while True:
            asked = time.monotonic()
            try:
                answer = await self._ask(arrived)
                if answer.is_ours:
                    self.good_until = asked + self._store.timeout
                    return True
                answered, arrived = asked, answer.arrived
                if answer.is_superseded:
                    self.is_superseded = True
                    return False
            except Exception:
                # A turn that was told to wait once asks on for a while: a server that restarts is soon back.
                if asked > answered + self._store.timeout:
                    raise
                logger.warning("the store of turns' leases did not answer; asking again", exc_info=True)
            if not patiently:
                return False
            self._on_wait()
            await anyio.sleep(self._store.poll * random.uniform(0.5, 1.5))

    async def _ask(self, arrived: float | None) -> LeaseAnswer:
        # Half a question can leave a database locked, so one that is stopped has a while to be answered.
        with anyio.CancelScope(shield=True) as self._asking:
            return await self._store.acquire(self.name, self.token, arrived=arrived, interrupts=self._interrupts)
        return cast("LeaseAnswer", await anyio.sleep_forever())  # is cancelled, because it was stopped

    async def _keep(self) -> None:
        """Until it is stopped. A turn that lost its lease has a while to end before the next one of its key begins."""
        self._keeper.remember(self)
        await self._lost.wait()
        await anyio.sleep(GRACE)
        logger.warning(
            "a turn that lost its lease has not ended within %.0f s; the next turn of its key begins while it runs",
            GRACE,
        )

    async def _release(self) -> None:
        if self.is_lost or self.error is not None:
            return
        try:
            was_ours = await self._store.release(self.name, self.token)
        except Exception:
            logger.warning("a turn's lease could not be given back; it runs out by itself", exc_info=True)
            was_ours = time.monotonic() < self.good_until
        if self.is_ours and not was_ours:
            self.lose()


def check_before_retries(lease: HeldLease) -> None:
    """Let retried appends in this context look from now on whether the lease is still held."""
    checks = retry_checks.get()
    retry_checks.set((*(check for check in checks if not _is_idle(check)), lease.check))


def stop_checking(lease: HeldLease) -> None:
    retry_checks.set(tuple(check for check in retry_checks.get() if check != lease.check))


def _is_idle(check: Callable[[], object]) -> bool:
    """Whether it is that of a lease that was given back, and so never finds anything."""
    lease = getattr(check, "__self__", None)
    return isinstance(lease, HeldLease) and lease.is_over and not lease.is_lost
