"""Retry appends that lost an optimistic-concurrency race, on the freshly reloaded session."""

from ._context import limits
from ._decorate import RetryingAppend
from ._loop import Attempts
from ._options import Options
from ._retrying import StaleSessionRetrying, retry_on_stale_session
from .backoff import (
    CLASSIC_SCHEDULE,
    additive_jitter,
    constant,
    equal_jitter,
    exponential,
    full_jitter,
    linear,
    proportional_jitter,
)
from .conflict import Conflict, Settled
from .detection import is_stale_session_error, retry_if_stale_session
from .errors import (
    AttemptsExhaustedError,
    DeadlineExceededError,
    SessionGoneError,
    SessionRefreshError,
    StaleSessionError,
    StaleSessionRetryError,
)
from .events import Observer, RetryEvent
from .gate import Gate, LocalGate, local_gate

__version__ = "0.1.0"

__all__ = [
    "CLASSIC_SCHEDULE",
    "Attempts",
    "AttemptsExhaustedError",
    "Conflict",
    "DeadlineExceededError",
    "Gate",
    "LocalGate",
    "Observer",
    "Options",
    "RetryEvent",
    "RetryingAppend",
    "SessionGoneError",
    "SessionRefreshError",
    "Settled",
    "StaleSessionError",
    "StaleSessionRetryError",
    "StaleSessionRetrying",
    "additive_jitter",
    "constant",
    "equal_jitter",
    "exponential",
    "full_jitter",
    "is_stale_session_error",
    "limits",
    "linear",
    "local_gate",
    "proportional_jitter",
    "retry_if_stale_session",
    "retry_on_stale_session",
]
