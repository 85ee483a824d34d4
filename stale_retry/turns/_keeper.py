"""The leases that one event loop holds in one store: a task that asks one question a second for all of them."""

from __future__ import annotations

import contextvars
import logging
import time
import weakref
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import anyio

from .._loops import current_loop, is_closed, spawn
from ._body import GRACE
from .leases import LeaseStore

if TYPE_CHECKING:
    from ._leases import HeldLease

logger = logging.getLogger("stale_retry")

SECOND = 1.0
"""Seconds between two questions."""

LINGER = 5.0
"""Seconds that the connections of an event loop without turns are kept."""


class Keeper:
    """Renews the leases, and hears whether a turn is asked to end. Used in its own event loop only.

    Attributes:
        store: of the leases.
    """

    def __init__(self, store: LeaseStore) -> None:
        self.store = store
        self._held: dict[str, HeldLease] = {}
        self._users = 0
        self._used = anyio.Event()
        self._unused = anyio.Event()
        self._is_running = False
        self._close: Any = getattr(store, "close_here", None)

    def enter(self) -> None:
        """The store is used from now on; `leave` ends that."""
        self._users += 1
        self._used.set()
        if not self._is_running:
            self._is_running = True
            contextvars.Context().run(spawn, self._run)  # it outlives the turn that happens to be the first

    def leave(self) -> None:
        self._users -= 1
        if not self._users:
            self._unused.set()
            self._unused = anyio.Event()

    def remember(self, lease: HeldLease) -> None:
        self._held[lease.token] = lease

    def forget(self, lease: HeldLease) -> None:
        self._held.pop(lease.token, None)

    async def _run(self) -> None:
        try:
            while await self._is_used():
                await self._keep()
        finally:
            # At the end of the event loop, the turns give their leases back first.
            with anyio.move_on_after(GRACE, shield=True):
                while self._users:
                    await self._unused.wait()
            self._is_running = False
            if self._close is not None:
                with anyio.move_on_after(GRACE, shield=True):
                    await self._close()

    async def _is_used(self) -> bool:
        if not self._users and self._close is not None:
            self._used = anyio.Event()
            with anyio.move_on_after(LINGER):
                await self._used.wait()
        return self._users > 0

    async def _keep(self) -> None:
        """Until the store is not used any more."""
        timeout = self.store.timeout
        pause = min(SECOND, timeout / 3)
        while self._users:
            with anyio.move_on_after(pause):
                await self._unused.wait()
                return
            held = list(self._held.values())
            if not held:
                continue
            renew = time.monotonic() + timeout * 2 / 3 >= min(lease.good_until for lease in held)
            is_answered = await self.ask(held, renew=renew)
            pause = min(SECOND, timeout / 3 if is_answered else timeout / 30)

    async def ask(self, held: Sequence[HeldLease], *, renew: bool) -> bool:
        """One question for all. Whether the store answered."""
        timeout = self.store.timeout
        asked = time.monotonic()
        # The last moment is a little early, because a turn takes a while to end. Yet the store is asked however late
        # it is: a process that was suspended, and whose lease nobody took, goes on.
        last_moments = [lease.good_until - timeout / 10 for lease in held]
        limit = max(min(last_moments) - asked, timeout / 10) if renew else timeout / 3
        try:
            with anyio.fail_after(limit):
                news = await self.store.look({lease.token: lease.name for lease in held}, renew=renew)
        except Exception:
            logger.warning("the leases of running turns could not be renewed", exc_info=True)
            now = time.monotonic()
            for lease, last_moment in zip(held, last_moments, strict=True):
                if now >= last_moment:
                    self._lose(lease)
            return False
        for lease in held:
            heard = news.get(lease.token)
            if heard is None:
                self._lose(lease)
                continue
            if renew:
                lease.good_until = asked + timeout
            lease.hear(heard.stop, is_waited_for=heard.is_waited_for)
        return True

    def _lose(self, lease: HeldLease) -> None:
        if self._held.pop(lease.token, None) is not None:  # one that was given back meanwhile is not lost
            lease.lose()


class Shared:
    """What the queues of one process have in common that share one store of leases."""

    def __init__(self, store: LeaseStore) -> None:
        from ._queues import TurnQueues

        self.store = store
        self.queues: TurnQueues = TurnQueues()
        self._keepers: dict[Any, Keeper] = {}

    def keeper(self) -> Keeper:
        """The current event loop's."""
        loop = current_loop()
        keeper = self._keepers.get(loop)
        if keeper is None:
            for other in [other for other in self._keepers if is_closed(other)]:
                self._keepers.pop(other, None)
            keeper = self._keepers[loop] = Keeper(self.store)
        return keeper


_all_shared: weakref.WeakValueDictionary[int, Shared] = weakref.WeakValueDictionary()


def shared_of(store: LeaseStore) -> Shared:
    """One for each store: queues that share one are one queue."""
    shared = _all_shared.get(id(store))
    if shared is None:
        shared = _all_shared[id(store)] = Shared(store)
    return shared
