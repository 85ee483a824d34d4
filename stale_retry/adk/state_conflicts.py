"""Keys of state that the caller and others both wrote, and what becomes of them."""

from __future__ import annotations

import copy
import functools
import inspect
import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from google.adk.events import Event
from google.adk.sessions.state import State

from .. import StaleSessionError, StaleSessionRetryError
from ._known import SHARED, Known, Merged, state_delta_of
from ._reading import Reading
from ._releases import AdkStaleSessionError, now
from ._values import are_same, text_of, value_of

logger: logging.Logger = logging.getLogger("stale_retry")

StateConflicts = Literal["last_wins", "raise"] | Callable[[str, Any, Any, Any], Any]
"""What to do about a key that others stored while the caller was writing it. "last_wins" stores the caller's value and
logs a warning; "raise" gives up with `StateConflictError`; a function `(key, base, theirs, mine)` returns the value to
store, where `base` is what the caller's session had of the key and None stands for a key that is not there. The
function gets copies, which it may change, and is a plain one.

Services compare versions of one session, so this does not cover an `app:` or `user:` key that was written through
another session."""


class StateConflictError(StaleSessionRetryError, AdkStaleSessionError):
    """Raised when an append is given up because others stored a key of state that the caller had written too, and
    `state_conflicts="raise"`.

    The event is not stored, and neither is any later event of the same invocation through the same session. It is
    google-adk's own `StaleSessionError` too, where the installed release has one. The message names the keys.
    """


def checked(state_conflicts: Any) -> StateConflicts:
    is_async = any(map(inspect.iscoroutinefunction, (state_conflicts, type(state_conflicts).__call__)))
    if state_conflicts not in ("last_wins", "raise") and (not callable(state_conflicts) or is_async):
        raise ValueError(
            f"state_conflicts must be 'last_wins', 'raise' or a plain function of key, base, theirs and mine; "
            f"got {state_conflicts!r}"
        )
    return state_conflicts  # type: ignore[no-any-return]


@dataclass
class Clash:
    """One key that both wrote.

    Attributes:
        base, theirs, mine: its value as the caller knew it, as storage has it, and as the caller wrote it.
        is_appended: whether the caller's value comes with this event, and not with a later one.
        value: what becomes of it.
    """

    key: str
    base: Any
    theirs: Any
    mine: Any
    is_appended: bool
    value: Any = None


