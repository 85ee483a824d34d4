"""One turn: waits for its slot, keeps it while its block runs, and gives it back however that ends."""

from __future__ import annotations

import os
import warnings
import weakref
from collections.abc import Callable, Hashable
from contextvars import ContextVar
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Any

import anyio

from .._loops import current_loop, current_task, run_in
from ._body import Body, EndedBy
from ._keeper import Shared
from ._leases import HeldLease, check_before_retries, stop_checking
from ._options import Options
from ._queues import Arrival, Slot, TurnQueues
from ._report import LONG, Report
from .errors import BusyReason

if TYPE_CHECKING:
    from typing_extensions import Self


class Inside:
    """A turn that a context is inside of.

    Attributes:
        slot: its slot; None before it has one.
        is_open: whether turns that are asked for in the context share the slot now. Of the reader of a stream, only
            between two events: while the stream makes the next one, its reader may wait for another turn.
        turn: the turn that took the slot, while somebody has it.
    """

    __slots__ = ("is_open", "slot", "turn")

    def __init__(self, turn: Turn | None = None, *, is_open: bool = True) -> None:
        self.slot = None if turn is None else turn.slot
        self.turn = None if turn is None else weakref.ref(turn)
        self.is_open = is_open


_inside: ContextVar[tuple[Inside, ...]] = ContextVar("stale_retry.turns", default=())
"""The turns that this context is inside of, the outermost first. Some of them may be over."""


def enter_inside(inside: Inside) -> None:
    """What this context asks for from now on is inside that turn too."""
    others = tuple(other for other in _inside.get() if other.slot is None or other.slot.bodies)
    if inside not in others:
        _inside.set((*others, inside))


def slots_around() -> tuple[Slot, ...]:
    """The slots that the current context is inside of."""
    around = _inside.get()
    if not around:
        return ()
    return tuple(other.slot for other in around if other.slot is not None and other.is_open and other.slot.bodies)


def current_turn() -> Turn | None:
    """The turn that the running code is inside of, the innermost one; None if there is none.

    Code that did not enter the turn itself, a tool for instance, learns its `id` and how it `ended` here.
    """
    for inside in reversed(_inside.get()):
        if inside.turn is not None and inside.slot is not None and inside.is_open and inside.slot.bodies:
            return inside.turn()
    return None


