"""One attempt: the event comes after all that the session knows, the session is whole however it ends, and what is kept
for others is told of it.
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
from ._kept import kept_sessions
from ._memory import SHARED, TICK, Memory, memory_of, newest, texts_of
from ._releases import restore_version, version_fields_of
from ._services import stores_whole_state
from .state_conflicts import settle_merged

_IS_WHOLE = "__stale_retry_leaves_sessions_whole__"


def whole(append: Any) -> Any:
    """The same append, method or function, which leaves the caller's session whole."""
    if isinstance(append, (staticmethod, classmethod)):
        return type(append)(whole(append.__func__))
    if hasattr(append, _IS_WHOLE):
        return append
    if inspect.ismethod(append):
        return MethodType(whole(append.__func__), append.__self__)

    @functools.wraps(append)
    async def attempt(*args: Any, **kwargs: Any) -> Any:
        service, session, event = _given(*args, *kwargs.values())
        if session is None or event is None or event.partial:
            return await append(*args, **kwargs)
        return await _attempt(functools.partial(append, *args, **kwargs), service, session, event)

    setattr(attempt, _IS_WHOLE, True)
    return attempt


def _given(*arguments: Any) -> tuple[BaseSessionService | None, Session | None, Event | None]:
    service, session, event = None, None, None
    for argument in arguments:
        if event is None and isinstance(argument, Event):
            event = argument
        elif session is None and isinstance(argument, Session):
            session = argument
        elif service is None and isinstance(argument, BaseSessionService):
            service = argument
    return service, session, event


async def _attempt(
    append: Callable[[], Any], service: BaseSessionService | None, session: Session, event: Event
) -> Any:
    memory = memory_of(session)
    if memory.merged:
        settle_merged(memory, session.state, event)
    _date(event, session, memory)
    along = _going_along(service, session)
    before = version_fields_of(session)
    try:
        result = await append()
    except BaseException as error:
        # Services note the new version as soon as it is stored and the event somewhat later. Ended in between, the
        # session would pass for current without the event; with the old version its next append reloads it.
        is_stale = is_stale_session_error(error)
        if service is not None:
            kept_sessions().take_failed(service, session, is_stale=is_stale)
        if not is_stale:
            memory.unanswered[event.id] = along
            if not any(other is event for other in session.events[-1:]):
                restore_version(session, before)
        raise
    if event.id in memory.ids:
        # A refresh found it before its own append came back.
        session.events[:-1] = [other for other in session.events[:-1] if other.id != event.id]
    memory.take_stored(event, along)
    if service is not None:
        kept_sessions().take_appended(service, session, event, along, before)
    return result


def _going_along(service: BaseSessionService | None, session: Session) -> dict[str, str]:
    """What the service stores of the session's state beside what the event writes."""
    if not stores_whole_state(service):
        return {}
    return {key: text for key, text in texts_of(session.state).items() if not key.startswith(SHARED)}


def _date(event: Event, session: Session, memory: Memory) -> None:
    """Date the event after everything that the session knows, unless it is already, or is an import.

    Clocks differ, services return events in the order of their dates, and some tell a stale session by comparing them.
    """
    last = max(memory.newest, newest(session))
    if memory.made_since <= event.timestamp < last + TICK:
        event.timestamp = (math.floor(last * 1e6) + 2) / 1e6