class StateChanges:
    """What storage has and the caller's state has not, key by key.

    A key that the caller did not write since the session was last brought up to date takes the stored value; a key
    that it did write, and that is not yet appended, stays.

    Attributes:
        clashes: the keys that others wrote as well.
    """

    def __init__(
        self,
        known: Known,
        reading: Reading,
        state: dict[str, Any],
        new: Iterable[Event],
        event: Event | None,
    ) -> None:
        self.clashes: list[Clash] = []
        self._merge: Callable[[str, Any, Any, Any], Any] = _last_wins
        self._known = known
        self._state = state
        self._stored = stored = reading.stored.state
        self._is_shared = reading.is_shared
        self._event = event
        self._delta = {} if event is None else state_delta_of(event)
        self._written_by_new = {key for other in new for key in state_delta_of(other)}
        self._takes: list[str] = []
        for key in {**stored, **state, **self._delta}:
            if not key.startswith(State.TEMP_PREFIX) and not known.has_stored_since(key, reading.began):
                self._compare(key)

    def _compare(self, key: str) -> None:
        held, theirs, base = self._text(self._state, key), self._text(self._stored, key), self._known.state.get(key)
        mine = self._text(self._delta, key) if key in self._delta else held
        if key not in self._delta and not self._is_pending(key, held, base):
            # What the caller took out stays out as long as nobody changes it.
            if key in self._state or key not in self._known.state or self._is_changed(key, theirs, base):
                self._take(key, held, theirs)
            return
        # Where both wrote the same, one of two increments may be lost all the same.
        if self._is_changed(key, theirs, base):
            wrote = self._delta if key in self._delta else self._state
            self.clashes.append(
                Clash(key, value_of(base), self._theirs(key), wrote[key], is_appended=key in self._delta)
            )
        if key in self._delta and are_same(held, base) and not are_same(held, mine):  # only the event has the write
            self._take(key, held, theirs)

    def _is_pending(self, key: str, held: str | None, base: str | None) -> bool:
        if key not in self._state:
            return False
        if not are_same(held, base) or key not in self._known.state:
            return True
        return self._known.is_guess and key not in self._written_by_new and not key.startswith(SHARED)

    def _is_changed(self, key: str, theirs: str | None, base: str | None) -> bool:
        if self._known.is_guess:
            return key in self._written_by_new or (base is None and theirs is not None)
        return not are_same(theirs, base)

    def _take(self, key: str, held: str | None, theirs: str | None) -> None:
        if not are_same(held, theirs) or (key in self._state) is not (key in self._stored):
            self._takes.append(key)

    def _theirs(self, key: str) -> Any:
        value = self._stored.get(key)
        return copy.deepcopy(value) if self._is_shared else value

    @staticmethod
    def _text(values: Mapping[str, Any], key: str) -> str | None:
        return text_of(values[key]) if key in values else None

    def resolve(self, state_conflicts: StateConflicts) -> None:
        """Decide what becomes of each clash; nothing is changed yet.

        Raises:
            TypeError: the function answered with an awaitable.
        """
        self._merge = functools.partial(_merged, state_conflicts) if callable(state_conflicts) else _last_wins
        for clash in self.clashes:
            clash.value = self._merge(clash.key, clash.base, clash.theirs, clash.mine)

    def apply(self) -> None:
        """Bring the caller's state, and the event, up to date."""
        early = self._known.early
        for key in self._takes:
            if key not in self._stored:
                self._state.pop(key, None)
                continue
            value = self._state[key] = self._theirs(key)
            if key in early:  # others went on from there, and so must the event that is yet to come
                self._becomes(key, early[key], value, own=value, stored=value, is_appended=False)
        for clash in self.clashes:
            if clash.is_appended and self._event is not None:
                self._event.actions.state_delta[clash.key] = clash.value
            if clash.value is not clash.mine:
                self._merge_pending(clash)

    def _merge_pending(self, clash: Clash) -> None:
        """What a clash became, for the writes of its key whose events are yet to come."""
        key, mine, value = clash.key, text_of(clash.mine), clash.value
        held, before = self._text(self._state, key), self._known.merged.get(key)
        own = clash.mine if clash.is_appended else clash.base
        if before is not None and self._continues(before, clash):
            own = before.own
        if held == mine:
            self._state[key] = value
        elif clash.is_appended and held is not None and not are_same(held, self._known.state.get(key)):
            # The session has a later write, which has not come in an event yet.
            mine, value = held, self._merge(key, clash.mine, clash.value, self._state[key])
            self._state[key] = value
        stored = clash.value if clash.is_appended else clash.theirs
        self._becomes(key, mine, value, own=own, stored=stored, is_appended=clash.is_appended)

    def _continues(self, before: Merged, clash: Clash) -> bool:
        if clash.is_appended:
            return self._event is not None and self._event.id in before.events
        return before.text == text_of(clash.mine)

    def _becomes(self, key: str, mine: str, value: Any, *, own: Any, stored: Any, is_appended: bool) -> None:
        """Note what becomes of a write whose event is yet to come."""
        before = self._known.merged.get(key)
        written = before.written if before is not None and before.text == mine else mine
        events = set() if self._event is None else {self._event.id}
        if before is not None and events <= before.events:
            events = before.events
        self._known.merged[key] = Merged(
            written, text_of(value), value, own, stored, now(), events, is_appended, self._merge
        )


def _last_wins(key: str, base: Any, theirs: Any, mine: Any) -> Any:
    return mine


def _merged(merge: Callable[[str, Any, Any, Any], Any], key: str, base: Any, theirs: Any, mine: Any) -> Any:
    """What a function makes of copies: `mine` itself if that is what it returns."""
    value = merge(key, *copy.deepcopy((base, theirs, mine)))
    if inspect.isawaitable(value):
        if inspect.iscoroutine(value):
            value.close()
        raise TypeError(
            f"state_conflicts must return the value to store, but for {key!r} it returned an awaitable "
            f"({type(value).__name__}); give a plain function"
        )
    return mine if text_of(value) == text_of(mine) else value


def refuse_refused(known: Known, event: Event) -> None:
    """Raises:
    StateConflictError: an earlier event of the same invocation was refused.
    """
    if event.invocation_id in known.refused:
        refused = f"an earlier event of invocation {event.invocation_id} was refused, so nothing else of it is stored"
        raise StateConflictError(
            f"{refused}: start the turn again on a newly loaded session.",
            attempts=0,
            elapsed=0.0,
            last_error=StaleSessionError(refused),
        )


def settle_merged(known: Known, state: Mapping[str, Any], event: Event) -> None:
    """Put into the event what its writes were merged to before it came, unless they were made again since."""
    delta = event.actions.state_delta
    for key in known.merged.keys() & delta.keys():
        merged = known.merged[key]
        if event.id in merged.events:
            continue
        mine, held = text_of(delta[key]), text_of(state[key]) if key in state else None
        is_earlier = event.timestamp <= merged.at
        if mine == merged.written and held == merged.text and (is_earlier or not merged.is_appended):
            becomes = merged.value
        elif is_earlier and mine != held:  # a write made now would be in the state too
            becomes = merged.merge(key, merged.own, merged.stored, delta[key])
        else:
            continue
        merged.own, merged.stored, delta[key] = delta[key], becomes, becomes
        merged.events.add(event.id)


def log_overwritten(name: str, clashes: Iterable[Clash]) -> None:
    keys = ", ".join(clash.key for clash in clashes)
    logger.warning("%s overwrites state that others stored meanwhile: %s (see state_conflicts)", name, keys)
