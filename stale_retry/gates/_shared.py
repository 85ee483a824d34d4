"""What the gates that processes share have in common: nothing depends on them, so one that fails is passed over."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import time
import warnings
import weakref
from collections.abc import Callable, Hashable
from contextlib import AbstractAsyncContextManager
from contextvars import ContextVar
from typing import Any, Generic, TypeVar

import anyio

from ._key import lock_of

logger = logging.getLogger("stale_retry")

S = TypeVar("S")
Lock = Callable[[bytes], AbstractAsyncContextManager[None]]

REACH = 1.0
"""Seconds within which a lock server must answer."""

REST = 5.0
"""Seconds for which a gate that has failed is passed over."""


class SharedGate(Generic[S]):
    """Takes the session and returns the place to enter. `patience`: how long one waits for it, in seconds."""

    def __init__(self, server: str, key: Callable[[S], Hashable], lock: Lock, patience: float | None = None) -> None:
        if not callable(key):
            raise TypeError(f"key must be a function of the session, got {key!r}")
        self.server = server
        self.lock = lock
        self.patience = patience
        self._key = key
        self._rests_until = -math.inf

    def __call__(self, session: S) -> Place:
        lock = lock_of(self._key(session))
        others = [place for place in (reference() for reference in _places.get()) if place is not None]
        place = Place(self, lock, shares=any(other.holds(self.server, lock) for other in others))
        _places.set((*map(weakref.ref, others), weakref.ref(place)))
        return place

    @property
    def rests(self) -> bool:
        return time.monotonic() < self._rests_until

    def failed(self, error: Exception) -> None:
        if not self.rests:
            self._rests_until = time.monotonic() + REST
            logger.warning(
                "the gate on %s failed (%s) and is passed over for %.0f s", self.server, type(error).__qualname__, REST
            )


class Place:
    """One contender's place at a gate, to be entered once. Entering and leaving raise nothing but a cancellation.

    One that is asked for where the same lock is held already, by an append inside another or a task that was started
    inside, shares it: to wait for oneself would last for ever.
    """

    def __init__(self, gate: SharedGate[Any], lock: bytes, *, shares: bool) -> None:
        self._gate = gate
        self._lock = lock
        self._shares = shares
        self._holding: Holding | None = None

    def holds(self, server: str, lock: bytes) -> bool:
        return self._holding is not None and self._holding.lasts and (self._gate.server, self._lock) == (server, lock)

    async def __aenter__(self) -> None:
        gate = self._gate
        if self._shares or gate.rests:
            return
        holding = Holding(gate, self._lock)
        try:
            await asyncio.wait({holding.settled}, timeout=gate.patience)
        except BaseException:
            holding.give_up()
            raise
        if holding.settled.done():
            self._holding = holding
        else:
            holding.give_up()
            gate.failed(TimeoutError())

    async def __aexit__(self, *_: object) -> None:
        holding, self._holding = self._holding, None
        if holding is not None:
            holding.left.set()
            await asyncio.wait({holding.task})

    def __del__(self) -> None:
        if self._holding is not None:
            with contextlib.suppress(RuntimeError):  # the loop is closed, and its connections with it
                self._holding.loop.call_soon_threadsafe(self._holding.left.set)
            warnings.warn(f"a place at the gate on {self._gate.server} was dropped", ResourceWarning, stacklevel=2)


class Holding:
    """A lock that is taken, held and freed by a task of its own.

    A cancel scope cancels its task at every await, again and again, and a driver that is cancelled while it tells the
    server that nobody waits any more leaves the server waiting. Here one cancellation arrives, or none.
    """

    def __init__(self, gate: SharedGate[Any], lock: bytes) -> None:
        self._gate = gate
        self._lock = lock
        self.loop = asyncio.get_running_loop()
        self.settled = self.loop.create_future()
        self.left = asyncio.Event()
        self.task = self.loop.create_task(self._hold())
        _tasks.add(self.task)
        self.task.add_done_callback(_tasks.discard)

    @property
    def lasts(self) -> bool:
        return not self.left.is_set() and not self.task.done()

    def give_up(self) -> None:
        self.left.set()
        if not self.settled.done():
            self.task.cancel()

    async def _hold(self) -> None:
        lock = self._gate.lock(self._lock)
        try:
            await lock.__aenter__()
            try:
                self.settled.set_result(None)
                await self.left.wait()
            finally:
                with anyio.fail_after(REACH):
                    await lock.__aexit__(None, None, None)
        except Exception as error:
            self._gate.failed(error)
        finally:
            if not self.settled.done():
                self.settled.set_result(None)


_places: ContextVar[tuple[weakref.ref[Place], ...]] = ContextVar("stale_retry.places", default=())
"""Those that were asked for around here."""
_tasks: set[asyncio.Task[None]] = set()
"""The event loop itself keeps no task alive."""
