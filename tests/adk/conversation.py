"""A conversation whose model checks what it is asked: the form of each request, and whose questions it shows."""

from __future__ import annotations

import asyncio
import contextlib
from contextvars import ContextVar
from dataclasses import dataclass, field

from google.adk.agents import Agent
from google.adk.models import BaseLlm, LlmResponse
from google.genai import types

from .app import content

ASKED: ContextVar[str] = ContextVar("asked", default="question")
"""The question of the turn that is running, in the task that asks it and in all that are started from it."""


@dataclass
class Seen:
    """What the model saw.

    Attributes:
        requests: how many.
        refused: for each request that Gemini would refuse, the rules that it breaks.
        foreign: requests that show a question of another turn which has no answer yet.
        other_last: requests whose newest question is another turn's.
    """

    requests: int = 0
    refused: list[list[str]] = field(default_factory=list)
    foreign: int = 0
    other_last: int = 0
    questions: list[str] = field(default_factory=list)

    def note(self, contents):
        self.requests += 1
        broken = broken_rules(contents)
        if broken:
            self.refused.append(broken)
        mine = ASKED.get()
        texts = [part.text for item in contents for part in item.parts or [] if part.text]
        asked = [text for text in texts if text.startswith("question")]
        unanswered = [text for text in asked if f"answer to {text}" not in texts]
        self.foreign += any(text != mine for text in unanswered)
        self.other_last += bool(asked) and asked[-1] != mine
        self.questions.append(mine)


def broken_rules(contents):
    """Gemini's rules of a request's form (google/adk-python#1581) that these contents break."""
    broken = []
    if not contents or contents[0].role != "user" or contents[-1].role != "user":
        broken.append("begins and ends with the user")
    for number, item in enumerate(contents):
        calls = [part.function_call for part in item.parts or [] if part.function_call]
        if not calls:
            continue
        if number == 0 or contents[number - 1].role != "user":
            broken.append("a call comes right after a user's text or a response")
        following = contents[number + 1].parts or [] if number + 1 < len(contents) else []
        responses = [part.function_response for part in following if part.function_response]
        if sorted(call.name for call in calls) != sorted(response.name for response in responses):
            broken.append("every call has its response right after it")
    return broken


class CheckingLlm(BaseLlm):
    """Calls the tool `look_up` and then answers the question of the turn that it runs in."""

    model: str = "checking"
    seen: Seen
    seconds: float = 0.0
    calls: bool = True

    async def generate_content_async(self, llm_request, stream=False):
        self.seen.note(llm_request.contents)
        await asyncio.sleep(self.seconds)
        if self.calls and not (llm_request.contents and llm_request.contents[-1].parts[0].function_response):
            call = types.Part(function_call=types.FunctionCall(name="look_up", args={}))
            yield LlmResponse(content=types.Content(role="model", parts=[call]))
        else:
            yield LlmResponse(content=content(f"answer to {ASKED.get()}", "model"))


async def look_up() -> str:
    """Looks it up."""
    await asyncio.sleep(0)
    return "found"


def checking_agent(seen=None, *, tools=(look_up,), name="assistant", **model):
    llm = CheckingLlm(seen=seen or Seen(), calls=bool(tools), **model)
    # pydantic copies what a model is given; the test looks at this very object
    if seen is not None:
        llm.seen = seen
    return Agent(name=name, model=llm, tools=list(tools))


async def ask(runner, question, **where):
    """What one turn answers."""
    ASKED.set(question)
    arguments = {"user_id": "user", "session_id": "session", "new_message": content(question), **where}
    answers = []
    async with contextlib.aclosing(runner.run_async(**arguments)) as events:
        async for event in events:
            answers += [part.text for part in (event.content.parts if event.content else []) if part.text]
    return answers


async def ask_at_once(runner, count):
    """What each of that many turns answers, or what it ends with."""
    questions = [f"question {number}" for number in range(count)]
    return await asyncio.gather(*(ask(runner, question) for question in questions), return_exceptions=True)


def answered(outcomes):
    return [number for number, outcome in enumerate(outcomes) if outcome == [f"answer to question {number}"]]


def stored_texts(session):
    return [
        part.text for event in session.events for part in (event.content.parts if event.content else []) if part.text
    ]
