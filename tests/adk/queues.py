"""Runners whose turns queue, and models that count, for the tests of whole turns."""

import asyncio

from google.adk.agents import Agent
from google.adk.agents.run_config import RunConfig
from google.adk.apps.app import App
from google.adk.models import LlmResponse
from google.adk.runners import Runner
from google.adk.sessions import InMemorySessionService
from google.genai import types
from pydantic import Field

from stale_retry.adk import QueueingRunner, queue_all_runners
from stale_retry.turns import TurnQueue

from .app import KEY, LocalLlm, content
from .conversation import broken_rules


def queue(*args, **options):
    return TurnQueue(*args, **{"observers": (), "deadline": 60, **options})


installed = []


def undo_queueing():
    while installed:
        installed.pop().undo()


def queueing(service, agent, turns, plugins=(), **options):
    """A runner of our own."""
    app = App(name="app", root_agent=agent, plugins=list(plugins))
    return QueueingRunner(app=app, session_service=service, turns=turns, **options)


def queued(service, agent, turns, plugins=(), **options):
    """A runner that somebody else made."""
    installed.append(queue_all_runners(turns, **options))
    return Runner(app=App(name="app", root_agent=agent, plugins=list(plugins)), session_service=service)


async def memory():
    service = InMemorySessionService()
    await service.create_session(**KEY)
    return service


async def until(holds):
    """Let the others run until it holds."""
    async with asyncio.timeout(20):
        while not holds():
            await asyncio.sleep(0)


class CountingLlm(LocalLlm):
    """Calls the tool once for a text that begins with "book", and answers what was asked last. Notes each request."""

    requests: list = Field(default_factory=list)
    fails: list = Field(default_factory=list)
    """Taken one by one: what to raise, or to wait for, before an answer that follows a response."""

    async def generate_content_async(self, llm_request, stream=False):
        contents = llm_request.contents
        self.requests.append(contents)
        last = contents[-1].parts[-1]
        if (last.text or "").startswith("book"):
            call = types.Part(function_call=types.FunctionCall(name="book", args={}))
            yield LlmResponse(content=types.Content(role="model", parts=[call]))
            return
        if self.fails:
            failure = self.fails.pop(0)
            if isinstance(failure, BaseException):
                raise failure
            await failure
        said = [part.text for item in contents for part in item.parts if part.text and item.role == "user"]
        await asyncio.sleep(self.seconds)
        yield LlmResponse(content=content(f"answer to {said[-1]}", "model"))

    @property
    def refused(self):
        """The rules that the requests broke."""
        return [broken for request in self.requests for broken in broken_rules(request)]

    def shown(self, number):
        """What one request showed."""
        parts = [part for item in self.requests[number] for part in item.parts]
        return [part.text or ("call" if part.function_call else "response") for part in parts]


def counting_agent(charges, **options):
    """An agent whose tool `book` charges, and its model."""

    def book() -> str:
        """Charges."""
        charges.append("charge")
        return "booked"

    agent = Agent(name="assistant", model=CountingLlm(**options), tools=[book])
    return agent, agent.model


def keyed(key, **metadata):
    return RunConfig(custom_metadata={"idempotency_key": key, **metadata})


async def deliver(runner, text, key=None, **options):
    """The texts that a message is answered with."""
    if key is not None:
        options["run_config"] = keyed(key)
    new_message = content(text) if isinstance(text, str) else text
    run = runner.run_async(user_id="user", session_id="session", new_message=new_message, **options)
    return texts_of([event async for event in run])


def texts_of(events):
    return [
        part.text or ("call" if part.function_call else "response")
        for event in events
        if event.content
        for part in event.content.parts
    ]
