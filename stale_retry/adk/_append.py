"""One attempt, which leaves the caller's session whole however it ends."""

from __future__ import annotations

from google.adk.events import Event
from google.adk.sessions import BaseSessionService, Session

from ..detection import is_stale_session_error

_VERSION = [
    name
    for name in ("last_update_time", "_storage_update_marker")
    if name in (*Session.model_fields, *Session.__private_attributes__)
]


async def append_whole(service: BaseSessionService, session: Session, event: Event) -> Event:
    version = [getattr(session, name) for name in _VERSION]
    try:
        return await service.append_event(session=session, event=event)
    except BaseException as error:
        # Services note the new version as soon as it is stored and the event somewhat later. Ended in between, the
        # session would pass for current without the event; with the old version its next append reloads it.
        if not is_stale_session_error(error) and not any(other is event for other in session.events[-1:]):
            for name, value in zip(_VERSION, version, strict=True):
                setattr(session, name, value)
        raise
