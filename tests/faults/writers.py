"""The writers of one process, and the strategies they append with."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from google.adk.events.event import Event
from google.adk.events.event_actions import EventActions
from google.adk.sessions import BaseSessionService, Session
from google.genai import types

from stale_retry.adk import RetryingSessionService, retry_if_transient

from .journal import Journal, read
from .stores import APP, Store, close

RESENDS = 6


@dataclass(frozen=True)
class Job:
    """What one process has to do.

    Attributes:
        strategy: a key of `STRATEGIES`.
        events: how many each writer appends.
        deadline: seconds for each append.
        dry: something else in the process keeps the pool's only connection until the store has failed that often.
        resume: go on where an earlier process, which was killed, stopped writing the same journal.
    """

    store: Store
    session: str
    strategy: str
    writers: list[str]
    events: int
    journal: str
    deadline: float = 60.0
    dry: int = 0
    resume: bool = False


Append = Callable[[Session, Event], Awaitable[Any]]


def bare(service: BaseSessionService, job: Job) -> Append:
    """No retry at all."""
    return lambda session, event: service.append_event(session=session, event=event)


def resend(service: BaseSessionService, job: Job) -> Append:
    """The obvious loop: whatever the error, load the session again and send the message again."""

    async def append(session: Session, event: Event) -> None:
        for _ in range(RESENDS):
            try:
                await service.append_event(session=session, event=event)
            except Exception:
                session = await load(service, job.session)
                event = make_event(message_of(event))
            else:
                return
        await service.append_event(session=session, event=event)

    return append


def retrying(service: BaseSessionService, job: Job, **options: Any) -> Append:
    """This package, as it comes."""
    options = {"deadline": job.deadline, "observers": (), **options}
    wrapped = RetryingSessionService(service, **options)
    return lambda session, event: wrapped.append_event(session=session, event=event)


def forget(service: BaseSessionService, job: Job) -> Append:
    """The same, by a process that does not look after what an earlier one had sent when it was killed."""
    return retrying(service, job)


def documented(service: BaseSessionService, job: Job) -> Append:
    """This package with the documented line for everything that is not a conflict."""
    return retrying(service, job, in_doubt=retry_if_transient())


STRATEGIES: dict[str, Callable[[BaseSessionService, Job], Append]] = {
    function.__name__: function for function in (bare, resend, retrying, forget, documented)
}


def make_event(message: str, id: str | None = None) -> Event:
    """An event with a key of its writer's own and one that all writers fight for."""
    writer, _, number = message.rpartition(" ")
    return Event(
        author="user",
        timestamp=time.time(),
        content=types.Content(role="user", parts=[types.Part(text=message)]),
        actions=EventActions(state_delta={writer: int(number), "last": message}),
        **({} if id is None else {"id": id}),
    )


def message_of(event: Event) -> str:
    return str(event.content.parts[0].text)


async def load(service: BaseSessionService, session: str) -> Session:
    """The session, as soon as the store answers."""
    give_up = time.monotonic() + 30
    while True:
        try:
            loaded = await service.get_session(**APP, session_id=session)
        except Exception:
            if time.monotonic() > give_up:
                raise
            await asyncio.sleep(0.01)
        else:
            assert loaded is not None
            return loaded


async def work(job: Job, started: Callable[[], Awaitable[Any]]) -> None:
    """Load a session for each writer, say so, wait for the start, and write."""
    service = job.store.open()
    journal = Journal(Path(job.journal))
    try:
        handles = [await load(service, job.session) for _ in job.writers]
        dry_until = keep_account(service, journal, job.dry)
        append = STRATEGIES[job.strategy](service, job)
        await started()
        async with contextlib.AsyncExitStack() as stack:
            if job.dry:
                connection = await stack.enter_async_context(service.db_engine.connect())
                await connection.get_raw_connection()
            writing = [write(job, w, h, append, journal) for w, h in zip(job.writers, handles, strict=True)]
            tasks = [asyncio.ensure_future(writer) for writer in writing]
            await dry_until.wait()
            await stack.aclose()
            await asyncio.gather(*tasks)
    finally:
        journal.close()
        await close(service)


async def write(job: Job, writer: str, session: Session, append: Append, journal: Journal) -> None:
    done = set()
    if job.resume:
        done = await resume(job, writer, session, append, journal)
    for number in range(job.events):
        message = f"{writer} {number}"
        if message not in done:
            await send(session, make_event(message), append, journal)


async def send(session: Session, event: Event, append: Append, journal: Journal) -> None:
    message, id = message_of(event), event.id
    journal.write("sent", message, id)
    try:
        await append(session, event)
    except Exception as error:
        journal.write("failed", message, id, error)
    else:
        journal.write("acknowledged", message, id)


async def resume(job: Job, writer: str, session: Session, append: Append, journal: Journal) -> set[str]:
    """Send again what was sent and never answered, unless its id is in the session; return what is done with."""
    mine = [entry for entry in read(Path(job.journal)) if entry.message.rpartition(" ")[0] == writer]
    answered = {entry.message for entry in mine if entry.kind in ("acknowledged", "failed")}
    sent = {entry.message: entry.id for entry in mine if entry.kind == "sent"}
    stored = {event.id for event in session.events}
    for message in sent.keys() - answered:
        if job.strategy == "resend":
            await send(session, make_event(message), append, journal)
        elif job.strategy != "forget":
            if sent[message] in stored:
                journal.write("acknowledged", message, sent[message])
            else:
                await send(session, make_event(message, sent[message]), append, journal)
    return set(sent)


def keep_account(service: Any, journal: Journal, enough: int = 0) -> asyncio.Event:
    """Write down whenever the store answers with an error; the event is set when it did so often enough."""
    append_event, get_session = service.append_event, service.get_session
    reached = asyncio.Event()
    errors = itertools.count(1)
    if not enough:
        reached.set()

    def note(kind: str, error: Exception, message: str = "", id: str = "") -> None:
        journal.write(kind, message, id, error)
        if next(errors) >= enough:
            reached.set()

    async def append(session: Session, event: Event) -> Event:
        try:
            return await append_event(session=session, event=event)
        except Exception as error:
            note("refused", error, message_of(event), event.id)
            raise

    async def read(**which: Any) -> Session | None:
        try:
            return await get_session(**which)
        except Exception as error:
            note("unread", error)
            raise

    service.append_event, service.get_session = append, read
    return reached
