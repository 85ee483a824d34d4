"""The queue that the runners and plugins of a process share unless they are given another."""

from __future__ import annotations

from ..turns import TurnQueue

Key = tuple[str, str, str]
"""App name, user id, session id."""

_turns_of_this_process = TurnQueue()


def queue_of(turns: TurnQueue | None) -> TurnQueue:
    if turns is None:
        return _turns_of_this_process
    if not isinstance(turns, TurnQueue):
        raise TypeError(f"turns must be a TurnQueue, or None for the one of this process; got {turns!r}")
    return turns
