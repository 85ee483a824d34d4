"""A queue of turns for each session."""

from __future__ import annotations

import copy
import dataclasses
import math
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Hashable, Iterable
from datetime import timedelta
from typing import TypeVar

from .. import _checks
from .._loops import current_task
from . import _options
from ._collect import Batches, respond_to
from ._keeper import shared_of
from ._options import WhenBusy
from ._queues import TurnQueues
from ._report import Report
from ._stream import Stream
from ._turn import Turn, current_turn, slots_around
from .events import TurnObserver
from .leases import LeaseStore, name_of

__all__ = ["Turn", "TurnQueue", "WhenBusy", "current_turn"]

T = TypeVar("T")
M = TypeVar("M")


class TurnQueue:
    """One turn at a time for each key, first come first served; turns of different keys never wait for each other::

        turns = TurnQueue()

        async with turns(session_key):
            ...                             # load, run, append, answer

    The order holds in this process, whatever event loops and threads the turns come from. A turn inside a turn of its
    key, in the same task or in one started inside, does not wait for itself. However a turn ends, finished, failed,
    cancelled, closed or dropped, the next one goes on. `len(turns)` is the number of keys that are in use.

    Args:
        when_busy: "enqueue" waits; "reject" raises `SessionBusyError` at once; "interrupt" ends the turn that runs,
            and those that wait, and begins when the running one has ended.
        longest: how many turns of one key may wait in this process before the next one is refused; None for any
            number. Only "enqueue" lets more than one wait.
        deadline: seconds or timedelta that one turn waits at most; None for no limit.
        reader_patience: seconds or timedelta that the reader of a `stream` may ask for nothing while another turn
            waits; None for any time.
        shared: where processes share one lease for each key: `sql_lease(...)`, `redis_lease(...)`, or a `LeaseStore` of
            your own. Queues that are given the same one are one queue. None: other processes have turns of their own.
        observers: functions that are told each `TurnEvent`, one or several. None: the log, "stale_retry".
        name: for logs and metrics.

    Raises:
        TypeError, ValueError: an option is wrong; the message names it and its rule.
    """

    def __init__(
        self,
        when_busy: WhenBusy = "enqueue",
        *,
        longest: int | None = 20,
        deadline: float | timedelta | None = 600.0,
        reader_patience: float | timedelta | None = 30.0,
        shared: LeaseStore | None = None,
        observers: TurnObserver | Iterable[TurnObserver] | None = None,
        name: str = "turns",
    ) -> None:
        self._options = _options.checked(
            when_busy=when_busy,
            longest=longest,
            deadline=deadline,
            reader_patience=reader_patience,
            observers=observers,
            name=name,
        )
        store = _options.is_store(shared)
        self._shared = None if store is None else shared_of(store)
        self._queues = TurnQueues() if self._shared is None else self._shared.queues
        self._batches = Batches()

    def __call__(self, key: Hashable, *, abort: Callable[[], object] | None = None) -> Turn:
        """A turn of this key, to be entered with `async with`.

        Args:
            key: what tells sessions apart; with `shared`, a str, int, float, bool, None, UUID or a tuple of these.
            abort: a plain function that makes the block end early, an `asyncio.Event().set` for instance. It is called
                in the turn's event loop when the turn is interrupted or stopped or its lease is lost; a block that has
                not ended 5 seconds later is cancelled. None: the task that entered the block is cancelled at the
                `await` where it is, once; on trio, its block is.

        Entering raises:
            SessionBusyError: the turn is refused; nothing of it has happened.
            TurnInterruptedError: it waited, and a newer turn took its slot, or it was stopped.
            Exception: what the store of leases raised, when it could not be asked.

        Leaving raises:
            TurnInterruptedError, TurnLostError: the block was ended early, unless it raises an error of its own.
        """
        _options.is_plain_function_or_none("abort", abort)
        return self._turn(key, abort)

    def stream(
        self,
        key: Hashable,
        events: AsyncIterator[T] | Callable[[Turn], AsyncIterator[T]],
        *,
        abort: Callable[[], object] | None = None,
    ) -> AsyncGenerator[T, None]:
        """Read an async generator inside a turn of this key, and yield its events::

            async for event in turns.stream(session_key, answer(message)):
                ...

        The turn begins when the first event is asked for, and ends with the generator, or when this one is closed. The
        generator runs in a task of its own, so it does not matter in which tasks its events are awaited. Cancelling
        the reader while it waits for an event cancels the generator, as often as it happens.

        A reader that has asked for nothing for `reader_patience` seconds while another turn waits does not hold up the
        run any longer: it goes on to its end, the next turn begins, and the events are kept for the reader.

        A turn of the same key that the reader asks for between two events is inside this one.

        Args:
            key: as of a turn.
            events: an async generator, or a function that takes the `Turn` and returns one.
            abort: as of a turn.

        Raises:
            TurnError: as of a turn; out of the `async for`.
        """
        _options.is_plain_function_or_none("abort", abort)
        if not callable(events) and not hasattr(events, "__anext__"):
            raise TypeError(
                "events must be an async generator, or a function of the turn that returns one; "
                f"got {type(events).__name__}"
            )
        patience = self._options.reader_patience
        return Stream(lambda hook: self._turn(key, hook), events, abort, patience).read()

    async def collect(
        self,
        key: Hashable,
        message: M,
        respond: Callable[[list[M]], Awaitable[T]],
        *,
        group: Hashable = None,
        pause: float | timedelta | None = None,
        pause_at_most: float | timedelta = 2.0,
    ) -> T:
        """Answer together all messages that arrive in this process while a turn of the key runs::

            answer = await turns.collect(session_key, message, respond)

        The next turn calls `respond(messages)`, and each caller gets what it returns, or its error. It runs in a task
        of its own as long as one caller waits for it. A caller that is cancelled before it begins takes its message
        along. A message that arrives after another turn of the key waits too is answered after that one.

        Args:
            key: as of a turn.
            message: anything.
            respond: takes the list of messages in the order of arrival. The first caller's function is called.
            group: only messages of equal groups are answered together. Anything hashable.
            pause: seconds or timedelta to wait for more messages, after each one, before a turn begins that did not
                have to wait. None: it begins at once.
            pause_at_most: seconds or timedelta that this takes in all.

        Raises:
            SessionBusyError: `longest` messages wait already, or the turn was refused.
            TurnError: as of a turn.
        """
        _checks.is_function("respond", respond, "a coroutine function of the list of messages")
        quiet = _checks.as_seconds("pause", pause)
        at_most = _options.finite_seconds("pause_at_most", pause_at_most)
        if self._queues.is_inside(key, current_task(), slots_around()):
            async with self._turn(key, None):
                return await respond_to([message], respond)
        is_rejecting = self._options.when_busy == "reject"
        answer: T = await self._batches.collect(
            key,
            message,
            respond,
            group=group,
            longest=math.inf if is_rejecting else self._options.longest,
            pause=0.0 if quiet is None else quiet,
            pause_at_most=at_most,
            open_turn=lambda: self._turn(key, None),
            refuse=lambda: Report(self._options, self._queues, key).refusal("longest"),
        )
        return answer

    async def stop(self, key: Hashable, turn: str | None = None, *, waiting: bool = False) -> bool:
        """End the turn of this key that runs, in whichever process that shares the lease. True if it was told.

        It is told within 2 seconds and ends with `TurnInterruptedError`, whose reason is "stopped". With an `abort`
        hook it is cancelled 5 seconds later if it has not ended by then.

        Args:
            key: of the turn.
            turn: a `Turn.id`, so that a stop which comes late does not hit the next turn; it also ends that turn while
                it waits in this process. None: whichever runs.
            waiting: whether to end all turns of the key that wait in this process, too.

        Raises:
            Exception: what the store of leases raised, when it could not be asked.
        """
        is_told, runs_here = self._queues.stop(key, turn, waiting=waiting)
        if runs_here or self._shared is None:
            return is_told
        keeper = self._shared.keeper()
        keeper.enter()
        try:
            return await keeper.store.stop(name_of(key), turn) or is_told
        finally:
            keeper.leave()

    def waiting(self, key: Hashable) -> int:
        """How many turns of this key wait in this process now."""
        return self._queues.waiting(key)

    def __len__(self) -> int:
        return len(self._queues)

    def __bool__(self) -> bool:
        return True

    def _unshared(self) -> TurnQueue:
        """The same queue for keys that only this process knows: no lease is asked for."""
        view = copy.copy(self)
        view._shared = None
        return view

    def _patient(self) -> TurnQueue:
        """The same queue for a turn that waits, whatever `when_busy` says of the others."""
        view = copy.copy(self)
        view._options = dataclasses.replace(self._options, when_busy="enqueue", longest=math.inf)
        return view

    def _turn(self, key: Hashable, abort: Callable[[], object] | None) -> Turn:
        if self._shared is None:
            _checks.is_hashable("the key of a turn must be hashable, but is", key)
            return Turn(self._options, self._queues, key, abort, None, "")
        return Turn(self._options, self._queues, key, abort, self._shared, name_of(key))
