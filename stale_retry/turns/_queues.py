"""The queues of turns, one for each key: which turn runs, which ones wait, which one is next."""

from __future__ import annotations

import threading
import time
import warnings
from collections import deque
from collections.abc import Collection, Hashable
from typing import Any, NamedTuple

import anyio

from .._loops import is_closed, run_in
from .._queue import Queue, Queues
from ._body import Body, EndedBy
from ._leases import HeldLease
from .errors import BusyReason

_lock = threading.Lock()
"""One for all queues, because turns of several queues may wait for each other in a circle."""

_dropped: deque[tuple[TurnQueues, Slot, Body]] = deque()


class _Changing:
    def __enter__(self) -> None:
        _lock.acquire()

    def __exit__(self, *_: object) -> None:
        _lock.release()
        if _dropped:
            _sweep()


_changing = _Changing()


class Slot:
    """One turn's slot in the queue of its key. Turns inside a turn share it.

    It knows no task and no `Turn` by anything but a weak reference, so what is dropped is freed.

    Attributes:
        token: tells the turn apart from all others, in all processes.
        bodies: those inside it, the outermost first.
        began: when it was granted, by `time.monotonic`.
        queue: the queue that it waits in or waited in.
        waits_for: the queues that code inside it waits in.
    """

    __slots__ = ("began", "bodies", "first", "granted", "key", "lease", "queue", "token", "waits_for")

    def __init__(self, key: Hashable, token: str, body: Body) -> None:
        self.key: Hashable = key
        self.token: str = token
        self.first: Body = body
        self.bodies: list[Body] = [body]
        self.granted: anyio.Event | None = None
        self.lease: HeldLease | None = None
        self.began: float = 0.0
        self.queue: _KeyQueue | None = None
        self.waits_for: list[_KeyQueue] = []

    def end(self, reason: EndedBy) -> None:
        """Make what runs in it end early. From any thread."""
        for body in self.bodies[:1]:  # those inside it end with it
            body.end(reason)

    def wake(self) -> bool:
        """It is the holder now. False when its event loop is gone."""
        assert self.queue is not None  # noqa: S101  # it waits there
        assert self.granted is not None  # noqa: S101
        self.queue.holder = self
        self.began = time.monotonic()
        return run_in(self.bodies[0].loop, self.granted.set)

    @property
    def is_running(self) -> bool:
        return any(body.has_begun for body in self.bodies)

    @property
    def is_forsaken(self) -> bool:
        """Whether no code can leave it any more, because the event loops of all in it are closed."""
        if self.bodies:
            return all(is_closed(body.loop) for body in self.bodies)
        return self.lease is not None and is_closed(self.lease.loop)


class _KeyQueue(Queue[Slot]):
    """The queue of one key.

    Attributes:
        holder: whose turn runs, or asks for the lease that processes share.
    """

    def __init__(self, holder: Slot) -> None:
        self.holder = holder


class Arrival(NamedTuple):
    """Why the slot is refused, or the event to wait for. Neither when it is granted at once."""

    refused: BusyReason | None = None
    granted: anyio.Event | None = None


_GRANTED = Arrival()


