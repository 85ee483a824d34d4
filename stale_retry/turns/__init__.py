"""Whole turns, one at a time for each session: `async with turns(key): ...`."""

import sys

from .._public import show_as_own
from .errors import SessionBusyError, TurnError, TurnInterruptedError, TurnLostError
from .events import TurnEvent, TurnObserver
from .leases import LeaseStore
from .postgres import postgres_lease
from .queue import Turn, TurnQueue, WhenBusy
from .redis import redis_lease

__all__ = [
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
    "postgres_lease",
    "redis_lease",
]

show_as_own(sys.modules[__name__], __all__)
