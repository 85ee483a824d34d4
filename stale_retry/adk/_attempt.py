"""One attempt: the event comes after all that the session knows, the session is whole however it ends, and what is kept
of storage is told of it.
"""

from __future__ import annotations

import functools
import inspect
import math
from collections.abc import Callable
from types import MethodType
from typing import Any

from google.adk.events import Event
from google.adk.sessions import BaseSessionService, Session

from .. import is_stale_session_error
from ._known import SHARED, TICK, Known, known_of, newest, state_delta_of, texts_of
from ._releases import restore_version, version_fields_of
from ._services import stores_whole_state
from ._stored import StoredSessions
from ._values import value_of
from ._whole_calls import whole_call
from .state_conflicts import refuse_refused, settle_merged

_ORIGINAL = "__stale_retry_original__"


def careful(append: Any, session: str, stored: StoredSessions) -> Any:
    """The same append, method or function, which leaves the caller's session as it should be."""
    if isinstance(append, (staticmethod, classmethod)):
        return type(append)(careful(append.__func__, session, stored))
    append = getattr(append, _ORIGINAL, append)
    if inspect.ismethod(append):
        return MethodType(careful(append.__func__, session, stored), append.__self__)
    parts = Parts(append, session)

    @functools.wraps(append)
    async def attempt(*args: Any, **kwargs: Any) -> Any:
        service, held, event = parts.of(args, kwargs)
        if not isinstance(held, Session) or not isinstance(event, Event):
            return await append(*args, **kwargs)
        if not isinstance(service, BaseSessionService):
            service = None
        return await append_once(lambda *_: append(*args, **kwargs), stored, service, held, event)

    setattr(attempt, _ORIGINAL, append)
    return attempt


class Parts:
    """Where an append that somebody decorates takes the service, the session and the event."""

    def __init__(self, append: Callable[..., Any], session: str) -> None:
        names = list(inspect.signature(append).parameters)
        at = names.index(session) if session in names else 0
        event = names.index("event") if "event" in names else at + 1
        self._service, self._session, self._event = (
            (index, names[index]) if 0 <= index < len(names) else (math.inf, "") for index in (at - 1, at, event)
        )

    def of(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, Any, Any]:
        return tuple(  # type: ignore[return-value]
            args[int(index)] if index < len(args) else kwargs.get(name)
            for index, name in (self._service, self._session, self._event)
        )


async def append_once(
    send: Callable[[Any, Session, Event], Any],
    stored: StoredSessions | None,
    service: BaseSessionService | None,
    session: Session,
    event: Event,
) -> Any:
    """Append an event by `send`, unless it is stored already. Without a queue there is no `stored`."""
    if event.partial:
        return await send(service, session, event)
    known = known_of(session)
    if event.id in known.ids and not known.is_guess:
        return event
    if known.refused:
        refuse_refused(known, event)
    if known.merged:
        settle_merged(known, session.state, event)
    _date(event, session, known)
    along = _going_along(session) if stores_whole_state(service) else {}
    before = version_fields_of(session)
    try:
        result = await send(service, session, event)
    except BaseException as error:
        # Services note the new version as soon as it is stored and the event somewhat later. Ended in between, the
        # session would pass for current without the event; with the old version its next append reloads it.
        is_stale = is_stale_session_error(error)
        if stored is not None:
            stored.take_failed(session, is_stale=is_stale)
        if not is_stale:
            if not any(other is event for other in session.events[-1:]):
                restore_version(session, before)
            if service is not None and _says_it_exists(error) and await _is_stored(service, session, event):
                known.ids.setdefault(event.id, 0)
                return event
            known.unanswered[event.id] = along
        raise
    if event.id in known.ids:
        # A refresh found it before its own append came back.
        session.events[:-1] = [other for other in session.events[:-1] if other.id != event.id]
    known.take_stored(event, along)
    if stored is not None and stored.are_wanted(session, event):
        written = {key: value_of(text) for key, text in {**along, **texts_of(state_delta_of(event))}.items()}
        stored.take_appended(session, event, written, before)
    return result


def _says_it_exists(error: BaseException) -> bool:
    return type(error).__name__ in ("IntegrityError", "AlreadyExistsError", "DuplicateKeyError")


async def _is_stored(service: BaseSessionService, session: Session, event: Event) -> bool:
    """Whether an event is stored that a copy of the session does not show."""
    loading = service.get_session(app_name=session.app_name, user_id=session.user_id, session_id=session.id)
    found = await whole_call(service, loading)
    return found is not None and any(other.id == event.id for other in found.events)


def _going_along(session: Session) -> dict[str, str]:
    """What a service that stores the whole state stores besides what the event writes."""
    return {key: text for key, text in texts_of(session.state).items() if not key.startswith(SHARED)}


def _date(event: Event, session: Session, known: Known) -> None:
    """Date the event after everything that the session knows, unless it is already, or is an import.

    Clocks differ, services return events in the order of their dates, and some tell a stale session by comparing them.
    """
    last = max(known.newest, newest(session))
    if known.made_since <= event.timestamp < last + TICK:
        event.timestamp = (math.floor(last * 1e6) + 2) / 1e6
