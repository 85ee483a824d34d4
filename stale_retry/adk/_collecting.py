"""Messages that come while a turn of their session runs, answered by one run."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Hashable, Mapping, Sequence
from contextlib import aclosing
from typing import Any, Literal, get_args

from google.adk.agents.run_config import RunConfig
from google.adk.events import Event
from google.genai import types

from ..turns import TurnQueue, current_turn
from ._ledger import IdempotencyKey, IdempotencyKeyReusedError, check_digest, note
from ._run import Asked, Ended, answer, record_of

Joined = Literal["notice", "answer"]


def is_joined(joined: Any) -> Joined:
    if joined not in get_args(Joined):
        raise ValueError(f"joined must be 'notice' or 'answer', got {joined!r}")
    return joined  # type: ignore[no-any-return]


class _Caller:
    """A message that waits for its answer, and the events of it that nobody has read yet."""

    def __init__(self, asked: Asked) -> None:
        self.asked = asked
        self.events: deque[Event] = deque()
        self.error: Exception | None = None
        self.changed = asyncio.Event()

    def put(self, event: Event) -> None:
        self.events.append(event)
        self.changed.set()

    def is_answered(self, _: object) -> None:
        self.changed.set()


async def collected(
    turns: TurnQueue, asked: Asked, joined: Joined, idempotency_key: IdempotencyKey
) -> AsyncGenerator[Event, None]:
    """The events of the run that answers the message, or what tells that it was answered with an earlier one."""
    caller = _Caller(asked)

    async def respond(callers: list[_Caller]) -> None:
        await _respond(callers, joined)

    group = _group(asked, idempotency_key)
    waiting = asyncio.ensure_future(turns.collect(asked.key, caller, respond, group=group))
    waiting.add_done_callback(caller.is_answered)
    try:
        while not waiting.done() or caller.events:
            if caller.events:
                yield caller.events.popleft()
                continue
            caller.changed.clear()
            await caller.changed.wait()
        waiting.result()
        if caller.error is not None:
            raise caller.error
    finally:
        await _cancelled(waiting)
        del waiting, caller  # which have the error, which has this frame


async def _respond(callers: Sequence[_Caller], joined: Joined) -> None:
    """Answer messages that were delivered before each by itself, and the others together."""
    turn = current_turn()

    def ended() -> Ended:
        return None if turn is None else turn.ended

    new: list[_Caller] = []
    digests: dict[str, str] = {}
    for caller in callers:
        message = caller.asked.message
        try:
            if message is not None:
                check_digest(message, digests.setdefault(message.key, message.digest))
            if message is None or await record_of(caller.asked, message) is None:
                new.append(caller)
                continue
        except IdempotencyKeyReusedError as error:
            caller.error = error
            continue
        async with aclosing(answer(caller.asked, ended)) as events:
            async for event in events:
                caller.put(event)
    if not new:
        return
    first, *others = new
    invocation = ""
    async with aclosing(answer(_together(first, others), ended)) as events:
        async for event in events:
            invocation = event.invocation_id
            for caller in new if joined == "answer" else (first,):
                caller.put(event)
    if joined == "notice":
        for caller in others:
            event = Event(author="user", invocation_id=invocation)
            note(event, joined=invocation)
            caller.put(event)


def _together(first: _Caller, others: Sequence[_Caller]) -> Asked:
    asked = first.asked
    if not others:
        return asked
    messages = tuple(caller.asked.message for caller in others if caller.asked.message is not None)
    parts = [part for caller in (first, *others) for part in caller.asked.arguments["new_message"].parts]
    arguments = {**asked.arguments, "new_message": types.Content(role="user", parts=parts)}
    arguments.pop("abort_signal", None)  # one caller's; it ends no run that answers others too
    return Asked(asked.run_async, asked.runner, arguments, asked.key, asked.message, messages)


def _group(asked: Asked, idempotency_key: IdempotencyKey) -> Hashable:
    """Messages of equal groups differ in nothing but text, files and key."""
    arguments = dict(asked.arguments)
    content = arguments.pop("new_message", None)
    parts = (content.parts if content is not None else None) or ()
    if not parts or not all(part.text or part.inline_data or part.file_data for part in parts):
        return object()
    if arguments.pop("state_delta", None) or arguments.pop("invocation_id", None):
        return object()
    config = _without_key(arguments.pop("run_config", None), idempotency_key)
    arguments.pop("abort_signal", None)
    return id(asked.runner), repr(config), repr(sorted(arguments.items()))


def _without_key(config: RunConfig | None, idempotency_key: IdempotencyKey) -> RunConfig:
    config = config or RunConfig()
    metadata: Mapping[str, Any] = getattr(config, "custom_metadata", None) or {}
    if not metadata or not isinstance(idempotency_key, str):
        return config
    rest = {name: value for name, value in metadata.items() if name != idempotency_key}
    return config.model_copy(update={"custom_metadata": rest or None})


async def _cancelled(task: asyncio.Task[None]) -> None:
    """Cancel a task, as often as this one is, until it has ended."""
    cancelled: asyncio.CancelledError | None = None
    if not task.done():
        task.cancel()
    while not task.done():
        try:
            await asyncio.wait({task})
        except asyncio.CancelledError as error:
            cancelled = error
            task.cancel()
    if not task.cancelled():
        task.exception()  # it is raised where it is awaited, or nobody waits for it any more
    if cancelled is not None:
        raise cancelled
