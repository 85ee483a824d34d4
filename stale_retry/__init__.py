"""Retry appends that lost an optimistic-concurrency race, on the freshly reloaded session."""

import sys

from ._context import limits
from ._public import show_as_own
from ._retrying import StaleSessionRetrying, retry_on_stale_session, retry_with
from ._transaction import TransactionRetrying, retry_transaction
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
from .detection import (
    grpc_status,
    http_status,
    is_conflict_error,
    is_stale_session_error,
    retry_if_conflict,
    retry_if_stale_session,
    sqlstate,
    unique_violation,
)
from .errors import (
    AttemptsExhaustedError,
    DeadlineExceededError,
    InDoubtError,
    SessionGoneError,
    SessionRefreshError,
    StaleSessionError,
    StaleSessionRetryError,
)
from .events import RetryEvent
from .transient import is_transient_error, retry_if_transient

__version__ = "0.1.0"

__all__ = [
    "CLASSIC_SCHEDULE",
    "AttemptsExhaustedError",
    "Conflict",
    "DeadlineExceededError",
    "InDoubtError",
    "RetryEvent",
    "SessionGoneError",
    "SessionRefreshError",
    "Settled",
    "StaleSessionError",
    "StaleSessionRetryError",
    "StaleSessionRetrying",
    "TransactionRetrying",
    "additive_jitter",
    "constant",
    "equal_jitter",
    "exponential",
    "full_jitter",
    "grpc_status",
    "http_status",
    "is_conflict_error",
    "is_stale_session_error",
    "is_transient_error",
    "limits",
    "linear",
    "proportional_jitter",
    "retry_if_conflict",
    "retry_if_stale_session",
    "retry_if_transient",
    "retry_on_stale_session",
    "retry_transaction",
    "retry_with",
    "sqlstate",
    "unique_violation",
]

show_as_own(sys.modules[__name__], __all__)
