"""The queue of each key: one holder of the slot, and waiters in order of arrival.

`Queues` and `Queue` are the whole of what `key=` and `TurnQueue` have in common, and take no lock. Below them are the
rules of `key=`: the store's own check keeps the data right, so this queue yields wherever waiting would do harm.
"""

# pyright: reportPrivateUsage=false
# what an event loop calls is a function here, and needs what only this module may use

from __future__ import annotations

import math
import warnings
import weakref
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterable
from contextlib import suppress
from contextvars import ContextVar
from functools import partial
from typing import Any, Generic, Protocol, TypeVar

from . import _checks
from ._loops import call_at, current_loop, new_signal, now, run_soon


class Waiter(Protocol):
    def wake(self) -> bool:
        """Tell a waiter that it is the holder now. False: nobody waits there any longer."""
        ...


W = TypeVar("W", bound=Waiter)


_NOBODY: OrderedDict[Any, None] = OrderedDict()  # stays empty; most queues never have a waiter


class Queue(Generic[W]):
    """The queue of one key. It exists while somebody holds its slot."""

    waiters: OrderedDict[W, None] = _NOBODY

    def add(self, waiter: W) -> None:
        """Let a waiter queue behind all others."""
        if self.waiters is _NOBODY:
            self.waiters = OrderedDict()
        self.waiters[waiter] = None

    def remove(self, waiter: W) -> None:
        """Take a waiter out of the queue that waits no longer; nothing if it is not in the queue."""
        self.waiters.pop(waiter, None)

    def next(self) -> W | None:
        """Take the waiter whose turn it is out of the queue."""
        return self.waiters.popitem(last=False)[0] if self.waiters else None


Q = TypeVar("Q", bound=Queue[Any])


class Queues(dict[Hashable, Q]):
    """The queues by key."""

    def hand_over(self, key: Hashable, queue: Q) -> None:
        """Give the slot to the next waiter; without one there is no queue any more."""
        while (waiter := queue.next()) is not None:
            if waiter.wake():
                return
        del self[key]


# The rules of `key=`

PATIENCE = 5.0
"""Seconds for which a holder may keep the slot while others wait."""

SHORTEST_PATIENCE = 0.05
"""Seconds: each revocation in a row comes four times sooner, down to this."""

KEPT = 0.25
"""Seconds of backoff, in all since the queue's last stored event, over which holders keep the slot."""


class Grant:
    """That a caller holds the slot. Tasks that it starts inherit the grant, and so share the slot.

    Attributes:
        ended: whether the slot was given back, or revoked.
        since: when it was granted; None until somebody waits.
        waits_for: the queues in which the holder, or what it started, waits itself.
    """

    ended = False
    since: float | None = None
    waits_for: tuple[SlotQueue, ...] = ()


_held: ContextVar[tuple[Grant, ...]] = ContextVar("stale_retry.slots", default=())


class SlotQueue(Queue["Slot"]):
    """The queue of one key in one event loop.

    Attributes:
        returning: callers back from a backoff.
        changes: how often somebody stored or was rejected.
        last: the session that was stored through last.
        kept: seconds of backoff over which the slot was kept since the last stored event.
        revoked: how often in a row the slot was revoked.
        timer_at: when the queue is checked next.
    """

    # Most queues never have a waiter, so what waiters need is set when there is one.
    returning: OrderedDict[Slot, None] = _NOBODY
    changes: int = 0
    last: weakref.ref[Any] | None = None
    kept: float = 0.0
    revoked: int = 0
    timer_at: float = math.inf
    _returning_next = False
    _cancel_timer: Callable[[], object] | None = None

    def __init__(self, grant: Grant) -> None:
        self.grant = grant

    def add_returning(self, slot: Slot) -> None:
        if self.returning is _NOBODY:
            self.returning = OrderedDict()
        self.returning[slot] = None

    def remove(self, waiter: Slot) -> None:
        super().remove(waiter)
        self.returning.pop(waiter, None)

    @property
    def is_waited_for(self) -> bool:
        return bool(self.waiters or self.returning)

    def next(self) -> Slot | None:
        """Callers back from a backoff and new waiters take turns."""
        if self.returning and (self._returning_next or not self.waiters):
            self._returning_next = False
            return self.returning.popitem(last=False)[0]
        self._returning_next = True
        return super().next()

    def note_change(self, session: Any = None) -> None:
        """Note that the store has changed, and by what session if that is known."""
        self.changes += 1
        self.last = None
        if session is not None and self.is_waited_for:
            with suppress(TypeError):  # not everything can be referred to weakly
                self.last = weakref.ref(session)

    def patience_ends(self, time: float) -> float:
        """When the slot is revoked if somebody waits; the holder's patience begins now if nobody has waited yet."""
        if self.grant.since is None:
            self.grant.since = time
        return self.grant.since + max(SHORTEST_PATIENCE, PATIENCE * 0.25**self.revoked)

    def watch(self, loop: Any, when: float, check: Callable[[], object]) -> None:
        """Have the queue checked at that time at the latest."""
        if when < self.timer_at:
            self.stop_watching()
            self.timer_at = when
            self._cancel_timer = call_at(loop, when, check)

    def stop_watching(self) -> None:
        cancel, self._cancel_timer, self.timer_at = self._cancel_timer, None, math.inf
        if cancel is not None:
            cancel()

    def would_close_a_circle(self, mine: Iterable[Grant]) -> bool:
        """Whether the holder waits, itself or by others, for a slot that one of these grants holds."""
        seen: set[int] = set()
        left: list[SlotQueue] = [self]
        while left:
            queue = left.pop()
            if id(queue) in seen:
                continue
            seen.add(id(queue))
            if queue.grant in mine:
                return True
            left.extend(queue.grant.waits_for)
        return False


