"""The conflict hook: settle what is stored, refuse what must not go on, bring the session up to date."""

from __future__ import annotations

import copy
import inspect
import logging
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from google.adk.events import Event
from google.adk.sessions import Session

from .. import Conflict
from ..typing import Settled
from . import interleaving as _interleaving
from ._changes import Changes
from ._known import Known, known_of
from ._reading import Reading
from ._releases import AdkStaleSessionError, restore_version, rewinds_to, version_fields_of
from ._values import text_of, value_of
from .interleaving import Interleaving
from .state_conflicts import Clash, StateConflictError, StateConflicts, log_overwritten

logger = logging.getLogger("stale_retry")


@dataclass(frozen=True)
class SessionConflict(Conflict[Session]):
    """What a conflict hook of google-adk's policy is handed.

    Attributes:
        stale: a copy of the caller's session as it was, with what the caller wrote to it.
        fresh: the caller's session, brought up to date in place.
        new_events: what others stored since the session was loaded or last brought up to date.
        base: the state that storage had then.
        theirs: the state that storage has now.
    """

    new_events: Sequence[Event] = field(repr=False, default=())
    base: Mapping[str, Any] = field(repr=False, default_factory=dict)
    theirs: Mapping[str, Any] = field(repr=False, default_factory=dict)


class Reconcile:
    """The policy's one conflict hook, and what finds an event that is stored already.

    Attributes:
        hooks: the caller's own, which are asked last.
        lost_updates: how many values of state that others had stored were overwritten by way of "last_wins".
    """

    def __init__(
        self,
        name: str,
        session: str,
        interleaving: Interleaving,
        state_conflicts: StateConflicts,
    ) -> None:
        self.lost_updates = 0
        self._name = name
        self._session = session
        self._interleaving = interleaving
        self._state_conflicts = state_conflicts
        self.hooks: tuple[Any, ...] = ()

    async def __call__(self, conflict: Conflict[Any]) -> Settled | None:
        session, event = conflict.fresh, event_of(conflict.arguments)
        if event is None:
            raise TypeError("an append_event that is retried must take the event as an argument")
        known = known_of(session)
        reading, known.news = known.news, None
        changes = Changes(session, known, reading, event)
        if changes.own is not None:
            return conflict.settle(self._settle(session, known, changes, event, changes.own))
        _interleaving.refuse_rewound(conflict, event, session.events, changes.new)
        _interleaving.refuse_interleaved(self._interleaving, conflict, event, session.events, changes.new)
        if rewinds_to(event) and changes.new:
            changed = f"Session {session.id} was changed while the rewind was made."
            raise AdkStaleSessionError(changed) from conflict.error
        if not _is_still_true(event, changes.new):
            logger.info("%s drops a compaction: what it summarises has changed meanwhile", self._name)
            self._apply(changes)
            return conflict.settle(event)
        self._refuse_clashes(conflict, known, event, changes.state.clashes)
        asked = self._asked(conflict, session, known, reading, changes)
        self._apply(changes)
        return await self._ask(asked)

    def find(self, /, **arguments: Any) -> Settled | None:
        """`find_stored`: the event is known by its ID in what was just read."""
        session, event = arguments.get(self._session), event_of(arguments)
        if not isinstance(session, Session) or event is None:
            return None
        known = known_of(session)
        if known.news is None or all(other.id != event.id for other in known.news.stored.events):
            return None
        changes = Changes(session, known, known.news, event)
        known.news = None
        return Settled(self._settle(session, known, changes, event, changes.own))

    def _settle(self, session: Session, known: Known, changes: Changes, event: Event, own: Event | None) -> Event:
        owed = changes.state.clashes if self._state_conflicts == "raise" else []
        version = version_fields_of(session)
        self._apply(changes)
        if owed:  # by the next event: this one is stored, so the session stays stale
            known.state.update({clash.key: text_of(clash.base) for clash in owed})
            restore_version(session, version)
        # After an append that is acknowledged, the caller's own event is the one in the caller's session.
        if own is not None:
            event.timestamp = own.timestamp
        for index, other in enumerate(session.events):
            if other.id == event.id:
                session.events[index] = event
        return event

    def _apply(self, changes: Changes) -> None:
        changes.state.resolve(self._state_conflicts)
        self._count(changes.state.clashes)
        changes.apply()

    def _refuse_clashes(self, conflict: Conflict[Any], known: Known, event: Event, clashes: Iterable[Clash]) -> None:
        keys = [clash.key for clash in clashes]
        if keys and self._state_conflicts == "raise":
            if event.invocation_id:
                known.refused.add(event.invocation_id)
            raise StateConflictError(
                f"others stored {', '.join(keys)} since the session was loaded, and state_conflicts='raise' gives up "
                f"then. Neither this event nor a later one of its invocation is stored: start the turn again on a "
                f"newly loaded session.",
                attempts=conflict.attempt,
                elapsed=conflict.elapsed,
                last_error=conflict.error,
            )

    def _count(self, clashes: Sequence[Clash]) -> None:
        if clashes and self._state_conflicts == "last_wins":
            self.lost_updates += len(clashes)
            log_overwritten(self._name, clashes)

    def _asked(
        self, conflict: Conflict[Any], session: Session, known: Known, reading: Reading, changes: Changes
    ) -> SessionConflict | None:
        if not self.hooks:
            return None
        before = session.model_copy(update={"events": list(session.events), "state": dict(session.state)})
        return SessionConflict(
            conflict.error,
            before,
            session,
            conflict.attempt,
            conflict.elapsed,
            conflict.arguments,
            conflict.in_doubt,
            changes.new,
            {key: value_of(text) for key, text in known.state.items()},
            copy.deepcopy(reading.stored.state),
        )

    async def _ask(self, asked: SessionConflict | None) -> Settled | None:
        for hook in self.hooks if asked is not None else ():
            answer = hook(asked)
            if inspect.isawaitable(answer):
                answer = await answer
            if answer is not None:
                return answer  # type: ignore[no-any-return]
        return None


def _is_still_true(event: Event, new: Iterable[Event]) -> bool:
    """Whether the event is no compaction, or one that still says what happened until its end."""
    summary = event.actions.compaction if event.actions else None
    if summary is None:
        return True
    end = math.inf if summary.end_timestamp is None else summary.end_timestamp
    return not any(other.timestamp <= end or rewinds_to(other) or other.actions.compaction for other in new)


def event_of(arguments: Mapping[str, Any], positional: Iterable[Any] = ()) -> Event | None:
    """The event of the coming attempt: google-adk calls the parameter `event`, others may not."""
    event = arguments.get("event")
    if isinstance(event, Event):
        return event
    return next((each for each in (*positional, *arguments.values()) if isinstance(each, Event)), None)


def found_by(find: Callable[..., Any], also: Callable[..., Any]) -> Callable[..., Any]:
    """A `find_stored` that asks both, and needs the parameters that the second one names."""
    names = inspect.signature(also).parameters
    takes_all = any(parameter.kind is parameter.VAR_KEYWORD for parameter in names.values())

    def find_stored(**arguments: Any) -> Any:
        found = find(**arguments)
        if found is not None:
            return found
        return also(**{name: value for name, value in arguments.items() if takes_all or name in names})

    needed = [p.replace(kind=p.KEYWORD_ONLY) for p in names.values() if p.kind is not p.VAR_KEYWORD]
    every = inspect.Parameter("arguments", inspect.Parameter.VAR_KEYWORD)
    find_stored.__signature__ = inspect.Signature([*needed, every])  # type: ignore[attr-defined]
    return find_stored
