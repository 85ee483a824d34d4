"""google-adk: session services whose appends are retried, and runners whose turns run one at a time."""

import sys

try:
    import google.adk  # noqa: F401
except ModuleNotFoundError as _missing:
    raise ModuleNotFoundError(
        'stale_retry.adk needs google-adk: pip install "stale-retry[adk]"', name=_missing.name
    ) from _missing

from .. import is_transient_error, retry_if_transient
from .._public import show_as_own
from ._ledger import IdempotencyKeyReusedError
from ._policy import SessionServiceRetrying, retry_on_stale_session
from ._reconcile import SessionConflict
from .interleaving import InterleavedTurnError, Interleaving
from .refresh import RefreshMode, refresh_session
from .registry import register_session_services
from .service import GotOrCreated, RetryingSessionService
from .state_conflicts import StateConflictError, StateConflicts
from .turns import QueuedRunners, QueueingRunner, queue_all_runners

__all__ = [
    "GotOrCreated",
    "IdempotencyKeyReusedError",
    "InterleavedTurnError",
    "Interleaving",
    "QueuedRunners",
    "QueueingRunner",
    "RefreshMode",
    "RetryingSessionService",
    "SessionConflict",
    "SessionServiceRetrying",
    "StateConflictError",
    "StateConflicts",
    "is_transient_error",
    "queue_all_runners",
    "refresh_session",
    "register_session_services",
    "retry_if_transient",
    "retry_on_stale_session",
]

show_as_own(sys.modules[__name__], __all__)
