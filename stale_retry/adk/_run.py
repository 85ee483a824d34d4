"""One run of google-adk's runner inside a turn: looks for its message, runs, and leaves the session whole."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping
from contextlib import aclosing
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from google.adk.agents import LlmAgent
from google.adk.events import Event
from google.adk.runners import Runner
from google.adk.sessions import BaseSessionService, Session
from google.adk.sessions.base_session_service import GetSessionConfig
from google.genai import types

from ..turns import TurnInterruptedError
from . import _ledger
from ._ledger import Fate, Message, Record
from ._noting import NotingService, with_service
from ._open_calls import answers
from ._releases import now
from ._session_key import SessionKey
from .service import RetryingSessionService

logger = logging.getLogger("stale_retry")

CONTINUE = "Continue."
"""What a model is told whose answer is stored, in a run that is not known to have ended."""


Ended = Literal["newer", "stopped", "lost"] | None
"""Why a turn was ended early, if it was."""


@dataclass(eq=False)
class Asked:
    """What a runner is asked.

    Attributes:
        arguments: of `run_async`.
        message: tells it apart from others, if it has an idempotency key.
        together: the other messages that are answered with it.
        is_known: whether the session knows the message.
        on_over: called when the run has ended, which may be before its events are read.
    """

    run_async: Callable[..., AsyncGenerator[Event, None]]
    runner: Runner
    arguments: Mapping[str, Any]
    key: SessionKey
    message: Message | None = None
    together: tuple[Message, ...] = ()
    is_known: bool = False
    on_over: Callable[[], object] | None = None

    @property
    def digests(self) -> dict[str, str]:
        messages = self.together if self.message is None else (self.message, *self.together)
        return {message.key: message.digest for message in messages}


@dataclass(eq=False)
class _Run:
    """A run that is inside a turn.

    Attributes:
        outer: the run on the same session whose tool, or whose reading loop, started this one.
        invocations: those it was seen to make, and those of runs inside it.
        noting: the service that it runs on if it notes anything.
    """

    key: SessionKey
    outer: _Run | None
    noting: NotingService | None = None
    began: float = field(default_factory=now)
    invocations: set[str] = field(default_factory=set[str])
    is_over: bool = False

    def saw(self, event: Event) -> None:
        run: _Run | None = self
        while run is not None:
            run.invocations.add(event.invocation_id)
            run = run.outer

    def made(self, session: Session) -> Callable[[Event], bool]:
        """Tells whether an event of the session is of this run, or of one inside it, seen or not."""
        older = {event.invocation_id for event in session.events if event.timestamp < self.began}
        return lambda event: event.invocation_id in self.invocations or event.invocation_id not in older


_running: ContextVar[_Run | None] = ContextVar("stale_retry.adk", default=None)


def inner_run_of() -> _Run | None:
    """The run that the current context is inside of."""
    run = _running.get()
    return None if run is None or run.is_over else run


async def answer(asked: Asked, ended: Callable[[], Ended]) -> AsyncGenerator[Event, None]:
    """Answer a message inside a turn, in a task of its own.

    A message that was answered before is answered with what is stored. A run that was cut off is continued. `ended`
    tells why the turn was ended early, if it was.
    """
    try:
        async with aclosing(_answer(asked, ended)) as events:
            async for event in events:
                yield event
    finally:
        if asked.on_over is not None:
            asked.on_over()


async def _answer(asked: Asked, ended: Callable[[], Ended]) -> AsyncGenerator[Event, None]:
    service = asked.runner.session_service
    record = None if asked.message is None else await record_of(asked, asked.message)
    if record is not None:
        for event in replayed(record, asked.arguments):
            yield event
        if record.fate is not None:
            return
        appended = await _append(service, asked.key, lambda session: _made_whole(record, session))
        run = _run_of(asked, record, record.length + appended)
    else:
        run = _run_of(asked, None, 0)
    _running.set(run)
    runner = asked.runner if run.noting is None else with_service(asked.runner, run.noting)
    arguments = asked.arguments if record is None else {**asked.arguments, "new_message": record.asked.content}
    is_cut_off = True
    try:
        async with aclosing(asked.run_async(runner, **arguments)) as events:
            async for event in events:
                run.saw(event)
                yield event
        signal = arguments.get("abort_signal")
        is_cut_off = signal is not None and signal.is_set()
    finally:
        run.is_over = True
        await _to_the_end(_leave(asked, run, ended(), is_cut_off=is_cut_off))


def _run_of(asked: Asked, record: Record | None, length: int) -> _Run:
    service, outer = asked.runner.session_service, inner_run_of()
    if outer is not None and outer.key != asked.key:
        outer = None
    noting = None
    if record is not None:
        noting = NotingService(service, continues=record.asked.invocation_id, at_least=length)
    elif asked.digests:
        noting = NotingService(service, messages=asked.digests)
    elif outer is not None and outer.noting is not None and outer.noting.asked is not None:
        noting = NotingService(service, inside=outer.noting.asked)
    return _Run(asked.key, outer, noting)


async def _leave(asked: Asked, run: _Run, ended: Ended, *, is_cut_off: bool) -> None:
    """Answer the calls that the run left open, and note how it ended if its message has a key."""
    # What may be resumed is not answered for; an interruption is the end of it.
    answers_calls = ended is not None or (is_cut_off and not _is_resumable(asked.runner))
    marks = run.noting.asked if run.noting is not None and asked.digests else None
    fate = _fate(ended, is_cut_off=is_cut_off)

    def last(session: Session) -> Iterable[Event]:
        if answers_calls:
            yield from answers(session.events, run.made(session), long_running=ended is not None)
        if marks is not None and fate is not None:
            yield _ledger.mark(marks, fate)

    if answers_calls or (marks is not None and fate is not None):
        await _append(asked.runner.session_service, asked.key, last)


def _fate(ended: Ended, *, is_cut_off: bool) -> Fate | None:
    if ended is None:
        return None if is_cut_off else "answered"
    return ended if ended != "lost" else None


async def record_of(asked: Asked, message: Message) -> Record | None:
    """What the session knows of the message, unless that is of no use to it any more."""
    record = _ledger.look_for(message, await recent(asked.runner.session_service, asked.key))
    if record is None or record.fate is not None:
        return record
    if record.last_word is not None and _ends_a_run(record.last_word, asked.runner.agent):
        return replace(record, fate="answered")  # its reader had read enough, or its process died right then
    # Cut off, and another turn came since: it is a new message.
    return record if record.is_latest else None


def _ends_a_run(event: Event, agent: Any) -> bool:
    """Whether nothing comes after this answer. Where agents follow one another, that cannot be told."""
    is_scoped = bool(event.branch) or getattr(event, "isolation_scope", None) is not None
    return event.is_final_response() and not is_scoped and _only_talks(agent)


def _only_talks(agent: Any) -> bool:
    is_plain = isinstance(agent, LlmAgent) and type(agent)._run_async_impl is LlmAgent._run_async_impl
    return is_plain and all(map(_only_talks, agent.sub_agents))


def replayed(record: Record, arguments: Mapping[str, Any]) -> Iterable[Event]:
    """The stored events of a message that was delivered before.

    Raises:
        TurnInterruptedError: its run was stopped or interrupted.
    """
    if record.fate == "stopped" or record.fate == "newer":
        what = "a newer turn interrupted" if record.fate == "newer" else "somebody stopped"
        raise TurnInterruptedError(
            f"{what} the turn of this message; what it stored until then is stored", reason=record.fate, started=True
        )
    return [record.asked, *record.events] if arguments.get("yield_user_message") else record.events


def _made_whole(record: Record, session: Session) -> Iterable[Event]:
    """What makes a run that was cut off one that a model can go on with."""
    yield from answers(session.events, record.belongs, long_running=True)
    if record.last_word is not None:
        content = types.Content(role="user", parts=[types.Part(text=CONTINUE)])
        yield Event(author="user", invocation_id=record.asked.invocation_id, content=content)


async def recent(service: BaseSessionService, key: SessionKey) -> Session | None:
    app_name, user_id, session_id = key
    config = GetSessionConfig(num_recent_events=_ledger.RECENT_EVENTS)
    return await service.get_session(app_name=app_name, user_id=user_id, session_id=session_id, config=config)


async def _append(service: BaseSessionService, key: SessionKey, events: Callable[[Session], Iterable[Event]]) -> int:
    """Append what a function makes of the session, and return how many events that are. Logs what it raises."""
    appended = 0
    try:
        if not isinstance(service, RetryingSessionService):
            service = RetryingSessionService(service)
        session = await recent(service, key)
        if session is not None:
            for event in list(events(session)):
                await service.append_event(session=session, event=event)
                appended += 1
    except Exception:
        logger.exception("what a run left open could not be noted in its session")
    return appended


async def _to_the_end(work: Any) -> None:
    """However often the task that waits for it is cancelled."""
    task: asyncio.Task[Any] = asyncio.ensure_future(work)
    cancelled: asyncio.CancelledError | None = None
    while not task.done():
        try:
            await asyncio.wait({task})
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled is not None:
        raise cancelled


def _is_resumable(runner: Runner) -> bool:
    config = getattr(runner, "resumability_config", None)
    return config is not None and bool(config.is_resumable)
