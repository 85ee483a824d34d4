"""The queue that the runners of a process share unless they are given another."""

from __future__ import annotations

from ..turns import TurnQueue

_turns_of_this_process = TurnQueue()


def queue_of(turns: TurnQueue | None) -> TurnQueue:
    if turns is None:
        return _turns_of_this_process
    if not isinstance(turns, TurnQueue):
        raise TypeError(f"turns must be a TurnQueue, or None for the queue of this process; got {turns!r}")
    return turns
