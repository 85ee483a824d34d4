"""google-adk: wrap a session service, and an append that lost a race is retried on the session as it is now."""

from ._policy import retry_on_stale_session
from .interleaving import InterleavedTurnError, Interleaving
from .refresh import RefreshMode, refresh_session
from .service import RetryingSessionService

__all__ = [
    "InterleavedTurnError",
    "Interleaving",
    "RefreshMode",
    "RetryingSessionService",
    "refresh_session",
    "retry_on_stale_session",
]
