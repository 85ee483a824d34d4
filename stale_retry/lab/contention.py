"""Several writers append to one session at once, and everything that happens is written down."""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable, Generator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Literal, Protocol, cast

import anyio

from .._types import OptionsButRefresh
from ..backoff import CLASSIC_SCHEDULE, constant
from ..detection import is_stale_session_error
from ..events import RetryEvent

MarkKind = Literal["stored", "rejected", "failed", "reload", "wait", "queue"]
Append = Callable[[Any, str], Awaitable[Any]]
"""Takes a writer's session and what to append; returns the session that the writer goes on with."""

_writer: ContextVar[int | None] = ContextVar("stale_retry.lab.writer", default=None)


@dataclass(frozen=True, eq=False)
class Strategy:
    """How a writer deals with a rejected append.

    Attributes:
        name: for machines.
        title: for readers.
        options: given to `retry_on_stale_session`; None does not retry at all.
        integrated: use the store's own integration, where it has one, with that one's defaults.
    """

    name: str
    title: str
    options: OptionsButRefresh | None = None
    integrated: bool = False


NONE = Strategy("none", "no retry")
IMMEDIATE = Strategy(
    "immediate", "3 immediate retries", {"backoff": constant(0), "jitter": None, "max_attempts": 4, "deadline": 90}
)
CLASSIC = Strategy("classic", "classic schedule", cast("OptionsButRefresh", CLASSIC_SCHEDULE))
OURS = Strategy("ours", "our defaults", {}, integrated=True)


@dataclass(frozen=True)
class Mark:
    """One stretch of a writer's time, in seconds since the run began.

    Attributes:
        kind: an attempt that was "stored", "rejected" as stale or "failed" otherwise, a "reload", a "wait" (the
            backoff), or waiting in the "queue".
    """

    kind: MarkKind
    start: float
    end: float


@dataclass(frozen=True)
class Sent:
    """One append as its writer saw it: stored if `error` is None, otherwise refused with that type of error."""

    writer: int
    token: str
    start: float
    end: float
    error: str | None


class Timeline:
    """What the writers of one run did. The store's own calls keep it, so it is the same for every strategy."""

    def __init__(self) -> None:
        self.marks: dict[int, list[Mark]] = {}
        self._began = 0.0
        self._waiting_since: dict[int, float] = {}

    def begin(self, writers: int) -> None:
        self.marks = {writer: [] for writer in range(writers)}
        self._began = anyio.current_time()

    def now(self) -> float:
        return anyio.current_time() - self._began

    def sending(self, writer: int) -> float:
        """A writer begins an append; the time until its first call counts as waiting in the queue."""
        self._waiting_since[writer] = self.now()
        return self.now()

    @contextmanager
    def attempt(self) -> Generator[None]:
        """Around one call of the store's append."""
        start = self._waited()
        kind: MarkKind = "stored"
        try:
            yield
        except Exception as error:
            kind = "rejected" if is_stale_session_error(error) else "failed"
            raise
        finally:
            self._mark(kind, start, self.now())

    @contextmanager
    def reload(self) -> Generator[None]:
        """Around one reading of the session."""
        start = self._waited()
        try:
            yield
        finally:
            self._mark("reload", start, self.now())

    def observe(self, event: RetryEvent) -> None:
        """An observer that notes the waits."""
        writer = _writer.get()
        if event.wait and writer is not None:
            self._waiting_since[writer] = self.now() + event.wait
            self._mark("wait", self.now(), self.now() + event.wait)

    def _waited(self) -> float:
        now = self.now()
        writer = _writer.get()
        since = now if writer is None else self._waiting_since.pop(writer, now)
        if since < now:
            self._mark("queue", since, now)
        return now

    def _mark(self, kind: MarkKind, start: float, end: float) -> None:
        writer = _writer.get()
        if writer is not None:
            self.marks[writer].append(Mark(kind, start, end))


class Store(Protocol):
    """One session in some store, with a timeline that its appends and reloads are noted on."""

    timeline: Timeline

    async def load(self) -> Any:
        """The session as it is now, for one writer to keep."""
        ...

    def append_with(self, strategy: Strategy) -> Append: ...

    async def stored(self) -> list[str]:
        """The events of the session, read through nothing that the writers used."""
        ...


@dataclass(frozen=True)
class Run:
    """What became of the appends of one run."""

    strategy: Strategy
    writers: int
    seconds: float
    sent: list[Sent]
    marks: dict[int, list[Mark]]
    found: Counter[str]

    @property
    def stored(self) -> int:
        """Events found in the store, each counted once."""
        return len(self.found)

    @property
    def lost(self) -> int:
        return len(self.sent) - self.stored

    @property
    def append_calls(self) -> int:
        return self.count("stored", "rejected", "failed")

    @property
    def slowest_append(self) -> float:
        """Seconds."""
        return max(append.end - append.start for append in self.sent)

    @property
    def stored_twice(self) -> int:
        return sum(times > 1 for times in self.found.values())

    @property
    def acknowledged_but_missing(self) -> int:
        return sum(append.error is None and append.token not in self.found for append in self.sent)

    @property
    def refused_but_stored(self) -> int:
        return sum(append.error is not None and append.token in self.found for append in self.sent)

    @property
    def errors(self) -> dict[str, int]:
        """How often each type of error reached a writer."""
        return dict(Counter(append.error for append in self.sent if append.error is not None))

    def count(self, *kinds: MarkKind) -> int:
        """How many marks of these kinds all writers have."""
        return sum(mark.kind in kinds for marks in self.marks.values() for mark in marks)


async def contend(
    store: Store, strategy: Strategy, *, writers: int, events: int, on_sent: Callable[[], object] = lambda: None
) -> Run:
    """Let `writers` tasks append `events` events each, one after the other, to the store's one session.

    Each writer loads the session once, before the clock starts, and keeps it, as an agent runner does for a turn.
    An error of an append is noted, and the writer goes on with its next event. `on_sent` is called after each append.
    """
    append = store.append_with(strategy)
    timeline = store.timeline
    sessions = [await store.load() for _ in range(writers)]
    sent: list[Sent] = []

    async def write(writer: int) -> None:
        _writer.set(writer)
        session = sessions[writer]
        for number in range(events):
            token = f"writer {writer} event {number}"
            start = timeline.sending(writer)
            failure = None
            try:
                session = await append(session, token)
            except Exception as error:
                failure = type(error).__name__
            sent.append(Sent(writer, token, start, timeline.now(), failure))
            on_sent()

    timeline.begin(writers)
    async with anyio.create_task_group() as tasks:
        for writer in range(writers):
            tasks.start_soon(write, writer)
    seconds = timeline.now()
    return Run(strategy, writers, seconds, sent, timeline.marks, Counter(await store.stored()))