class TurnQueues:
    """Safe to use from any thread, and from a garbage collection."""

    def __init__(self) -> None:
        self._queues: Queues[_KeyQueue] = Queues()

    def __len__(self) -> int:
        return len(self._queues)

    def waiting(self, key: Hashable) -> int:
        queue = self._queues.get(key)
        return 0 if queue is None else len(queue.waiters)

    def is_followed(self, key: Hashable, token: str) -> bool:
        """Whether another turn arrived after the one that is `token`."""
        queue = self._queues.get(key)
        tokens = [] if queue is None else [queue.holder.token, *(slot.token for slot in queue.waiters)]
        return token in tokens[:-1]

    def is_inside(self, key: Hashable, task: Any, around: Collection[Slot]) -> bool:
        """Whether a turn of the key that the task asked for would be inside the one that runs."""
        queue = self._queues.get(key)
        return queue is not None and _is_inside(queue.holder, task, around)

    def running_for(self, key: Hashable) -> float | None:
        """Seconds since the holder in this process began; None when it has not, because another process's turn runs."""
        queue = self._queues.get(key)
        return time.monotonic() - queue.holder.began if queue is not None and queue.holder.is_running else None

    def join(self, key: Hashable, body: Body, inherited: Collection[Slot]) -> Slot | None:
        """The slot that the turn is inside of already, if it is inside one."""
        if key not in self._queues:
            return None
        with _changing:
            queue = self._queues.get(key)
            if queue is not None and _is_inside(queue.holder, body.task(), inherited):
                queue.holder.bodies.append(body)
                return queue.holder
            return None

    def arrive(self, slot: Slot, longest: float, inherited: Collection[Slot]) -> Arrival:
        """Take the slot, or wait in the queue if fewer than `longest` wait."""
        with _changing:
            queue = self._queue_before(slot)
            if queue is None:
                return _GRANTED
            if len(queue.waiters) >= longest:
                return Arrival(refused="longest" if longest else "busy")
            if _is_circle(queue, inherited):
                return Arrival(refused="deadlock")
            for outer in inherited:
                outer.waits_for.append(queue)
            return self._wait(queue, slot)

    def stop_waiting(self, slot: Slot, inherited: Collection[Slot]) -> None:
        """Forget for which turns it waits, once it is granted or has given up."""
        with _changing:
            for outer in inherited:
                if slot.queue in outer.waits_for:
                    outer.waits_for.remove(slot.queue)

    def supersede(self, slot: Slot) -> Arrival:
        """Take the slot, or wait for it alone and end the turn that runs and those that wait."""
        ended: list[Slot] = []
        with _changing:
            queue = self._queue_before(slot)
            if queue is None:
                return _GRANTED
            ended += [queue.holder, *queue.waiters]
            queue.waiters.clear()
            arrival = self._wait(queue, slot)
        for other in ended:
            other.end("newer")
        return arrival

    def stop(self, key: Hashable, token: str | None, *, waiting: bool) -> tuple[bool, bool]:
        """End the turn that runs in this process and is `token`, None meaning any; and with `waiting` those that wait.

        A waiting turn that `token` names is ended too. Returns whether any was told, and whether one runs here.
        """
        with _changing:
            queue = self._queues.get(key)
            slots = [] if queue is None else [queue.holder, *queue.waiters]
        runs_here = any(slot.is_running for slot in slots)
        told = [
            slot
            for slot in slots
            if (slot.is_running if token is None else slot.token == token) or (waiting and not slot.is_running)
        ]
        for slot in told:
            slot.end("stopped")
        return bool(told), runs_here

    def _queue_before(self, slot: Slot) -> _KeyQueue | None:
        """The queue that the slot has to join. None when it is the first, which it is from then on."""
        queue = self._queues.get(slot.key)
        if queue is not None and queue.holder.is_forsaken:
            warnings.warn("a turn was still running when its event loop was closed", ResourceWarning, stacklevel=4)
            self._hand_on(queue, queue.holder)
            queue = self._queues.get(slot.key)
        if queue is None:
            slot.began = time.monotonic()
            self._queues[slot.key] = _KeyQueue(slot)
        return queue

    def _wait(self, queue: _KeyQueue, slot: Slot) -> Arrival:
        slot.granted = anyio.Event()
        slot.queue = queue
        queue.add(slot)
        return Arrival(granted=slot.granted)

    def leave(self, slot: Slot, body: Body) -> bool:
        """Whether that was the last one inside. Then the next turn begins, or the slot's lease is given back first."""
        with _changing:
            return self.leave_locked(slot, body)

    def free(self, slot: Slot) -> None:
        """Let the next one go on, or give up waiting. Once more does nothing."""
        with _changing:
            self._free(slot)

    def drop(self, slot: Slot, body: Body) -> None:
        """Leave it for a turn that was dropped, from wherever it is found, the middle of any of the above included."""
        _dropped.append((self, slot, body))
        _sweep()

    def leave_locked(self, slot: Slot, body: Body) -> bool:
        if body not in slot.bodies:
            return False
        slot.bodies.remove(body)
        if slot.bodies:
            return False
        if slot.lease is not None:
            slot.lease.stop()
        else:
            self._free(slot)
        return True

    def _free(self, slot: Slot) -> None:
        queue = self._queues.get(slot.key)
        if queue is not None:
            self._hand_on(queue, slot)

    def _hand_on(self, queue: _KeyQueue, slot: Slot) -> None:
        if queue.holder is slot:
            self._queues.hand_over(slot.key, queue)
        else:
            queue.remove(slot)


def _is_inside(holder: Slot, task: Any, around: Collection[Slot]) -> bool:
    if not holder.bodies:  # it is being given back
        return False
    return holder in around or any(body.task() is task for body in holder.bodies)


def _sweep() -> None:
    # A thread that finds the lock held, perhaps by itself, leaves the rest to the holder, which looks after releasing.
    while _dropped and _lock.acquire(blocking=False):
        try:
            while _dropped:
                queues, slot, body = _dropped.popleft()
                queues.leave_locked(slot, body)
        finally:
            _lock.release()


def _is_circle(queue: _KeyQueue, inherited: Collection[Slot]) -> bool:
    """Whether the holder of the queue waits, itself or through others, for one of the slots."""
    if not inherited:
        return False
    seen: list[Any] = []
    left = [queue]
    while left:
        holder = left.pop().holder
        if holder in inherited:
            return True
        if holder not in seen:
            seen.append(holder)
            left += holder.waits_for
    return False
