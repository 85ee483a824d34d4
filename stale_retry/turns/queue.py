"""A queue of turns for each session."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable
from datetime import timedelta

from . import _options
from ._lines import Lines
from ._options import WhenBusy
from ._turn import Turn
from .events import TurnObserver
from .leases import LeaseStore

__all__ = ["Turn", "TurnQueue", "WhenBusy"]


class TurnQueue:
    """One turn at a time for each key, first come first served; turns of different keys never wait for each other::

        turns = TurnQueue()

        async with turns(session_key):
            ...                             # load, run, append, answer

    The order holds in this process, whatever event loops and threads the turns come from. A turn inside a turn of its
    key, in the same task or in one started inside, shares its place. However a turn ends, finished, failed,
    cancelled, closed or dropped, the next one goes on. `len(turns)` is the number of keys that are in use.

    Args:
        when_busy: "enqueue" waits; "reject" raises `SessionBusyError` at once; "interrupt" ends the turn that runs,
            and those that wait, and begins when the running one has let go. With `shared`, a turn of another process
            is not interrupted but waited for.
        longest: how many turns of one key may wait in this process before the next one is refused; None for any
            number. Only "enqueue" lets more than one wait.
        deadline: seconds or timedelta that one turn waits for its place at most; None for no limit.
        shared: where processes share one lease for each key: `postgres_lease(engine)`, `redis_lease(client)`, or a
            `LeaseStore` of your own. None: other processes have turns of their own.
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
        shared: LeaseStore | None = None,
        observers: TurnObserver | Iterable[TurnObserver] | None = None,
        name: str = "turns",
    ) -> None:
        self._options = _options.checked(
            when_busy=when_busy, longest=longest, deadline=deadline, shared=shared, observers=observers, name=name
        )
        self._lines = Lines()

    def __call__(self, key: Hashable, *, abort: Callable[[], object] | None = None) -> Turn:
        """A turn of this key, to be entered with `async with`.

        Args:
            key: what tells sessions apart; with `shared`, a string, a number, None or a tuple of these.
            abort: a plain function that makes the block end early, an `asyncio.Event().set` for instance. It is called
                in the turn's event loop when the turn is interrupted or its lease is lost. None: the task that entered
                the block is cancelled at the `await` where it is, once; on trio, its block is.

        Entering raises:
            SessionBusyError: the turn is refused; nothing of it has happened.
            TurnInterruptedError: it waited and a newer turn took its place.
            Exception: what the store of leases raised, when it could not be asked.

        Leaving raises:
            TurnInterruptedError, TurnLostError: the block was made to end early, unless it raises an error of its own.
        """
        hash(key)
        if abort is not None and not callable(abort):
            raise TypeError(f"abort must be a plain function without arguments, or None; got {abort!r}")
        return Turn(self._options, self._lines, key, abort)

    def __len__(self) -> int:
        return len(self._lines)

    def __bool__(self) -> bool:
        return True

    def waiting(self, key: Hashable) -> int:
        """How many turns of this key wait in this process now."""
        return self._lines.waiting(key)
