"""What storage has of the sessions that are contended for, as far as this process has read or written it.

A caller that waited in the queue is behind by what was stored before its turn. This process stored that itself, so the
caller need not read it again. The store's own check decides every append all the same.
"""

from __future__ import annotations

import math
import time
import weakref
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from google.adk.events import Event
from google.adk.sessions import Session

from ._known import SHARED, TICK, Known, state_delta_of
from ._releases import Version, VersionFields, restore_version, version_fields_of, version_in, version_of
from ._values import value_of

LONGEST = 1000
"""Events that are kept of a session at most."""

MOST_SHARED = 1000
"""Apps and users of which it is kept when their state was last written; all others count as written then."""


def own_copy(event: Event) -> Event:
    """The event for one session. Only what no context changes in place is shared with other sessions."""
    actions, metadata, content = event.actions, event.custom_metadata, event.content
    own: dict[str, Any] = {"actions": actions.model_copy(update={"state_delta": dict(actions.state_delta)})}
    if metadata is not None:
        own["custom_metadata"] = dict(metadata)
    if content is not None and content.parts and any(map(_is_a_call, content.parts)):
        parts = [_own_call(part) if _is_a_call(part) else part for part in content.parts]
        own["content"] = content.model_copy(update={"parts": parts})
    return event.model_copy(update=own)


def _is_a_call(part: Any) -> bool:
    return part.function_call is not None or part.function_response is not None


def _own_call(part: Any) -> Any:
    """google-adk copies a part for each request, and not the arguments of a call and the response in it."""
    own: dict[str, Any] = {}
    if part.function_call is not None:
        own["function_call"] = part.function_call.model_copy(update={"args": _own_json(part.function_call.args)})
    if part.function_response is not None:
        response = _own_json(part.function_response.response)
        own["function_response"] = part.function_response.model_copy(update={"response": response})
    return part.model_copy(update=own)


def _own_json(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _own_json(each) for key, each in value.items()}
    return [_own_json(each) for each in value] if isinstance(value, list) else value


class Queue(Protocol):
    """The queue of a session. It exists while somebody holds its slot."""

    @property
    def is_waited_for(self) -> bool: ...


@dataclass
class Stored:
    """One session as storage has it, unless another process changed it.

    Attributes:
        session: the version, all state, and the events from a date on. A caller takes an `own_copy` of an event.
        complete_from: the date from which on no event is missing; infinity if storage was not read, and `session` has
            only what was appended since the oldest of the `versions`.
        began: when reading it began, by the monotonic clock; minus infinity if it was not read.
        shared: when this process last wrote `app:` or `user:` keys through another session, by the same clock.
        is_doubted: whether storage turned out to be otherwise, so that it has to be read before this is used again.
        versions: for each version since then, how many of the events there were.
        writes: what each append since then wrote to state.
    """

    session: Session
    complete_from: float
    began: float
    shared: float = -math.inf
    is_doubted: bool = False
    versions: dict[Version, int] = field(init=False)
    writes: list[Mapping[str, Any]] = field(init=False, default_factory=list)

    def __post_init__(self) -> None:
        self.versions = {version_of(self.session): len(self.session.events)}

    def since(self, version: Version, known: Known) -> Session | None:
        """What a session of that version lacks. None: that is not known."""
        at = self.versions.get(version)
        was_read = self.began > -math.inf
        if at is None or (not was_read and (known.is_guess or known.updated < self.shared)):
            return None
        events = self.session.events[at:]
        if known.is_guess:
            return self.session.model_copy(update={"events": events})
        state = {key: value_of(text) for key, text in known.state.items()}
        if known.updated < self.began:  # what other sessions have too may have changed in between
            state = {key: value for key, value in state.items() if not key.startswith(SHARED)}
            state |= {key: value for key, value in self.session.state.items() if key.startswith(SHARED)}
        for written in self.writes[len(self.writes) - len(events) :] if events else ():
            state.update(written)
        return self.session.model_copy(update={"events": events, "state": state})

    def whole(self, known: Known) -> Session | None:
        """All that was read, and appended since, for a session that was last brought up to date before that."""
        is_older = max(known.updated, known.appended) < self.began
        return self.session.model_copy() if is_older else None

    def take_appended(self, session: Session, event: Event, written: Mapping[str, Any]) -> bool:
        """Become as storage is after an append through the session. False: that cannot be told from here."""
        stored, version = self.session, version_of(session)
        last = stored.events[-1].timestamp if stored.events else 0.0
        if version in self.versions or len(stored.events) >= LONGEST or event.timestamp < last + TICK:
            return False
        try:  # as storage has it, where nobody changes it
            stored.events.append(Event.model_validate_json(event.model_dump_json(exclude_none=True)))
        except ValueError:
            return False
        self.writes.append(written)
        stored.state.update(written)
        restore_version(stored, version_fields_of(session))
        self.versions[version] = len(stored.events)
        return True


