"""What tells sessions apart in the queue: their names, and where they are kept."""

from __future__ import annotations

from typing import Any

from google.adk.sessions import BaseSessionService, InMemorySessionService

from .service import RetryingSessionService


class SessionKey(tuple[str, str, str]):
    """App name, user id and session id, kept in one session service.

    Keys of equal names in different services are different keys. A plain tuple of the names equals each of them, so
    `turns.waiting((app_name, user_id, session_id))` finds the session.
    """

    home: object

    def __new__(cls, names: tuple[str, str, str], home: object) -> SessionKey:
        key = super().__new__(cls, names)
        key.home = home
        return key

    def __eq__(self, other: object) -> bool:
        if isinstance(other, SessionKey) and self.home is not other.home and self.home != other.home:
            return False
        return tuple.__eq__(self, other)

    def __ne__(self, other: object) -> bool:
        return not self == other

    __hash__ = tuple.__hash__


def unwrapped(service: BaseSessionService) -> BaseSessionService:
    return service.service if isinstance(service, RetryingSessionService) else service


def home_of(service: BaseSessionService) -> object:
    """The database, where the service tells it, or the service itself."""
    service = unwrapped(service)
    url: Any = getattr(getattr(service, "db_engine", None), "url", None)
    if url is not None and (url.get_backend_name() != "sqlite" or url.database not in (None, "", ":memory:")):
        return str(url)
    return service


def is_in_memory(service: BaseSessionService) -> bool:
    """Whether no other process can see the service's sessions."""
    service = unwrapped(service)
    url: Any = getattr(getattr(service, "db_engine", None), "url", None)
    if url is not None:
        return url.get_backend_name() == "sqlite" and url.database in (None, "", ":memory:")
    return isinstance(service, InMemorySessionService)
