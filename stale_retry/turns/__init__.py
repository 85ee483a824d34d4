"""Whole turns, one at a time for each session: `async with turns(key): ...`."""

import sys

from .._public import show_as_own
from .errors import SessionBusyError, TurnError, TurnInterruptedError, TurnLostError
from .events import TurnEvent, TurnObserver
from .leases import LeaseAnswer, LeaseNews, LeaseStore
from .queue import Turn, TurnQueue, WhenBusy, current_turn
from .redis import redis_lease
from .sql import sql_lease

__all__ = [
    "LeaseAnswer",
    "LeaseNews",
    "LeaseStore",
    "SessionBusyError",
    "Turn",
    "TurnError",
    "TurnEvent",
    "TurnInterruptedError",
    "TurnLostError",
    "TurnObserver",
    "TurnQueue",
    "WhenBusy",
    "current_turn",
    "redis_lease",
    "sql_lease",
]

show_as_own(sys.modules[__name__], __all__)
