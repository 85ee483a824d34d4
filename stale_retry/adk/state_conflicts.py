"""Keys of state that the caller and others both wrote, and what becomes of them."""

from __future__ import annotations

import copy
import inspect
import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from google.adk.events import Event
from google.adk.sessions.state import State

from .. import StaleSessionRetryError
from ._memory import SHARED, Memory, state_delta_of
from ._reading import Reading
from ._releases import AdkStaleSessionError
from ._values import are_same, text_of, value_of

logger: logging.Logger = logging.getLogger("stale_retry")

StateConflicts = Literal["last_wins", "raise"] | Callable[[str, Any, Any, Any], Any]
"""What to do about a key that others stored while the caller was writing it. "last_wins" stores the caller's value and
logs a warning; "raise" gives up with `StateConflictError`; a function `(key, base, theirs, mine)` returns the value to
store, where `base` is what the caller's session had of the key and None stands for a key that is not there."""


class StateConflictError(StaleSessionRetryError, AdkStaleSessionError):
    """Raised when an append is given up because others stored a key of state that the caller had written too, and
    `state_conflicts="raise"`.

    The event is not stored and the session is left stale, so nothing else of the same turn is stored through it. It
    is google-adk's own `StaleSessionError` too, where the installed release has one. The message names the keys.
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

    A key that the caller did not write since the session was last brought up to date takes the stored value; one that
    he did write, and that is not yet appended, stays.

    Attributes:
        clashes: the keys that others wrote as well.
    """

    def __init__(
        self,
        memory: Memory,
        reading: Reading,
        state: dict[str, Any],
        new: Iterable[Event],
        event: Event | None,
    ) -> None:
        self.clashes: list[Clash] = []
        self._memory = memory
        self._state = state
        self._stored = stored = reading.stored.state
        self._is_shared = reading.is_shared
        self._event = event
        self._delta = {} if event is None else state_delta_of(event)
        self._written_by_new = {key for other in new for key in state_delta_of(other)}
        self._takes: list[str] = []
        for key in {**stored, **state, **self._delta}:
            if not key.startswith(State.TEMP_PREFIX) and not memory.has_stored_since(key, reading.began):
                self._compare(key)

    def _compare(self, key: str) -> None:
        held, theirs, base = self._text(self._state, key), self._text(self._stored, key), self._memory.state.get(key)
        mine = self._text(self._delta, key) if key in self._delta else held
        if key not in self._delta and not self._is_pending(key, held, base):
            # What the caller took out stays out as long as nobody changes it.
            if key in self._state or key not in self._memory.state or self._is_changed(key, theirs, base):
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
        if not are_same(held, base) or key not in self._memory.state:
            return True
        return self._memory.is_guess and key not in self._written_by_new and not key.startswith(SHARED)

    def _is_changed(self, key: str, theirs: str | None, base: str | None) -> bool:
        if self._memory.is_guess:
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
        """Decide what becomes of each clash; nothing is changed yet."""
        for clash in self.clashes:
            clash.value = clash.mine
            if callable(state_conflicts):
                clash.value = state_conflicts(clash.key, clash.base, clash.theirs, clash.mine)

    def apply(self) -> None:
        """Bring the caller's state, and his event, up to date."""
        early = self._memory.early
        for key in self._takes:
            if key not in self._stored:
                self._state.pop(key, None)
                continue
            value = self._state[key] = self._theirs(key)
            if key in early:  # others went on from there, and so must the event that is yet to come
                self._becomes(key, early[key], value)
        for clash in self.clashes:
            key, mine = clash.key, text_of(clash.mine)
            if clash.is_appended and self._event is not None:
                self._event.actions.state_delta[key] = clash.value
            elif clash.value is not clash.mine:
                self._becomes(key, mine, clash.value)
            if clash.value is not clash.mine and self._text(self._state, key) == mine:
                self._state[key] = clash.value

    def _becomes(self, key: str, mine: str, value: Any) -> None:
        """Note what becomes of a write whose event is yet to come."""
        written, merged, _ = self._memory.merged.get(key, (mine, mine, None))
        self._memory.merged[key] = written if merged == mine else mine, text_of(value), value


def settle_merged(memory: Memory, state: Mapping[str, Any], event: Event) -> None:
    """Put into the event what its writes were merged to before it came, unless they were made again since."""
    delta = event.actions.state_delta
    for key in memory.merged.keys() & delta.keys():
        mine, merged, value = memory.merged.pop(key)
        if text_of(delta[key]) == mine and key in state and text_of(state[key]) == merged:
            delta[key] = value


def log_overwritten(name: str, clashes: Iterable[Clash]) -> None:
    keys = ", ".join(clash.key for clash in clashes)
    logger.warning("%s overwrites state that others stored meanwhile: %s (see state_conflicts)", name, keys)
