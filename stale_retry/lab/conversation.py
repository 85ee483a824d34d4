"""A conversation whose model needs no network and checks each request: its form, and whose questions it shows."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

from google.adk.agents import Agent
from google.adk.models import BaseLlm
from google.adk.models.llm_request import LlmRequest
from google.adk.models.llm_response import LlmResponse
from google.adk.runners import Runner
from google.genai import types

QUESTION, ANSWER = "question", "answer to"

ASKED: ContextVar[str] = ContextVar("stale_retry.lab.asked", default=QUESTION)
"""The question of the running turn, in the task that asks it and in tasks started from there."""


@dataclass(frozen=True)
class Request:
    """One request to the model.

    Attributes:
        asked: the question of the turn that made it.
        broken: the rules that it breaks; Gemini would refuse it.
        foreign: whether it shows a question of another turn that has no answer yet.
        other_last: whether its newest question is another turn's.
    """

    asked: str
    broken: list[str]
    foreign: bool
    other_last: bool


@dataclass
class Seen:
    """The requests that a model got."""

    all: list[Request] = field(default_factory=list[Request])

    def note(self, contents: Sequence[types.Content]) -> None:
        mine = ASKED.get()
        texts = [part.text for item in contents for part in item.parts or () if part.text]
        asked = [text for text in texts if text.startswith(QUESTION)]
        foreign = any(text != mine and f"{ANSWER} {text}" not in texts for text in asked)
        self.all.append(Request(mine, broken_rules(contents), foreign, bool(asked) and asked[-1] != mine))

    @property
    def requests(self) -> int:
        return len(self.all)

    @property
    def refused(self) -> list[list[str]]:
        """For each request that Gemini would refuse, the rules that it breaks."""
        return [request.broken for request in self.all if request.broken]

    @property
    def foreign(self) -> int:
        """Requests that show a question of another turn that has no answer yet."""
        return sum(request.foreign for request in self.all)

    @property
    def other_last(self) -> int:
        """Requests whose newest question is another turn's."""
        return sum(request.other_last for request in self.all)

    @property
    def questions(self) -> list[str]:
        """For each request, the question of the turn that made it."""
        return [request.asked for request in self.all]


def broken_rules(contents: Sequence[types.Content]) -> list[str]:
    """Gemini's rules for the form of a request (google/adk-python#1581) that these contents break."""
    broken: list[str] = []
    if not contents or contents[0].role != "user" or contents[-1].role != "user":
        broken.append("begins and ends with the user")
    for number, item in enumerate(contents):
        calls = [part.function_call.name for part in item.parts or () if part.function_call]
        if not calls:
            continue
        if number == 0 or contents[number - 1].role != "user":
            broken.append("a call comes right after a user's text or a response")
        following = contents[number + 1].parts or () if number + 1 < len(contents) else ()
        responses = [part.function_response.name for part in following if part.function_response]
        if sorted(map(str, calls)) != sorted(map(str, responses)):
            broken.append("every call has its response right after it")
    return broken


class CheckingLlm(BaseLlm):
    """Calls the tool `look_up`, then answers the question of the running turn.

    It also answers a request that Gemini would refuse, so that every request of a turn is seen.
    """

    model: str = "checking"
    seen: Seen
    seconds: float = 0.0
    calls: bool = True

    async def generate_content_async(
        self, llm_request: LlmRequest, stream: bool = False
    ) -> AsyncGenerator[LlmResponse, None]:
        contents = llm_request.contents
        self.seen.note(contents)
        await asyncio.sleep(self.seconds)
        last = contents[-1].parts if contents else None
        if self.calls and not (last and last[0].function_response):
            part = types.Part(function_call=types.FunctionCall(name="look_up", args={}))
        else:
            part = types.Part(text=f"{ANSWER} {ASKED.get()}")
        yield LlmResponse(content=types.Content(role="model", parts=[part]))


async def look_up() -> str:
    """Looks it up."""
    await asyncio.sleep(0)
    return "found"


def checking_agent(
    seen: Seen | None = None,
    *,
    tools: Sequence[Callable[..., Any]] = (look_up,),
    name: str = "assistant",
    seconds: float = 0.0,
) -> Agent:
    """An agent whose model records each request in `seen` and answers after `seconds`."""
    seen = Seen() if seen is None else seen
    llm = CheckingLlm(seen=seen, calls=bool(tools), seconds=seconds)
    llm.seen = seen  # the same object: pydantic copied it
    return Agent(name=name, model=llm, tools=list(tools))


async def ask(
    runner: Runner, question: str, *, user_id: str = "user", session_id: str = "session", **options: Any
) -> list[str]:
    """Run one turn and return its answers."""
    ASKED.set(question)
    message = types.Content(role="user", parts=[types.Part(text=question)])
    arguments: dict[str, Any] = {"user_id": user_id, "session_id": session_id, "new_message": message, **options}
    answers: list[str] = []
    async with aclosing(runner.run_async(**arguments)) as events:
        async for event in events:
            parts = event.content.parts if event.content else None
            answers += [part.text for part in parts or () if part.text]
    return answers
