"""One turn's lease, taken, kept alive and given back by a task of its own."""

from __future__ import annotations

import logging
import math
import random
import uuid
from collections.abc import Callable

import anyio

from ._loops import Loop, current_loop
from .leases import LeaseStore

logger = logging.getLogger("stale_retry")

GRACE = 5.0
"""Seconds that a store is given to take a lease back."""


class HeldLease:
    """Its task enters and leaves it, so that no scope is open around the turn's code, and so that a lease is given back
    whatever becomes of the turn's own task. Made in the event loop that it is kept alive in; `stop` from anywhere.
    """

    def __init__(
        self,
        store: LeaseStore,
        name: str,
        *,
        on_wait: Callable[[], object],
        on_lost: Callable[[], object],
        on_end: Callable[[], object],
    ) -> None:
        self.loop: Loop = current_loop()
        self.error: Exception | None = None
        self.is_ours: bool = False
        self.is_lost: bool = False
        self._store = store
        self._name = name
        self._token = uuid.uuid4().hex
        self._on_wait = on_wait
        self._on_lost = on_lost
        self._on_end = on_end
        self._good_until = 0.0
        self._answered = anyio.Event()
        self._ended = anyio.Event()
        self._until_stopped = anyio.CancelScope()

    async def take(self, *, patiently: bool) -> bool:
        """Whether it is ours. Waits for it until `stop` is called, or asks once.

        Raises:
            Exception: what the store raised, when it could not be asked.
        """
        self.loop.spawn(lambda: self._hold(patiently))
        await self._answered.wait()
        if self.error is not None:
            raise self.error
        return self.is_ours

    def stop(self) -> None:
        """Give it back soon. From any thread."""
        self.loop.call(self._until_stopped.cancel)

    async def end(self) -> None:
        """Give it back, which a cancellation does not prevent."""
        self.stop()
        with anyio.move_on_after(GRACE, shield=True):
            await self._ended.wait()

    async def _hold(self, patiently: bool) -> None:
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
            try:
                with anyio.move_on_after(GRACE, shield=True):
                    await self._release()
            finally:
                self._ended.set()
                self._on_end()

    async def _acquire(self, patiently: bool) -> bool:
        answered = -math.inf
        while True:
            asked = anyio.current_time()
            try:
                if await self._store.acquire(self._name, self._token):
                    self._good_until = asked + self._store.timeout
                    return True
                answered = asked
            except Exception:
                # Who was told to wait once goes on asking for a while: a server that restarts is soon back.
                if asked > answered + self._store.timeout:
                    raise
                logger.warning("the store of turns' leases did not answer; asking again", exc_info=True)
            if not patiently:
                return False
            self._on_wait()
            await anyio.sleep(self._store.poll * random.uniform(0.5, 1.5))

    async def _keep(self) -> None:
        """Until it is stopped or lost."""
        timeout = self._store.timeout
        pause = timeout / 3
        while True:
            await anyio.sleep(pause)
            asked = anyio.current_time()
            # A little early, because a turn takes a moment to end. Yet asked however late it is: who was suspended,
            # and lost his lease to nobody, goes on.
            last_moment = self._good_until - timeout / 10
            try:
                with anyio.fail_after(max(last_moment - asked, timeout / 10)):
                    is_ours = await self._store.renew(self._name, self._token)
                self._good_until, pause = asked + timeout, timeout / 3
            except Exception:
                logger.warning("a turn's lease could not be renewed", exc_info=True)
                is_ours, pause = anyio.current_time() < last_moment, timeout / 30
            if not is_ours:
                return self._lose()

    async def _release(self) -> None:
        try:
            was_ours = await self._store.release(self._name, self._token)
        except Exception:
            logger.warning("a turn's lease could not be given back; it runs out by itself", exc_info=True)
            was_ours = anyio.current_time() < self._good_until
        if self.is_ours and not was_ours and not self.is_lost:
            self._lose()

    def _lose(self) -> None:
        self.is_lost = True
        self._on_lost()
