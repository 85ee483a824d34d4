"""What google-adk calls things, release by release."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from google.adk.events import Event
from google.adk.sessions import Session

if TYPE_CHECKING:
    from google.adk.errors import StaleSessionError as AdkStaleSessionError
    from google.adk.errors.session_not_found_error import SessionNotFoundError
    from google.adk.platform.time import get_time as now
else:
    try:
        from google.adk.errors import StaleSessionError as AdkStaleSessionError
    except ImportError:  # before 2.7
        AdkStaleSessionError = ValueError
    try:
        from google.adk.errors.session_not_found_error import SessionNotFoundError
    except ImportError:  # before 1.25
        SessionNotFoundError = ValueError
    try:
        from google.adk.platform.time import get_time as now
    except ImportError:  # before 1.27
        from time import time as now

__all__ = [
    "AdkStaleSessionError",
    "SessionNotFoundError",
    "Version",
    "now",
    "restore_version",
    "rewinds_to",
    "session_not_found",
    "version_fields_of",
    "version_of",
]

Version = str | float
"""What a service tells a stale session by."""

_VERSION_FIELDS = tuple(
    name
    for name in ("last_update_time", "_storage_update_marker")
    if name in (*Session.model_fields, *Session.__private_attributes__)
)


def version_of(session: Session) -> Version:
    marker: str | None = getattr(session, "_storage_update_marker", None)
    return session.last_update_time if marker is None else marker


def version_fields_of(session: Session) -> dict[str, Any]:
    return {name: getattr(session, name) for name in _VERSION_FIELDS}


def restore_version(session: Session, fields: Mapping[str, Any]) -> None:
    for name, value in fields.items():
        setattr(session, name, value)


def session_not_found(session: Session) -> ValueError:
    """The error that the installed google-adk has for a session which no longer exists, in its words."""
    return SessionNotFoundError(f"Session {session.id} not found.")


def rewinds_to(event: Event) -> str | None:
    """The invocation before which this event takes the session back, itself included, if it does."""
    return getattr(event.actions, "rewind_before_invocation_id", None)
