"""The lines in which turns stand, one for each key: who has the place, who waits, who is next."""

from __future__ import annotations

import threading
import warnings
from collections import deque
from collections.abc import Collection, Generator, Hashable
from contextlib import contextmanager
from typing import NamedTuple

import anyio

from ._body import Body, Why
from ._leases import HeldLease
from .errors import BusyReason


class Place:
    """One turn's place in the line of its key. Turns inside a turn share it.

    It knows no task and no `Turn` by anything but a weak reference, so what is dropped is freed.
    """

    def __init__(self, key: Hashable, body: Body) -> None:
        self.key = key
        self.first = body
        self.bodies: list[Body] = [body]
        self.granted: anyio.Event | None = None
        self.lease: HeldLease | None = None

    def end(self, why: Why) -> None:
        """Make what runs in it end early. From any thread."""
        for body in self.bodies[:1]:  # those inside it end with it
            body.end(why)

    def grant(self) -> bool:
        """Wake who waits for it. False when its event loop is gone."""
        return self.granted is not None and self.bodies[0].loop.call(self.granted.set)

    @property
    def is_forsaken(self) -> bool:
        """Whether nobody can leave it any more, because the event loops of all in it are closed."""
        if self.bodies:
            return all(body.loop.closed for body in self.bodies)
        return self.lease is not None and self.lease.loop.closed


class _Line:
    def __init__(self, holder: Place) -> None:
        self.holder = holder
        self.waiting: deque[Place] = deque()


class Arrival(NamedTuple):
    """Why the place cannot be had, or the event to wait for. Neither when it is had at once."""

    refused: BusyReason | None = None
    granted: anyio.Event | None = None


class Lines:
    """Safe to use from any thread, from a garbage collection too."""

    def __init__(self) -> None:
        self._lines: dict[Hashable, _Line] = {}
        self._lock = threading.Lock()
        self._dropped: deque[tuple[Place, Body]] = deque()

    def __len__(self) -> int:
        return len(self._lines)

    def waiting(self, key: Hashable) -> int:
        line = self._lines.get(key)
        return 0 if line is None else len(line.waiting)

    def join(self, key: Hashable, body: Body, inherited: Collection[Place]) -> Place | None:
        """The place that the turn is inside of already, if it is inside one."""
        with self._changing():
            line = self._lines.get(key)
            if line is None or not line.holder.bodies:
                return None
            if line.holder in inherited or any(inside.is_in(body) for inside in line.holder.bodies):
                line.holder.bodies.append(body)
                return line.holder
            return None

    def arrive(self, place: Place, longest: float) -> Arrival:
        """Take the place, or stand in line if no more than `longest` wait then."""
        with self._changing():
            line = self._line_before(place)
            if line is None:
                return Arrival()
            if len(line.waiting) >= longest:
                return Arrival(refused="longest" if longest else "busy")
            return self._stand(line, place)

    def supersede(self, place: Place) -> Arrival:
        """Take the place, or stand in line alone and make who runs and who waits end."""
        ended: list[Place] = []
        with self._changing():
            line = self._line_before(place)
            if line is None:
                return Arrival()
            ended += [line.holder, *line.waiting]
            line.waiting.clear()
            arrival = self._stand(line, place)
        for other in ended:
            other.end("interrupted")
        return arrival

    def _line_before(self, place: Place) -> _Line | None:
        """The line that the place has to join. None when it is the first, which it is from then on."""
        line = self._lines.get(place.key)
        if line is not None and line.holder.is_forsaken:
            warnings.warn("a turn was still running when its event loop was closed", ResourceWarning, stacklevel=4)
            self._hand_on(line, line.holder)
            line = self._lines.get(place.key)
        if line is None:
            self._lines[place.key] = _Line(place)
        return line

    def _stand(self, line: _Line, place: Place) -> Arrival:
        place.granted = anyio.Event()
        line.waiting.append(place)
        return Arrival(granted=place.granted)

    def leave(self, place: Place, body: Body) -> bool:
        """Whether that was the last one inside. Then `free` it."""
        with self._changing():
            if body in place.bodies:
                place.bodies.remove(body)
                return not place.bodies
            return False

    def free(self, place: Place) -> None:
        """Let the next one go on, or give up waiting. Once more does nothing."""
        with self._changing():
            line = self._lines.get(place.key)
            if line is not None:
                self._hand_on(line, place)

    def drop(self, place: Place, body: Body) -> None:
        """The same for a turn that nobody left, from wherever it is found, the middle of any of the above included."""
        self._dropped.append((place, body))
        self._sweep()

    def _hand_on(self, line: _Line, place: Place) -> None:
        if line.holder is not place:
            if place in line.waiting:
                line.waiting.remove(place)
            return
        while line.waiting:
            line.holder = line.waiting.popleft()
            if line.holder.grant():
                return
        del self._lines[place.key]

    @contextmanager
    def _changing(self) -> Generator[None]:
        with self._lock:
            yield
        self._sweep()

    def _sweep(self) -> None:
        # Whoever finds the lock held, perhaps by its own thread, leaves it to that one, who looks after releasing it.
        while self._dropped and self._lock.acquire(blocking=False):
            try:
                while self._dropped:
                    self._free_dropped(*self._dropped.popleft())
            finally:
                self._lock.release()

    def _free_dropped(self, place: Place, body: Body) -> None:
        if body in place.bodies:
            place.bodies.remove(body)
        if place.bodies:
            return
        line = self._lines.get(place.key)
        if place.lease is not None:
            place.lease.stop()
        elif line is not None:
            self._hand_on(line, place)