class KeyedQueues:
    """The queues of a policy with `key`, apart for each event loop. Nothing is kept of a key that nobody uses."""

    def __init__(self) -> None:
        # An entry goes with its loop, so what waited in a loop that was simply closed holds nothing.
        self._by_loop: weakref.WeakKeyDictionary[Any, Queues[SlotQueue]] = weakref.WeakKeyDictionary()
        # Looking an entry up takes longer than all else that an uncontended slot costs.
        self._latest: tuple[Callable[[], Any], Queues[SlotQueue]] = (_nothing, Queues())

    def slot(self, key: Hashable) -> Slot:
        """A call's own slot, neither taken nor waited for yet."""
        loop = current_loop()
        of, queues = self._latest
        if of() is not loop:
            found = self._by_loop.get(loop)
            queues = self._by_loop.setdefault(loop, Queues()) if found is None else found
            self._latest = weakref.ref(loop, partial(_forget, weakref.ref(self))), queues
        return Slot(loop, queues, key)

    def of(self, key: Hashable) -> SlotQueue | None:
        """The queue of a key in the running event loop, None if nobody holds its slot."""
        of, queues = self._latest
        loop = current_loop()
        if of() is not loop:
            found = self._by_loop.get(loop)
            if found is None:
                return None
            queues = found
        return queues.get(key)

    def __len__(self) -> int:
        """The number of keys in use, in all event loops."""
        loops = (reference() for reference in self._by_loop.keyrefs())
        return sum(len(self._by_loop.get(loop, ())) for loop in loops if loop is not None)


