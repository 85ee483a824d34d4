"""What google-adk calls things, release by release."""

from __future__ import annotations

from typing import TYPE_CHECKING

from google.adk.errors.already_exists_error import AlreadyExistsError
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
    "AlreadyExistsError",
    "SessionNotFoundError",
    "Version",
    "VersionFields",
    "now",
    "restore_version",
    "rewinds_to",
    "session_not_found",
    "version_fields_of",
    "version_in",
    "version_of",
]

Version = str | float
"""What a service tells a stale session by."""

_MARKER = "_storage_update_marker"
_HAS_MARKER = _MARKER in Session.__private_attributes__

VersionFields = tuple[float, str | None]


def version_fields_of(session: Session) -> VersionFields:
    # Not by its name: pydantic looks for private attributes for longer than all the rest of an append takes.
    return session.last_update_time, (session.__pydantic_private__ or {}).get(_MARKER)


def restore_version(session: Session, fields: VersionFields) -> None:
    session.last_update_time = fields[0]
    if _HAS_MARKER:
        setattr(session, _MARKER, fields[1])


def version_in(fields: VersionFields) -> Version:
    updated, marker = fields
    return updated if marker is None else marker


def version_of(session: Session) -> Version:
    return version_in(version_fields_of(session))


def session_not_found(session: Session) -> ValueError:
    """The error that the installed google-adk has for a session which no longer exists, in its words."""
    return SessionNotFoundError(f"Session {session.id} not found.")


def rewinds_to(event: Event) -> str | None:
    """The invocation before which this event takes the session back, itself included, if it does."""
    return getattr(event.actions, "rewind_before_invocation_id", None)
