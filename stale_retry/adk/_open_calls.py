"""Function calls that a run which was cut off left in the history without a response, and a response for each.

A model refuses a history with an open call in it, whatever the next message is. google-adk leaves such calls out of its
requests, or answers them itself when it is aborted, in newer releases only.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator

from google.adk.events import Event
from google.adk.sessions import BaseSessionService, Session
from google.adk.sessions.base_session_service import GetSessionConfig
from google.genai import types

from ._process_queue import Key

logger = logging.getLogger("stale_retry")

RECENT_EVENTS = 200
"""How far back the calls of the last run are looked for."""

ANSWER = {"error": "The call was interrupted; whether it took effect is not known."}


async def answer_open_calls(service: BaseSessionService, key: Key, *, long_running: bool) -> None:
    """Append a response for each open call of the invocation that called last. Logs what it raises.

    Args:
        service: where the session is.
        key: which.
        long_running: whether calls of long-running tools are answered too, whose response may come later.
    """
    app_name, user_id, session_id = key
    try:
        config = GetSessionConfig(num_recent_events=RECENT_EVENTS)
        session = await service.get_session(app_name=app_name, user_id=user_id, session_id=session_id, config=config)
        if session is not None:
            for answer in list(_answers(session, long_running)):
                await service.append_event(session=session, event=answer)
    except Exception:
        logger.exception("the function calls of a run that was cut off could not be answered")


def _answers(session: Session, long_running: bool) -> Iterator[Event]:
    calling = [event for event in session.events if event.get_function_calls()]
    if not calling:
        return
    invocation = [event for event in session.events if event.invocation_id == calling[-1].invocation_id]
    answered = {response.id for event in invocation for response in event.get_function_responses()}
    for event in invocation:
        pending = () if long_running else event.long_running_tool_ids or ()
        calls = [call for call in event.get_function_calls() if call.id not in answered and call.id not in pending]
        if calls:
            yield _answer(event, calls)


def _answer(event: Event, calls: Iterable[types.FunctionCall]) -> Event:
    responses = [types.FunctionResponse(id=call.id, name=call.name, response=dict(ANSWER)) for call in calls]
    answer = Event(
        invocation_id=event.invocation_id,
        author=event.author,
        branch=event.branch,
        content=types.Content(role="user", parts=[types.Part(function_response=response) for response in responses]),
    )
    if "isolation_scope" in type(event).model_fields:  # from 2.0 on; who called sees nothing else
        answer.isolation_scope = event.isolation_scope
    return answer
