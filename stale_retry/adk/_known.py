"""What this process knows of a session object: what it was loaded with, and what storage had when it was last read."""

from __future__ import annotations

import math
import time
import weakref
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from google.adk.events import Event
from google.adk.sessions import Session
from google.adk.sessions.base_session_service import GetSessionConfig
from google.adk.sessions.state import State

from . import _values
from ._releases import now

TICK = 1e-6
"""Databases keep a timestamp to the microsecond, so two readings of one event may differ by less than this."""

MADE_BEFORE_LOADING = 5.0
"""Seconds before a session was loaded in which an event may have been made for it. What is older is an import."""


SHARED = (State.APP_PREFIX, State.USER_PREFIX)
"""What keys begin with that other sessions have too."""


class Mark(NamedTuple):
    """A moment in the life of a session object, to tell later what has happened to it since."""

    appends: int
    refreshes: int


@dataclass
class Merged:
    """A write of a key of state that was merged before its event came.

    Attributes:
        written, text, value: the write as text; the result as text; the result.
        own: what the caller wrote last of what is appended.
        stored: what that became.
        at: when that was; an event made earlier was written without knowing of it.
        events: those that have what became of their write.
        is_appended: whether the write came with an event, and did not only stand in the session's state.
    """

    written: str
    text: str
    value: Any
    own: Any
    stored: Any
    at: float
    events: set[str]
    is_appended: bool
    merge: Callable[[str, Any, Any, Any], Any]


@dataclass
class Known:
    """What is known of a session object. Lives as long as that.

    Attributes:
        floor: the date from which on an event that is not known is new; what is older is outside the window.
        seen: the date of the latest that storage had when the session was last brought up to date.
        newest: the date of the latest that was ever known.
        made_since: the date from which on an event is taken for one that was made for this session.
        ids: every event that was loaded, taken in or acknowledged, with the number of appends made by then.
        read: of the last event that was read, or of every one where nobody saw them being read, the id and date.
        acknowledged: of the last event with content that was appended since, the id and date.
        state: what storage had of each key, `temp:` keys aside, as text.
        stored_keys: of each key that was appended, the number of the append.
        merged: for each key, the write that a function merged with another caller's, while an event that has it or an
            earlier write of the key was still to come.
        early: of each key, a write that was stored before its event came, as text.
        unanswered: for each event that was sent and got no answer, the state that went with it, other than its own.
        is_guess: whether nobody saw the session being loaded, so that a difference to `state` proves nothing.
        news: the reading that the refresh hook has just made and the conflict hook goes by.
        refused: the invocations of which an event was refused because of `state_conflicts="raise"`.
        updated: when it was loaded or last brought up to date, by the monotonic clock.
        appended: when an append was last acknowledged.
    """

    floor: float
    seen: float
    newest: float
    made_since: float
    ids: dict[str, int]
    read: dict[str, float]
    state: dict[str, str]
    is_guess: bool
    news: Any = None
    refused: set[str] = field(default_factory=set)
    acknowledged: dict[str, float] = field(default_factory=dict)
    stored_keys: dict[str, int] = field(default_factory=dict)
    merged: dict[str, Merged] = field(default_factory=dict)
    early: dict[str, str] = field(default_factory=dict)
    unanswered: dict[str, dict[str, str]] = field(default_factory=dict)
    appends: int = 0
    refreshes: int = 0
    updated: float = field(default_factory=time.monotonic)
    appended: float = -math.inf

    @classmethod
    def of_loaded(cls, session: Session, config: GetSessionConfig | None) -> Known:
        return cls._of(session, _floor_of(session, config), session.events[-1:], is_guess=False)

    @classmethod
    def of_unknown(cls, session: Session) -> Known:
        """Of a copy, or of one that was loaded elsewhere: whatever it lacks up to now may be lacking on purpose."""
        return cls._of(session, _newest_of_all(session) + TICK, session.events, is_guess=True)

    @classmethod
    def _of(cls, session: Session, floor: float, read: Iterable[Event], *, is_guess: bool) -> Known:
        seen = _newest_of_all(session)
        return cls(
            floor=floor,
            seen=seen,
            newest=seen,
            made_since=now() - MADE_BEFORE_LOADING,
            ids=dict.fromkeys((event.id for event in session.events), 0),
            read={event.id: event.timestamp for event in read},
            state=texts_of(session.state),
            is_guess=is_guess,
        )

    def mark(self) -> Mark:
        return Mark(self.appends, self.refreshes)

    def knew(self, event: Event, mark: Mark) -> bool:
        """Whether the event was known then."""
        return self.ids.get(event.id, math.inf) <= mark.appends

    def has_stored_since(self, key: str, mark: Mark) -> bool:
        return self.stored_keys.get(key, 0) > mark.appends

    def take_stored(self, event: Event, along: Mapping[str, str]) -> None:
        """The event is acknowledged, and with it the state that went along."""
        self.appends += 1
        self.appended = time.monotonic()
        self.ids[event.id] = self.appends
        self.unanswered.pop(event.id, None)
        self.newest = max(self.newest, event.timestamp)
        if event.content is not None:
            self.acknowledged = {event.id: event.timestamp}
        delta = state_delta_of(event)
        if along or delta:
            self._take_along(along)
            for key, text in texts_of(delta).items():
                self.state[key] = text
                self.early.pop(key, None)
            self.stored_keys.update(dict.fromkeys([*along, *delta], self.appends))

    def take_found(self, event: Event, state: dict[str, Any]) -> None:
        """The event was not acknowledged, and is stored all the same."""
        self._take_along(self.unanswered.pop(event.id, {}))
        for key, value in state_delta_of(event).items():
            written = _values.text_of(state[key]) if key in state else None
            if not _values.are_same(written, self.state.get(key)):
                self.state[key] = _values.text_of(value)

    def _take_along(self, along: Mapping[str, str]) -> None:
        for key, text in along.items():
            if not _values.are_same(text, self.state.get(key)):
                self.early[key] = text
        self.state.update(along)

    def take_read(self, stored: Session, mark: Mark, *, is_whole: bool) -> None:
        """The session has been brought up to date with what was read from then on."""
        if is_whole:
            # What storage never had was put in by the caller; no later reading needs to show it.
            read = {event.id for event in stored.events}
            self.ids = {id_: at for id_, at in self.ids.items() if at > mark.appends or id_ in read}
        self.ids.update(dict.fromkeys((e.id for e in stored.events if e.id not in self.ids), 0))
        self.read = {event.id: event.timestamp for event in stored.events[-1:]} or self.read
        if any(self.ids.get(id_, 0) <= mark.appends for id_ in self.acknowledged):
            self.acknowledged = {}
        texts = texts_of(stored.state)
        texts.update({key: text for key, text in self.state.items() if self.has_stored_since(key, mark)})
        self.state = texts
        self.is_guess = False
        self.seen = newest(stored)
        self.newest = max(self.newest, self.seen)
        self.refreshes += 1
        self.updated = time.monotonic()


