"""The smallest real application: agents with a model of our own, and what to look at afterwards."""

import asyncio
import contextlib

from google.adk.agents import Agent
from google.adk.events import Event, EventActions
from google.adk.events.event_actions import EventCompaction
from google.adk.models import BaseLlm, LlmResponse
from google.adk.runners import Runner
from google.genai import types

APP = {"app_name": "app", "user_id": "user"}
KEY = {**APP, "session_id": "session"}


def content(text, role="user"):
    return types.Content(role=role, parts=[types.Part(text=text)])


class LocalLlm(BaseLlm):
    """Answers every request with "pong" after a while on the event loop's clock."""

    model: str = "local"
    seconds: float = 0.01

    async def generate_content_async(self, llm_request, stream=False):
        await asyncio.sleep(self.seconds)
        yield LlmResponse(content=content("pong", "model"))


def pong_agent(name="agent", **options):
    return Agent(name=name, model=LocalLlm(), **options)


def runner_of(service, agent=None):
    return Runner(app_name="app", agent=agent or pong_agent(), session_service=service)


async def turn(runner, text):
    """The texts that one turn answers with."""
    answers = []
    arguments = {"user_id": "user", "session_id": "session", "new_message": content(text)}
    async with contextlib.aclosing(runner.run_async(**arguments)) as events:
        async for event in events:
            answers += [part.text for part in (event.content.parts if event.content else []) if part.text]
    return answers


async def turns(runner, count):
    """Each turn's answers, or what it died with, of that many turns at once."""
    return await asyncio.gather(*(turn(runner, f"ping {n}") for n in range(count)), return_exceptions=True)


def event(text=None, *, author="user", invocation="invocation", state=None, **fields):
    """An event as an application makes it, with content only if there is text."""
    return Event(
        author=author,
        invocation_id=invocation,
        content=None if text is None else content(text),
        actions=EventActions(state_delta=dict(state or {})),
        **fields,
    )


def compaction(start=1.0, end=2.0, text="summary"):
    """The event that says, in the stead of those dated from then till then, what happened."""
    summary = EventCompaction(start_timestamp=start, end_timestamp=end, compacted_content=content(text, "model"))
    return event().model_copy(update={"actions": EventActions(compaction=summary)})


def rewind(invocation):
    """The event that takes a session back to before an invocation."""
    actions = EventActions(rewind_before_invocation_id=invocation)
    return event(invocation=f"rewind of {invocation}").model_copy(update={"actions": actions})


async def interrupt(service, text="theirs", **fields):
    """Somebody else stores an event through a session of their own."""
    stored = event(text, invocation="somebody else's", **fields)
    return await service.append_event(session=await load(service), event=stored)


@contextlib.contextmanager
def calls_of(service, *methods):
    """What each call of these methods returned, or raised."""
    calls = []

    def noting(method):
        async def noted(*args, **kwargs):
            try:
                outcome = await method(*args, **kwargs)
            except Exception as error:
                outcome = error
                raise
            finally:
                calls.append(outcome)
            return outcome

        return noted

    for name in methods:
        setattr(service, name, noting(getattr(service, name)))
    try:
        yield calls
    finally:
        for name in methods:
            delattr(service, name)


def texts(session):
    return [event.content.parts[0].text for event in session.events if event.content]


def ids(session):
    return [event.id for event in session.events]


async def load(service, **config):
    return await service.get_session(**KEY, **config)
