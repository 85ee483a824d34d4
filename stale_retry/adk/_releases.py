"""What google-adk calls things, release by release."""

from __future__ import annotations

from typing import TYPE_CHECKING

from google.adk.sessions import Session

if TYPE_CHECKING:
    from google.adk.errors import StaleSessionError as AdkStaleSessionError
    from google.adk.errors.session_not_found_error import SessionNotFoundError
else:
    try:
        from google.adk.errors import StaleSessionError as AdkStaleSessionError
    except ImportError:  # before 2.7
        AdkStaleSessionError = ValueError
    try:
        from google.adk.errors.session_not_found_error import SessionNotFoundError
    except ImportError:  # before 1.27
        SessionNotFoundError = ValueError

__all__ = ["AdkStaleSessionError", "SessionNotFoundError", "session_not_found"]


def session_not_found(session: Session) -> ValueError:
    """The error that the installed google-adk has for a session which no longer exists, in its words."""
    return SessionNotFoundError(f"Session {session.id} not found.")