class Turn:
    """What a `TurnQueue` makes for one `async with`. It is entered once."""

    def __init__(
        self,
        options: Options,
        queues: TurnQueues,
        key: Hashable,
        abort: Callable[[], object] | None,
        shared: Shared | None,
        name: str,
    ) -> None:
        self._options = options
        self._queues = queues
        self._key = key
        self._abort = abort
        self._shared = shared
        self._name = name
        self._token = ""
        self.insists = False
        self._reader: weakref.ref[Any] | None = None
        self._report: Report | None = None
        self._body: Body | None = None
        self._entered_body: Body | None = None
        self._slot: Slot | None = None

    @property
    def id(self) -> str:
        """Tells the turn apart from all others, in every process; `TurnQueue.stop` takes it."""
        if not self._token:
            self._token = os.urandom(16).hex()
        return self._token

    @property
    def waited(self) -> float:
        """Seconds that it waited for its slot."""
        return self._report.waited if self._report is not None else 0.0

    @property
    def ended(self) -> EndedBy | None:
        """Why it was ended early, "newer", "stopped" or "lost"."""
        return self._entered_body.ended if self._entered_body is not None else None

    def adopt_current_task(self) -> None:
        """The current task waits for what the block does, so turns of the key that it asks for are inside this one.

        Before the turn is entered or after. For code that runs the block in one task and hands its results to another.
        """
        self._reader = weakref.ref(current_task())
        if self._body is not None:
            self._body.task = self._reader

    @property
    def slot(self) -> Slot | None:
        """Its slot, while it is inside."""
        return self._slot

    @property
    def is_followed(self) -> bool:
        """Whether another turn of the key arrived after it in this process."""
        return self._queues.is_followed(self._key, self.id)

    @property
    def is_waited_for(self) -> bool:
        """Whether another turn of the key waits, in this process or, as far as is known, in another one."""
        lease = None if self._slot is None else self._slot.lease
        return self._queues.waiting(self._key) > 0 or (lease is not None and lease.is_waited_for)

    async def __aenter__(self) -> Self:
        if self._report is not None:
            raise RuntimeError("this turn was entered already; ask the queue for another: `async with turns(key)`")
        report = self._report = Report(self._options, self._queues, self._key)
        body = Body(current_loop(), current_task(), report.tell, self._abort)
        body.insists = self.insists
        if self._reader is not None:
            body.task = self._reader
        around = slots_around()
        slot = self._queues.join(self._key, body, around)
        if slot is None:
            slot = await self._take_slot(body, report, around)
        body.has_begun = True
        self._body, self._entered_body, self._slot = body, body, slot
        if slot not in around:
            enter_inside(Inside(self))
            if slot.lease is not None:
                check_before_retries(slot.lease)
        return self

    async def _take_slot(self, body: Body, report: Report, around: tuple[Slot, ...]) -> Slot:
        slot = Slot(self._key, self.id, body)
        body.leave_slot = partial(_leave_early, self._queues, slot, body, report)
        try:
            refused = await self._wait_for(slot, report, around)
            if refused is not None:
                raise report.refusal(refused)
        except BaseException as error:
            self._queues.leave(slot, body)
            if body.leave(error):
                raise body.error() from error
            raise
        report.started()
        return slot

    async def _wait_for(self, slot: Slot, report: Report, around: tuple[Slot, ...]) -> BusyReason | None:
        """Why it is refused, if it is."""
        if self._options.when_busy == "interrupt":
            arrival = self._queues.supersede(slot)
        else:
            arrival = self._queues.arrive(slot, self._options.longest, around)
        if arrival.refused is not None:
            return arrival.refused
        if arrival.granted is None and self._shared is None:
            return None
        with anyio.move_on_after(self._options.deadline):
            return await self._wait_long(slot, arrival, report, around)
        return "deadline"

    async def _wait_long(
        self, slot: Slot, arrival: Arrival, report: Report, around: tuple[Slot, ...]
    ) -> BusyReason | None:
        if arrival.granted is not None:
            try:
                report.waits()
                with anyio.move_on_after(LONG):
                    await arrival.granted.wait()
                if not arrival.granted.is_set():
                    report.waits()
                    await arrival.granted.wait()
            finally:
                self._queues.stop_waiting(slot, around)
        if self._shared is None:
            return None
        # Neither may keep this very object alive, or it would not be noticed that it was dropped.
        slot.lease = HeldLease(
            self._shared.keeper(),
            self._name,
            slot.token,
            interrupts=self._options.when_busy == "interrupt",
            on_wait=report.waits,
            on_asked_to_end=slot.end,
            on_end=partial(self._queues.free, slot),
        )
        if await slot.lease.take(patiently=self._options.when_busy != "reject"):
            return None
        await slot.lease.end()  # so that no note of it is left
        if slot.lease.is_superseded:
            slot.first.ended = "newer"
            report.tell("interrupted", "newer")
            raise slot.first.error()
        return "busy"

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        body, slot, report = self._body, self._slot, self._report
        if body is None or slot is None or report is None:
            raise RuntimeError("this turn is not entered, or was left already")
        self._body = self._slot = None
        is_ours = False
        try:
            is_ours = body.leave(error)
        finally:
            if body is slot.first:
                _leave_inside(slot)
            if self._queues.leave(slot, body):
                await self._end(slot, body, report, error)
        if body.ended is not None and (is_ours or error is None):
            raise body.error() from error

    async def _end(self, slot: Slot, body: Body, report: Report, error: BaseException | None) -> None:
        try:
            # What is closed may not await; its lease is given back all the same, by its own task.
            if slot.lease is not None and not isinstance(error, GeneratorExit):
                await slot.lease.end()
                if slot.lease.is_lost:
                    body.ended = "lost"
        finally:
            report.ended(body.ended)

    def release(self) -> None:
        """Leave the block without an await and from anywhere, any thread included; raises nothing. Once more, or
        instead of entering, it does nothing.

        For code that cannot be an `async with`. The lease of a queue that processes share is given back soon after. On
        trio call it in the task that entered the block, because trio does not let another one leave its scopes.
        """
        body, slot, report = self._body, self._slot, self._report
        if body is None or slot is None or report is None:
            return
        self._body = self._slot = None
        if self._queues.leave(slot, body):
            run_in(body.loop, report.ended, body.ended)
        run_in(body.loop, body.leave, None)

    def __del__(self) -> None:
        body, slot, report = self._body, self._slot, self._report
        if body is None or slot is None or report is None:
            return
        warnings.warn("a turn was dropped without being left; it is freed", ResourceWarning, stacklevel=2, source=self)
        self._queues.drop(slot, body)
        run_in(body.loop, report.ended, "dropped")


def _leave_early(queues: TurnQueues, slot: Slot, body: Body, report: Report) -> None:
    if queues.leave(slot, body):
        report.ended(body.ended)


def _leave_inside(slot: Slot) -> None:
    _inside.set(tuple(other for other in _inside.get() if other.slot is not slot))
    if slot.lease is not None:
        stop_checking(slot.lease)
