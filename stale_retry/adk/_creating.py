"""Creating a session, and being told the same on every release if it exists already."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from google.adk.sessions import BaseSessionService, Session

from ._releases import AlreadyExistsError
from ._shared_state import in_order
from ._whole_calls import whole_call

_LOST = ("AlreadyExistsError", "IntegrityError", "DuplicateKeyError", "AlreadyExists")
"""What the error of a creation that lost a race is called, release by release and store by store."""

TRIES = 5
"""Creations through the first moments of an app: those of different sessions can be in each other's way there."""


async def created(
    service: BaseSessionService,
    create: Callable[[], Awaitable[Session]],
    app: str,
    user: str,
    session_id: str | None,
    state: dict[str, Any] | None,
) -> tuple[Session, AlreadyExistsError | None]:
    """The session, and google-adk's error if it existed already."""
    for tries in range(1, TRIES + 1):
        try:
            return await in_order(service, app, user, state or (), create), None
        except Exception as error:
            if type(error).__name__ not in _LOST or session_id is None:
                raise
            loading = service.get_session(app_name=app, user_id=user, session_id=session_id)
            session = await whole_call(service, loading)
            if session is not None:
                if isinstance(error, AlreadyExistsError):
                    return session, error
                exists = AlreadyExistsError(f"Session with id {session_id} already exists.")
                exists.__cause__ = error
                return session, exists
            if tries == TRIES:
                raise
    raise AssertionError
