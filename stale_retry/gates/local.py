"""The queue in which contenders of one session, in one process, wait for their places."""

from __future__ import annotations

import warnings
import weakref
from collections.abc import Callable, Hashable
from contextvars import ContextVar
from types import TracebackType
from typing import Any, cast

import anyio

from .._loops import current_loop, run_in


def local_gate(key: Callable[[Any], Hashable]) -> LocalGate:
    """A gate for the contenders of one process: first come, first served, within each event loop, for every attempt.

    `key` tells sessions apart, for instance `lambda session: session.id`. Who had to wait for his place refreshes
    before his first attempt, unless he comes with the very session that was stored through last. A call nested in
    one that holds the place, or made by a task started inside, shares it and does not wait.

    Nothing is kept of a session that nobody appends to. Event loops in several threads may share one gate; their
    queues are apart. `len(gate)` is the number of sessions that are held now.

    Raises:
        TypeError: `key` is not a function.
    """
    return LocalGate(key)


class LocalGate:
    """See `local_gate`. Also an async context manager by itself: `async with gate(session): ...`."""

    def __init__(self, key: Callable[[Any], Hashable]) -> None:
        if not callable(key):
            raise TypeError(f"key must be a function of the session, got {key!r}")
        self._key = key
        # An entry goes with its loop, so what waited in a loop that was simply closed holds nothing.
        self.loops: weakref.WeakKeyDictionary[Any, dict[Hashable, _Queue]] = weakref.WeakKeyDictionary()

    def __call__(self, session: Any) -> Place:
        loop = current_loop()
        queues = self.loops.get(loop)
        if queues is None:
            queues = self.loops.setdefault(loop, {})
        return Place(loop, queues, self._key(session))

    def __len__(self) -> int:
        # Not by iterating: a loop that begins in another thread meanwhile would break it off.
        loops = (reference() for reference in self.loops.keyrefs())
        return sum(len(self.loops.get(loop, ())) for loop in loops if loop is not None)

    def is_waited_for(self, session: Any) -> bool:
        """Whether anybody waits for a place, in this event loop."""
        queue = self.loops.get(current_loop(), {}).get(self._key(session))
        return queue is not None and bool(queue.waiting)

    def __reduce__(self) -> tuple[Any, ...]:
        return LocalGate, (self._key,)


class _Hold:
    """That somebody has the place. Inherited by whatever is started meanwhile."""

    __slots__ = ("ended",)

    def __init__(self) -> None:
        self.ended = False


_holds: ContextVar[tuple[_Hold, ...]] = ContextVar("stale_retry.holds", default=())


class _Queue:
    """Those who want one session now: there is none where nobody does."""

    __slots__ = ("hold", "last", "waiting")

    def __init__(self) -> None:
        self.hold: _Hold | None = None
        self.waiting: dict[Place, None] = {}  # in the order in which they came
        self.last: weakref.ref[Any] | None = None


class Place:
    """One contender's place: `take` it or `wait` for it, then `release` it, from any task.

    Attributes:
        loop: the event loop in which it is.
        waited: whether it had to be waited for.
    """

    __slots__ = ("__weakref__", "_called", "_hold", "_key", "_queue", "_queues", "loop", "waited")

    def __init__(self, loop: Any, queues: dict[Hashable, _Queue], key: Hashable) -> None:
        self.waited: bool = False
        self.loop: Any = loop
        self._queues = queues
        self._key = key
        self._queue: _Queue | None = None
        self._hold: _Hold | None = None
        self._called: anyio.Event | None = None

    def take(self) -> bool:
        """Take the place if it is free, or held around this call, which shares it then. False: `wait` for it."""
        queue = self._queues.get(self._key)
        if queue is None:
            queue = self._queues[self._key] = _Queue()
        elif queue.hold in _holds.get():
            self._queue = queue
            return True
        else:
            return False
        self._queue = queue
        self._begin(queue)
        self._note_hold()
        return True

    async def wait(self) -> None:
        """Wait for the place behind everybody who came before."""
        queue = self._queue = self._queues[self._key]
        self.waited = True
        self._called = anyio.Event()
        queue.waiting[self] = None
        try:
            await self._called.wait()
        except BaseException:
            queue.waiting.pop(self, None)
            self.release()
            raise
        self._note_hold()

    def is_behind(self, session: Any) -> bool:
        """Whether another may have stored something while this one waited."""
        last = None if self._queue is None else self._queue.last
        return self.waited and (last is None or last() is not session)

    def stored_through(self, session: Any) -> None:
        """Tell those who wait by what session the store was changed last."""
        queue = self._queue
        if queue is not None and queue.waiting:
            try:
                queue.last = weakref.ref(session)
            except TypeError:
                queue.last = None

    def release(self) -> None:
        """Give the place to the next; nothing the second time."""
        hold, self._hold = self._hold, None
        if hold is None:
            return
        holds = _holds.get()
        if len(holds) == 1 and holds[0] is hold:
            _holds.set(())
        elif hold in holds:
            _holds.set(tuple(other for other in holds if other is not hold))
        _leave(self._queues, self._key, hold)

    async def __aenter__(self) -> None:
        if not self.take():
            await self.wait()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.release()

    def _begin(self, queue: _Queue) -> None:
        self._hold = queue.hold = _Hold()

    def _call(self, queue: _Queue) -> None:
        self._begin(queue)
        cast(anyio.Event, self._called).set()

    def _note_hold(self) -> None:
        if self._hold is not None:
            holds = _holds.get()
            _holds.set((*(hold for hold in holds if not hold.ended), self._hold) if holds else (self._hold,))

    def __del__(self) -> None:
        hold = self._hold
        if hold is None:
            return
        self._hold = None
        _let_go(self.loop, self._queues, self._key, hold)
        warnings.warn(
            "a place at a local gate was dropped, and is free again: make each attempt with `with attempt:`, and close "
            "the generator that yields inside it",
            ResourceWarning,
            stacklevel=2,
        )


def _leave(queues: dict[Hashable, _Queue], key: Hashable, hold: _Hold) -> None:
    hold.ended = True
    queue = queues.get(key)
    if queue is None or queue.hold is not hold:
        return
    if not queue.waiting:
        del queues[key]
        return
    place = next(iter(queue.waiting))
    del queue.waiting[place]
    try:
        place._call(queue)  # pyright: ignore[reportPrivateUsage]  # of this module
    except RuntimeError:  # the loop is closed, and nobody waits any longer
        del queues[key]


def _let_go(loop: Any, queues: dict[Hashable, _Queue], key: Hashable, hold: _Hold) -> None:
    """Leave from a collection, which may run in any thread."""
    if not run_in(loop, _leave, queues, key, hold):  # nor is anybody left who waited
        queues.pop(key, None)
