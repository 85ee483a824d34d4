"""The types that users and integrations annotate with; nothing here is needed at run time."""

import sys

from ._block import Attempts
from ._public import show_as_own
from ._types import (
    ConflictHook,
    Gate,
    Jitter,
    Key,
    Observer,
    On,
    Options,
    OptionsButRefresh,
    Refresh,
    RetryStrategy,
    Seconds,
    Stop,
    TransactionOptions,
    Wait,
)
from .conflict import Settled
from .events import Kind, Reason
from .gates.local import LocalGate, Place

__all__ = [
    "Attempts",
    "ConflictHook",
    "Gate",
    "Jitter",
    "Key",
    "Kind",
    "LocalGate",
    "Observer",
    "On",
    "Options",
    "OptionsButRefresh",
    "Place",
    "Reason",
    "Refresh",
    "RetryStrategy",
    "Seconds",
    "Settled",
    "Stop",
    "TransactionOptions",
    "Wait",
]

show_as_own(sys.modules[__name__], __all__)
