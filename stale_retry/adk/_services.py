"""What is known of google-adk's own services, by where they are defined, so that none is imported."""

from __future__ import annotations

import functools

from google.adk.sessions import BaseSessionService

_NEVER_REJECTING = (
    "google.adk.sessions.in_memory_session_service",
    "google.adk.sessions.vertex_ai_session_service",
    "google.adk.integrations.redis._redis_session_service",
)


def never_rejects(service: BaseSessionService) -> bool:
    """Whether no append is ever rejected as stale. The append that runs tells: a subclass with one of its own, or an
    object that was given one, may reject.
    """
    return getattr(service.append_event, "__module__", None) in _NEVER_REJECTING


def checks_in_two_steps(service: BaseSessionService) -> bool:
    """Whether appends that overlap in time may all be accepted, so that what was appended through a session does not
    tell what storage has.
    """
    return _is_a(type(service), "google.adk.sessions.sqlite_session_service")


def on_sqlite_file(service: BaseSessionService) -> bool:
    """Whether it is a `DatabaseSessionService` on SQLite, where a call that is cut off leaves the file locked."""
    engine = getattr(service, "db_engine", None)
    return engine is not None and engine.dialect.name == "sqlite"


def locks_no_rows(service: BaseSessionService) -> bool:
    """Whether it is a `DatabaseSessionService` that reads and writes the rows of `app:` and `user:` keys without a
    lock: on SQLite, and in old releases on every database.
    """
    locks = getattr(service, "_supports_row_level_locking", None)
    return getattr(service, "db_engine", None) is not None and (locks is None or not locks())


def stores_whole_state(service: BaseSessionService | None) -> bool:
    """Whether an append stores all that the session's state holds, and not only what the event writes."""
    return service is not None and _is_a(type(service), "google.adk.integrations.firestore.firestore_session_service")


@functools.lru_cache
def _is_a(kind: type[BaseSessionService], module: str) -> bool:
    return any(each.__module__ == module for each in kind.__mro__)
