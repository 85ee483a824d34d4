"""One turn: waits for its place, holds it while its block runs, and gives it back however that ends."""

from __future__ import annotations

import warnings
import weakref
from collections.abc import Callable, Hashable
from contextvars import ContextVar
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING

import anyio

from ._body import Body, Why
from ._leases import HeldLease
from ._lines import Lines, Place
from ._loops import current_loop
from ._options import Options
from ._report import Report
from .errors import BusyReason
from .leases import name_of

if TYPE_CHECKING:
    from typing_extensions import Self

_inside: ContextVar[tuple[Place, ...]] = ContextVar("stale_retry.turns", default=())
"""The places that this context is inside of. Those that were given back since may still be among them."""


class Turn:
    """What a `TurnQueue` makes for one `async with`. It is entered once."""

    def __init__(self, options: Options, lines: Lines, key: Hashable, abort: Callable[[], object] | None) -> None:
        self._options = options
        self._lines = lines
        self._key = key
        self._abort = abort
        self._reader: weakref.ref[object] | None = None
        self._report: Report | None = None
        self._body: Body | None = None
        self._entered_body: Body | None = None
        self._place: Place | None = None
        self._name = "" if options.shared is None else name_of(key)  # last, because it may raise

    @property
    def waited(self) -> float:
        """Seconds that it waited for its place."""
        return self._report.waited if self._report is not None else 0.0

    @property
    def ended(self) -> Why | None:
        """Why it was made to end early, "interrupted" or "lost"."""
        return self._entered_body.ended if self._entered_body is not None else None

    def adopt_current_task(self) -> None:
        """The current task waits for what the block does, so turns of the key that it asks for are inside this one.

        Before the turn is entered or after. For code that runs the block in one task and hands its results to another.
        """
        self._reader = weakref.ref(current_loop().current_task())
        if self._body is not None:
            self._body.task = self._reader

    async def __aenter__(self) -> Self:
        if self._report is not None:
            raise RuntimeError("this turn was entered already; ask the queue for another: `async with turns(key)`")
        loop = current_loop()
        report = self._report = Report(self._options, self._lines, self._key, loop)
        can_end = self._options.when_busy == "interrupt" or self._options.shared is not None
        body = Body(loop, report.tell, self._abort, can_end=can_end)
        body.task = self._reader or body.task
        place = self._lines.join(self._key, body, _inside.get())
        if place is None:
            place = await self._take_place(body, report)
        body.has_begun = True
        self._body, self._entered_body, self._place = body, body, place
        _inside.set((*(other for other in _inside.get() if other.bodies and other is not place), place))
        return self

    async def _take_place(self, body: Body, report: Report) -> Place:
        place = Place(self._key, body)
        refused: BusyReason | None = "deadline"
        try:
            with anyio.move_on_after(self._options.deadline):
                refused = await self._wait_for(place, report)
            if refused is not None:
                raise report.refusal(refused)
        except BaseException as error:
            self._give_back(place, body)
            if body.leave(error):
                raise body.error() from error
            raise
        report.started()
        return place

    async def _wait_for(self, place: Place, report: Report) -> BusyReason | None:
        """Why it cannot be had, if it cannot."""
        if self._options.when_busy == "interrupt":
            arrival = self._lines.supersede(place)
        else:
            arrival = self._lines.arrive(place, self._options.longest)
        if arrival.refused is not None:
            return arrival.refused
        if arrival.granted is not None:
            report.waits()
            await arrival.granted.wait()
        if self._options.shared is None:
            return None
        # Neither may keep this very object alive, or nobody would notice that it was dropped.
        on_lost, on_end = partial(place.end, "lost"), partial(self._lines.free, place)
        place.lease = HeldLease(self._options.shared, self._name, on_wait=report.waits, on_lost=on_lost, on_end=on_end)
        return None if await place.lease.take(patiently=self._options.when_busy != "reject") else "busy"

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        body, place, report = self._body, self._place, self._report
        if body is None or place is None or report is None:
            raise RuntimeError("this turn is not entered, or was left already")
        self._body = self._place = None
        is_ours = False
        try:
            is_ours = body.leave(error)
        finally:
            await self._leave(place, body, report, error)
        if body.ended is not None and (is_ours or error is None):
            raise body.error() from error

    async def _leave(self, place: Place, body: Body, report: Report, error: BaseException | None) -> None:
        self._forget(place, body)
        if not self._give_back(place, body):
            return  # others of the same turn are inside still
        try:
            # What is closed may not await; its lease is given back all the same, by its own task.
            if place.lease is not None and not isinstance(error, GeneratorExit):
                await place.lease.end()
                if place.lease.is_lost:
                    body.ended = "lost"
        finally:
            report.ended(body.ended)

    def release(self) -> None:
        """Leave the block without an await and from anywhere, any thread included; raises nothing. Once more, or
        instead of entering, it does nothing.

        For code that cannot be an `async with`. The lease of a queue that processes share is given back soon after.
        """
        body, place, report = self._body, self._place, self._report
        if body is None or place is None or report is None:
            return
        self._body = self._place = None
        body.loop.call(body.leave, None)
        if self._give_back(place, body):
            body.loop.call(report.ended, body.ended)

    def _forget(self, place: Place, body: Body) -> None:
        if body is place.first:
            _inside.set(tuple(other for other in _inside.get() if other is not place))

    def _give_back(self, place: Place, body: Body) -> bool:
        """Whether nobody is inside any more, so that the place is free, or as soon as its lease is given back."""
        is_empty = self._lines.leave(place, body)
        if is_empty and place.lease is not None:
            place.lease.stop()
        elif is_empty:
            self._lines.free(place)
        return is_empty

    def __del__(self) -> None:
        body, place, report = self._body, self._place, self._report
        if body is None or place is None or report is None:
            return
        warnings.warn("a turn was dropped without being left; it is freed", ResourceWarning, stacklevel=2, source=self)
        self._lines.drop(place, body)
        body.loop.call(report.ended, "dropped")