def newest(session: Session) -> float:
    """The date of the latest that a session knows of."""
    return max(session.last_update_time, session.events[-1].timestamp if session.events else 0.0)


def _newest_of_all(session: Session) -> float:
    # The last one that was appended through it may have been a late one.
    return max(session.last_update_time, *(event.timestamp for event in session.events), 0.0)


def texts_of(state: dict[str, Any]) -> dict[str, str]:
    return {key: _values.text_of(value) for key, value in state.items() if not key.startswith(State.TEMP_PREFIX)}


def state_delta_of(event: Event) -> dict[str, Any]:
    """What storing the event writes to state."""
    delta = event.actions.state_delta
    if not delta:
        return {}
    return {key: value for key, value in delta.items() if not key.startswith(State.TEMP_PREFIX)}


def _floor_of(session: Session, config: GetSessionConfig | None) -> float:
    if config is None:
        return -math.inf
    limit = config.num_recent_events
    if limit is not None and len(session.events) >= limit:
        return (session.events[0].timestamp if session.events else session.last_update_time) + TICK
    if config.after_timestamp is None:
        return -math.inf
    return min(config.after_timestamp, _newest_of_all(session) + TICK)


# Sessions are not hashable and refuse public attributes; their identity is all there is to remember them by.
_all_known: dict[int, tuple[weakref.ref[Session], Known]] = {}


def remember_loaded(session: Session, config: GetSessionConfig | None) -> None:
    """Note what a session was loaded with."""
    _remember(session, Known.of_loaded(session, config))


def known_of(session: Session) -> Known:
    """What is known of the session; at first sight, what can be guessed of it."""
    known = _all_known.get(id(session))
    return known[1] if known is not None else _remember(session, Known.of_unknown(session))


def note_sessions(args: Iterable[Any], kwargs: Mapping[str, Any]) -> None:
    """See a call's session for the first time now: what can be guessed of it holds now, not when it has waited."""
    for argument in (*args, *kwargs.values()):
        if isinstance(argument, Session):
            known_of(argument)


def _remember(session: Session, known: Known) -> Known:
    key = id(session)
    _all_known[key] = weakref.ref(session, lambda _: _all_known.pop(key, None)), known
    return known
