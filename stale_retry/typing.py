"""The types that users and integrations annotate with; nothing here is needed at run time."""

import sys

from ._block import Attempts
from ._public import show_as_own
from ._types import (
    ConflictHook,
    FindStored,
    Jitter,
    Key,
    Observer,
    On,
    Options,
    OptionsButRefresh,
    Refresh,
    Seconds,
    Stop,
    TransactionKey,
    TransactionOptions,
    Wait,
)
from .conflict import Settled
from .events import Kind, Reason

__all__ = [
    "Attempts",
    "ConflictHook",
    "FindStored",
    "Jitter",
    "Key",
    "Kind",
    "Observer",
    "On",
    "Options",
    "OptionsButRefresh",
    "Reason",
    "Refresh",
    "Seconds",
    "Settled",
    "Stop",
    "TransactionKey",
    "TransactionOptions",
    "Wait",
]

show_as_own(sys.modules[__name__], __all__)