class StoredSessions:
    """Those that a policy's callers contend for. What is kept of a session goes with its queue.

    Args:
        queue_of: the queue of a session in the running event loop, None if nobody holds its slot.
    """

    def __init__(self, queue_of: Callable[[Session], Queue | None]) -> None:
        self._queue_of = queue_of
        self._by_queue: weakref.WeakKeyDictionary[Any, Stored] = weakref.WeakKeyDictionary()
        self._shared: dict[tuple[str, ...], float] = {}

    def __len__(self) -> int:
        return len(self._by_queue)

    def of(self, session: Session) -> Stored | None:
        stored = self._of(session)
        return None if stored is None or stored.is_doubted else stored

    def keep(self, stored: Stored) -> bool:
        """Keep what was read if others wait for the session. False: nobody does."""
        queue = self._queue_of(stored.session)
        if queue is None or not queue.is_waited_for:
            return False
        # Where another process has changed the session since what was kept before, it may do so again.
        before = self._by_queue.get(queue)
        stored.is_doubted = before is not None and version_of(before.session) != version_of(stored.session)
        self._by_queue[queue] = stored
        return True

    def are_wanted(self, session: Session, event: Event) -> bool:
        """Whether an append that was accepted has to be told of: others wait, or it wrote what other sessions have."""
        if self._by_queue:
            return True
        delta = event.actions.state_delta
        if delta and any(key.startswith(SHARED) for key in delta):
            return True
        queue = self._queue_of(session)
        return queue is not None and queue.is_waited_for

    def take_appended(self, session: Session, event: Event, written: Mapping[str, Any], before: VersionFields) -> None:
        """The event, and that state, was stored through the session, which had that version before."""
        queue = self._queue_of(session)
        if queue is not None and (queue.is_waited_for or queue in self._by_queue):
            stored = self._by_queue.get(queue)
            if not queue.is_waited_for:
                stored = None
            elif stored is None:
                stored = Stored(_nothing_yet(session, before), math.inf, -math.inf, self._shared_at(session))
            if (
                stored is None
                or version_of(stored.session) != version_in(before)
                or not stored.take_appended(session, event, written)
            ):
                self._by_queue.pop(queue, None)
            else:
                self._by_queue[queue] = stored
        keys = [key for key in state_delta_of(event) if key.startswith(SHARED)]
        if keys:
            self.take_shared(session, keys, queue)

    def take_shared(self, session: Session, keys: list[str], queue: Queue | None = None) -> None:
        """State that other sessions have too was written: what is kept of those is not true any more."""
        is_of_all = any(key.startswith(SHARED[0]) for key in keys)
        of = (session.app_name,) if is_of_all else (session.app_name, session.user_id)
        if len(self._shared) >= MOST_SHARED:
            self._shared = {(): time.monotonic()}
        self._shared[of] = time.monotonic()
        for other, stored in list(self._by_queue.items()):
            if other is not queue and (stored.session.app_name, stored.session.user_id)[: len(of)] == of:
                del self._by_queue[other]

    def take_failed(self, session: Session, *, is_stale: bool) -> None:
        """An append through the session failed: storage may be otherwise, unless only the session was behind."""
        stored = self._of(session)
        if stored is None:
            return
        if not is_stale:
            del self._by_queue[self._queue_of(session)]
        elif version_of(stored.session) == version_of(session):
            stored.is_doubted = True

    def _of(self, session: Session) -> Stored | None:
        if not self._by_queue:
            return None
        queue = self._queue_of(session)
        return None if queue is None else self._by_queue.get(queue)

    def _shared_at(self, session: Session) -> float:
        app, user = (session.app_name,), (session.app_name, session.user_id)
        return max(self._shared.get(of, -math.inf) for of in ((), app, user))


def _nothing_yet(session: Session, before: VersionFields) -> Session:
    stored = session.model_copy(update={"events": [], "state": {}})
    restore_version(stored, before)
    return stored
