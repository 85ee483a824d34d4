"""Function calls that a run which was cut off left in the history without a response, and a response for each.

A model refuses a history with an open call in it, whatever the next message is. google-adk leaves open calls out of its
requests, or answers them itself when it is aborted, in newer releases only.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from google.adk.events import Event
from google.genai import types

ANSWER = {"error": "The call was interrupted; whether it took effect is not known."}


def answers(events: Iterable[Event], is_of_run: Callable[[Event], bool], *, long_running: bool) -> Iterator[Event]:
    """A response for each open call among the events of a run.

    Args:
        events: the session's, oldest first.
        is_of_run: whether an event belongs to the run, or to a run inside it.
        long_running: whether calls of long-running tools are answered too, whose response may come later.
    """
    events = list(events)
    answered = {response.id for event in events for response in event.get_function_responses()}
    for event in events:
        calls = event.get_function_calls()
        if not calls or not is_of_run(event):
            continue
        pending = () if long_running else event.long_running_tool_ids or ()
        calls = [call for call in calls if call.id not in answered and call.id not in pending]
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
    if "isolation_scope" in type(event).model_fields:  # from 2.0 on; the agent that called sees nothing else
        answer.isolation_scope = event.isolation_scope
    return answer