class Slot:
    """One call's right to run: `take` it or `wait` for it, then `release` it."""

    waited: bool = False
    _grant: Grant | None = None
    _queue: SlotQueue | None = None

    def __init__(self, loop: Any, queues: Queues[SlotQueue], key: Hashable) -> None:
        self.loop = loop
        self._queues = queues
        self._key = key

    def take(self) -> bool:
        """Take the slot if it is free, or held around this call, which shares it then. False: `wait` for it.

        Raises:
            TypeError: the key is not hashable.
        """
        grant = self._grant
        if grant is not None and not grant.ended:
            return True
        try:
            queue = self._queues.get(self._key)
        except TypeError:
            _checks.is_hashable("key must return a hashable value, but returned", self._key)
            raise
        if queue is None:
            grant = self._grant = Grant()
            self._queue = self._queues[self._key] = SlotQueue(grant)
            held = _held.get()
            _held.set((*(other for other in held if not other.ended), grant) if held else (grant,))
            return True
        if queue.grant in _held.get():
            self._queue = queue
            return True
        return False

    async def wait(self, until: float, *, again: bool = False) -> float:
        """Wait for the slot behind everybody that came before; `again` after a backoff.

        Returns the seconds that took; without the slot if waiting would close a circle, or when it is `until` on the
        loop's clock.
        """
        signal = new_signal(self.loop)  # before looking: what is allocated here may free a slot that was dropped
        if self.take():
            return 0.0
        queue = self._queue = self._queues[self._key]
        mine = [grant for grant in _held.get() if not grant.ended]
        time = now(self.loop)
        if until <= time or (mine and queue.would_close_a_circle(mine)):
            return 0.0
        self.waited = True
        self._signal, self._until, self._seen = signal, until, queue.changes
        (queue.add_returning if again else queue.add)(self)
        check = partial(_check, self._queues, self._key)
        queue.watch(self.loop, min(queue.patience_ends(time), until), check)
        for grant in mine:
            grant.waits_for = (*grant.waits_for, queue)
        try:
            await signal.wait()
        except BaseException:
            queue.remove(self)
            self.release()
            raise
        finally:
            for grant in mine:
                grant.waits_for = tuple(other for other in grant.waits_for if other is not queue)
        if self._grant is not None:
            _held.set((*(grant for grant in _held.get() if not grant.ended), self._grant))
        return now(self.loop) - time

    def wake(self) -> bool:
        queue = self._queue
        assert queue is not None  # noqa: S101  # it waits there
        self._grant = queue.grant = Grant()
        self._grant.since = now(self.loop)
        self._signal.set()
        return True

    def is_behind(self, session: Any) -> bool:
        """Whether somebody stored, or was rejected, while this one waited; not if it is by this very session."""
        queue = self._queue
        if not self.waited or queue is None or queue.changes == self._seen:
            return False
        return queue.last is None or queue.last() is not session

    def stored_through(self, session: Any) -> None:
        """Tell those that wait by what session the store was changed last."""
        queue = self._queues.get(self._key)
        if queue is None:
            return
        queue.kept = 0.0
        queue.note_change(None if self._grant is not None and self._grant.ended else session)

    def finish(self, session: Any) -> None:
        """`stored_through` and `release` in one, in the running loop."""
        grant, key, queues = self._grant, self._key, self._queues
        if grant is not None and not grant.ended:
            queue = queues[key]
            if not queue.waiters and not queue.returning:
                self._grant = None
                grant.ended = True
                del queues[key]
                if queue.timer_at < math.inf:  # for a waiter that left
                    queue.stop_watching()
                held = _held.get()
                _held.set(() if len(held) == 1 else tuple(other for other in held if other is not grant))
                return
        self.stored_through(session)
        self.release()

    def was_rejected(self) -> None:
        """Tell those that wait that the store has moved on, by somebody else."""
        queue = self._queues.get(self._key)
        if queue is not None:
            queue.note_change()

    def keep_or_release(self, wait: float) -> None:
        """Keep the slot over a backoff if that is short; else let the next one go on meanwhile."""
        queue = self._queue
        if queue is not None and self._grant is queue.grant and queue.kept + wait <= KEPT:
            queue.kept += wait
        else:
            self.release()

    def release(self) -> None:
        """Give the slot to the next waiter. Once more does nothing. From any thread."""
        grant, self._grant = self._grant, None
        if grant is None:
            return
        grant.ended = True
        held = _held.get()
        if grant in held:
            _held.set(() if len(held) == 1 else tuple(other for other in held if other is not grant))
        if current_loop() is self.loop:
            _leave(self._queues, self._key, grant)
        else:
            self._leave_from_anywhere(grant)

    def __del__(self) -> None:
        grant = self._grant
        if grant is None or grant.ended:
            return
        self._grant = None
        grant.ended = True
        self._leave_from_anywhere(grant)
        warnings.warn(
            "a slot was dropped, and is free again: make each attempt with `with attempt:`, and close the generator "
            "that yields inside it",
            ResourceWarning,
            stacklevel=2,
        )

    def _leave_from_anywhere(self, grant: Grant) -> None:
        # A collection may run in any thread, and in the middle of any of the above.
        if not run_soon(self.loop, _leave, self._queues, self._key, grant):
            self._queues.pop(self._key, None)  # the loop is closed, and nobody waits any longer


def _leave(queues: Queues[SlotQueue], key: Hashable, grant: Grant) -> None:
    queue = queues.get(key)
    if queue is not None and queue.grant is grant:
        queue.revoked = 0
        _hand_over(queues, key, queue)


def _hand_over(queues: Queues[SlotQueue], key: Hashable, queue: SlotQueue) -> None:
    queues.hand_over(key, queue)
    if not queue.is_waited_for:
        queue.stop_watching()


def _check(queues: Queues[SlotQueue], key: Hashable) -> None:
    """Revoke a slot that was held too long; let a waiter go on without one whose time has come."""
    queue = queues.get(key)
    if queue is None:
        return
    loop = current_loop()
    time = max(now(loop), queue.timer_at)  # a loop calls a little early, by its clock's resolution
    queue.stop_watching()
    for waiters in (queue.waiters, queue.returning):
        for waiter in [waiter for waiter in waiters if waiter._until <= time]:
            queue.remove(waiter)
            waiter._signal.set()
    if queue.is_waited_for and queue.patience_ends(time) <= time:
        queue.grant.ended = True
        queue.revoked += 1
        queue.note_change()
        _hand_over(queues, key, queue)
    if queue.is_waited_for:
        earliest = min(waiter._until for waiters in (queue.waiters, queue.returning) for waiter in waiters)
        queue.watch(loop, min(queue.patience_ends(time), earliest), partial(_check, queues, key))


def _forget(queues: weakref.ref[KeyedQueues], _: object) -> None:
    found = queues()
    if found is not None:  # pragma: no branch  # they own what calls this, so they go later, unless threads race
        found._latest = (_nothing, Queues())


def _nothing() -> None:
    return None
