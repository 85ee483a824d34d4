"""Whole turns of a conversation, sent faster than they are answered: with and without a queue."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import anyio
from google.adk.agents import Agent
from google.adk.runners import Runner
from google.adk.sessions import BaseSessionService

from ..adk import QueueingRunner, RetryingSessionService
from ..turns import TurnQueue
from .conversation import ANSWER, QUESTION, Seen, ask, checking_agent
from .database import DatabaseStore

APART = 0.025
"""Seconds between two messages."""

MODEL_TAKES = 0.05
"""Seconds for each of a turn's two requests."""

Outcome = Literal["answered", "mixed", "refused", "lost"]
OUTCOMES: tuple[Outcome, ...] = ("answered", "mixed", "refused", "lost")


@dataclass(frozen=True, eq=False)
class Way:
    """How turns are run.

    Attributes:
        name: for machines.
        title: for readers.
        runner: makes the runner from an application's name, an agent and a session service.
        queues: whether turns wait for each other.
    """

    name: str
    title: str
    runner: Callable[[str, Agent, BaseSessionService], Runner]
    queues: bool = False


def _bare(app_name: str, agent: Agent, service: BaseSessionService) -> Runner:
    return Runner(app_name=app_name, agent=agent, session_service=service)


def _retrying(app_name: str, agent: Agent, service: BaseSessionService) -> Runner:
    return _bare(app_name, agent, RetryingSessionService(service, observers=()))


def _queueing(app_name: str, agent: Agent, service: BaseSessionService) -> Runner:
    turns = TurnQueue(longest=None, observers=())
    retrying = RetryingSessionService(service, observers=())
    return QueueingRunner(app_name=app_name, agent=agent, session_service=retrying, turns=turns)


BARE = Way("bare", "google-adk alone", _bare)
RETRYING = Way("retrying", "appends retried", _retrying)
QUEUEING = Way("queueing", "turns queued too", _queueing, queues=True)

WAYS = (BARE, RETRYING, QUEUEING)


@dataclass(frozen=True)
class Turns:
    """What became of the turns of one way.

    Attributes:
        outcomes: of each turn, in the order sent: "lost" if it ended with an error, "refused" if it made a request that
            Gemini refuses, "mixed" if the model saw another turn's open question, otherwise "answered".
        errors: how often each type of error ended a turn.
        seconds: from the first message to the last answer.
    """

    way: Way
    outcomes: Sequence[Outcome]
    errors: dict[str, int]
    seen: Seen
    seconds: float

    def count(self, outcome: Outcome) -> int:
        return self.outcomes.count(outcome)


async def converse(
    store: DatabaseStore, way: Way, *, turns: int, on_ended: Callable[[], object] = lambda: None
) -> Turns:
    """Send messages to the store's one session, one every `APART` seconds, and wait for their turns.

    A turn makes two requests to a local model and calls a tool in between. `on_ended` is called after each turn.
    """
    seen, key = Seen(), store.key
    runner = way.runner(key["app_name"], checking_agent(seen, seconds=MODEL_TAKES), store.service)

    async def turn(number: int) -> Any:
        await anyio.sleep(APART * number)
        try:
            question = f"{QUESTION} {number}"
            answers = await ask(runner, question, user_id=key["user_id"], session_id=key["session_id"])
            return None if answers == [f"{ANSWER} {question}"] else LookupError("the turn ended without its answer")
        except Exception as error:
            return error
        finally:
            on_ended()

    began = anyio.current_time()
    errors = await asyncio.gather(*(turn(number) for number in range(turns)))
    seconds = anyio.current_time() - began
    outcomes: list[Outcome] = [_outcome(f"{QUESTION} {number}", error, seen) for number, error in enumerate(errors)]
    names = Counter(type(error).__name__ for error in errors if error is not None)
    return Turns(way, outcomes, dict(names), seen, seconds)


def _outcome(question: str, error: Exception | None, seen: Seen) -> Outcome:
    requests = [request for request in seen.all if request.asked == question]
    if error is not None:
        return "lost"
    if any(request.broken for request in requests):
        return "refused"
    return "mixed" if any(request.foreign for request in requests) else "answered"
