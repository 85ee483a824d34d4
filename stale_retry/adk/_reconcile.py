"""The conflict hook: settle what is stored, refuse what must not go on, bring the session up to date."""

from __future__ import annotations

import copy
import inspect
import logging
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from google.adk.events import Event
from google.adk.sessions import Session

from .. import Conflict
from ..typing import Settled
from . import interleaving as _interleaving
from ._changes import Changes
from ._memory import memory_of
from ._releases import AdkStaleSessionError, restore_version, rewinds_to, version_fields_of
from ._values import text_of, value_of
from .interleaving import Interleaving
from .state_conflicts import Clash, StateConflictError, StateConflicts, log_overwritten

logger = logging.getLogger("stale_retry")

T = TypeVar("T")


@dataclass(frozen=True)
class SessionConflict(Conflict[Session]):
    """What a conflict hook of google-adk's policy is handed.

    Attributes:
        stale: a copy of the caller's session as it was, with what he wrote to it.
        fresh: the caller's session, brought up to date in place.
        new_events: what others stored since the session was loaded or last brought up to date.
        base: the state that storage had then.
        theirs: the state that storage has now.
    """

    new_events: Sequence[Event] = field(repr=False, default=())
    base: Mapping[str, Any] = field(repr=False, default_factory=dict)
    theirs: Mapping[str, Any] = field(repr=False, default_factory=dict)


class Reconcile:
    """The policy's one conflict hook; the caller's own are asked by it.

    Attributes:
        lost_updates: how many values of state that others had stored were overwritten by way of "last_wins".
    """

    def __init__(
        self,
        name: str,
        session: str,
        interleaving: Interleaving,
        state_conflicts: StateConflicts,
        hooks: Iterable[Any],
    ) -> None:
        self.lost_updates = 0
        self._name = name
        self._session = session
        self._interleaving = interleaving
        self._state_conflicts = state_conflicts
        self._hooks = tuple(hooks)

    async def __call__(self, conflict: Conflict[Any]) -> Settled | None:
        session, event = conflict.stale, event_of(conflict)
        changes = Changes(session, conflict.fresh, event)
        if changes.own is not None:
            return self._settle(conflict, changes, event, changes.own)
        _interleaving.refuse_rewound(conflict, event, session.events, changes.new)
        _interleaving.refuse_interleaved(self._interleaving, conflict, event, session.events, changes.new)
        if rewinds_to(event) and changes.new:
            changed = f"Session {session.id} was changed while the rewind was made."
            raise AdkStaleSessionError(changed) from conflict.error
        if not _is_still_true(event, changes.new):
            logger.info("%s drops a compaction: what it summarises has changed meanwhile", self._name)
            self._apply(changes)
            return conflict.settle(event)
        self._refuse_clashes(conflict, changes.state.clashes)
        asked = self._asked(conflict, session, changes)
        self._apply(changes)
        conflict.arguments[self._session] = session
        return await self._ask(asked, conflict)

    def _settle(self, conflict: Conflict[Any], changes: Changes, event: Event, own: Event) -> Settled:
        session, owed = conflict.stale, changes.state.clashes if self._state_conflicts == "raise" else []
        version = version_fields_of(session)
        self._apply(changes)
        if owed:  # by the next event: this one is stored, so the session stays stale
            memory_of(session).state.update({clash.key: text_of(clash.base) for clash in owed})
            restore_version(session, version)
        # After an append that is acknowledged, the caller's own event is the one in the caller's session.
        event.timestamp = own.timestamp
        for index, other in enumerate(session.events):
            if other.id == event.id:
                session.events[index] = event
        return conflict.settle(event)

    def _apply(self, changes: Changes) -> None:
        changes.state.resolve(self._state_conflicts)
        self._count(changes.state.clashes)
        changes.apply()

    def _refuse_clashes(self, conflict: Conflict[Any], clashes: Iterable[Clash]) -> None:
        keys = [clash.key for clash in clashes]
        if keys and self._state_conflicts == "raise":
            raise StateConflictError(
                f"others stored {', '.join(keys)} since the session was loaded, and state_conflicts='raise' gives up "
                f"then. The event was not stored: start the turn again on a newly loaded session.",
                attempts=conflict.attempt,
                elapsed=conflict.elapsed,
                last_error=conflict.error,
            )

    def _count(self, clashes: Sequence[Clash]) -> None:
        if clashes and self._state_conflicts == "last_wins":
            self.lost_updates += len(clashes)
            log_overwritten(self._name, clashes)

    def _asked(self, conflict: Conflict[Any], session: Session, changes: Changes) -> SessionConflict | None:
        if not self._hooks:
            return None
        before = session.model_copy(update={"events": list(session.events), "state": dict(session.state)})
        return SessionConflict(
            conflict.error,
            before,
            session,
            conflict.attempt,
            conflict.elapsed,
            conflict.arguments,
            changes.new,
            {key: value_of(text) for key, text in memory_of(session).state.items()},
            copy.deepcopy(conflict.fresh.stored.state),
        )

    async def _ask(self, asked: SessionConflict | None, conflict: Conflict[Any]) -> Settled | None:
        for hook in self._hooks if asked is not None else ():
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


def event_of(conflict: Conflict[Any]) -> Event:
    """The event of the coming attempt."""
    event = first_of(Event, conflict.arguments.values())
    if event is None:
        raise TypeError("an append_event that is retried must take the event as an argument")
    return event


def first_of(kind: type[T], arguments: Iterable[Any]) -> T | None:
    return next((argument for argument in arguments if isinstance(argument, kind)), None)
