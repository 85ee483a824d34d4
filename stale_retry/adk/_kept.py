"""What was read last of the sessions that are contended for, kept as storage has it by what this process appends.

Whoever waited for his place is behind by what those before him stored. That is known here and need not be read again:
of many who wait the first one reads, and the others take what he read and what was appended since. The store's own
check decides every append all the same.
"""

from __future__ import annotations

import asyncio
import time
import weakref
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from google.adk.events import Event
from google.adk.sessions import BaseSessionService, Session
from google.adk.sessions.state import State

from ._memory import SHARED, TICK, Memory, state_delta_of, texts_of
from ._releases import Version, VersionFields, restore_version, version_fields_of, version_in, version_of
from ._services import stores_otherwise
from ._values import value_of

LINGER = 2.0
"""Seconds for which a session is kept after it was last read or appended to."""

LONGEST = 1000
"""Events that are kept of a session at most."""

_Key = tuple[int, str, str, str]


def own_copy(event: Event) -> Event:
    """The event for one session. Its content and actions all have in common who are brought up to date: copied too,
    they would take a hundred contenders longer than their appends.
    """
    return event.model_copy()


@dataclass
class Kept:
    """A session as storage has it, unless others than this process changed it.

    Attributes:
        stored: all state, the version, and the events from a date on. Whoever takes an event of it takes an `own_copy`.
        complete_from: the date from which on no event is missing.
        began: when it began to be read, by the monotonic clock.
        versions: of each version since then, how many of the events there were.
        shared: of each `app:` or `user:` key that other sessions wrote since then, when.
        is_doubted: whether storage turned out to be otherwise: it is to be read before this is believed again.
        used: when it was last read or appended to, by the event loop's clock.
    """

    stored: Session
    complete_from: float
    began: float
    is_doubted: bool = False
    shared: dict[str, float] = field(default_factory=dict)
    versions: dict[Version, int] = field(init=False)
    used: float = field(init=False, default_factory=lambda: asyncio.get_running_loop().time())

    def __post_init__(self) -> None:
        self.versions = {version_of(self.stored): len(self.stored.events)}

    def for_(self, memory: Memory, version: Version | None) -> Session:
        """What a session lacks that has that version, or that was not read since."""
        events = self.stored.events[self.versions[version] if version is not None else 0 :]
        state = self.stored.state
        if memory.updated > self.began:
            # Storage may have moved on in what other sessions have too, without this session being changed.
            news = {key for event in events if event.id not in memory.ids for key in state_delta_of(event)}
            news |= {key for key, written in self.shared.items() if written > memory.updated}
            held = {key: text for key, text in memory.state.items() if key.startswith(SHARED) and key not in news}
            state = {key: value for key, value in state.items() if key in news or not key.startswith(SHARED)}
            state |= {key: value_of(text) for key, text in held.items()}
        return self.stored.model_copy(update={"events": events, "state": state})

    def take_appended(self, session: Session, event: Event, state: Mapping[str, Any]) -> bool:
        """Become as storage is after an append through the session. False: that cannot be told from here."""
        stored, version = self.stored, version_of(session)
        last = stored.events[-1].timestamp if stored.events else 0.0
        if version in self.versions or len(stored.events) >= LONGEST or event.timestamp < last + TICK:
            return False
        try:  # as storage has it, where nobody changes it
            stored.events.append(Event.model_validate_json(event.model_dump_json(exclude_none=True)))
        except ValueError:
            return False
        stored.state.update(state)
        restore_version(stored, version_fields_of(session))
        self.versions[version] = len(stored.events)
        self.used = asyncio.get_running_loop().time()
        return True


class KeptSessions:
    """Those of one event loop."""

    def __init__(self) -> None:
        self._kept: dict[_Key, Kept] = {}
        self._is_swept = False

    def __len__(self) -> int:
        return len(self._kept)

    def of(self, service: BaseSessionService, session: Session) -> Kept | None:
        kept = self._kept.get(_key(service, session)) if self._kept else None
        return None if kept is None or kept.is_doubted else kept

    def keep(self, service: BaseSessionService, kept: Kept) -> None:
        """Keep what was read. Where others had changed the session since what was kept before, they may do so again."""
        key, version = _key(service, kept.stored), version_of(kept.stored)
        before = self._kept.get(key)
        kept.is_doubted = before is not None and version_of(before.stored) != version
        self._kept[key] = kept
        if not self._is_swept:
            self._is_swept = True
            asyncio.get_running_loop().call_later(LINGER, self._sweep)

    def drop(self, service: BaseSessionService, session: Session) -> None:
        self._kept.pop(_key(service, session), None)

    def take_appended(
        self,
        service: BaseSessionService,
        session: Session,
        event: Event,
        along: Mapping[str, str],
        before: VersionFields,
    ) -> None:
        """The event, and the state that went along, was stored through the session, which had that version before."""
        if not self._kept:
            return
        key = _key(service, session)
        state = _stored_state(service, session, event, along)
        kept = self._kept.get(key)
        if kept is not None and (
            state is None
            or version_of(kept.stored) != version_in(before)
            or not kept.take_appended(session, event, state)
        ):
            del self._kept[key]
        for other, its in list(self._kept.items()) if any(k.startswith(SHARED) for k in state_delta_of(event)) else ():
            if other != key and other[:2] == key[:2]:
                self._take_shared(other, its, state, is_same_user=other[2] == key[2])

    def _take_shared(self, key: _Key, kept: Kept, state: Mapping[str, Any] | None, *, is_same_user: bool) -> None:
        if state is None:
            del self._kept[key]
            return
        written = {k: v for k, v in state.items() if k.startswith(SHARED if is_same_user else State.APP_PREFIX)}
        kept.stored.state.update(written)
        kept.shared.update(dict.fromkeys(written, time.monotonic()))

    def take_failed(self, service: BaseSessionService, session: Session, *, is_stale: bool) -> None:
        """An append through the session failed: storage may be otherwise, unless only the session was behind."""
        kept = self._kept.get(_key(service, session)) if self._kept else None
        if kept is None:
            return
        if not is_stale:
            self.drop(service, session)
        elif version_of(kept.stored) == version_of(session):
            kept.is_doubted = True

    def _sweep(self) -> None:
        now = asyncio.get_running_loop().time()
        for key, kept in list(self._kept.items()):
            if kept.used + LINGER <= now:
                del self._kept[key]
        self._is_swept = bool(self._kept)
        if self._is_swept:
            asyncio.get_running_loop().call_later(LINGER, self._sweep)


_loops: weakref.WeakKeyDictionary[Any, KeptSessions] = weakref.WeakKeyDictionary()


def kept_sessions() -> KeptSessions:
    """Those of the running event loop. They go with it: nothing that is kept knows the loop."""
    loop = asyncio.get_running_loop()
    kept = _loops.get(loop)
    return _loops.setdefault(loop, KeptSessions()) if kept is None else kept


def _stored_state(
    service: BaseSessionService, session: Session, event: Event, along: Mapping[str, str]
) -> dict[str, Any] | None:
    """What an append wrote to state; None where it may have become something else in storage."""
    delta = state_delta_of(event)
    written = {**session.state, **delta}
    state = {key: value_of(text) for key, text in {**along, **texts_of(delta)}.items()}
    as_written = all(value == written.get(key) and not stores_otherwise(service, value) for key, value in state.items())
    return state if as_written else None


def _key(service: BaseSessionService, session: Session) -> _Key:
    # By its id, since a service knows connections, and these the loop. Where another one comes to have it, its store
    # decides as ever.
    return id(service), session.app_name, session.user_id, session.id
