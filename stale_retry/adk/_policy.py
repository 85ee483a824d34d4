"""The core's policy with google-adk's answers: how to reload, what to settle, what not to retry, whose turn it is."""

from __future__ import annotations

import functools
import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from google.adk.events import Event
from google.adk.sessions import Session
from tenacity import RetryCallState
from tenacity.retry import retry_base

from .. import _checks, _strategies
from .._retrying import StaleSessionRetrying
from .._types import ConflictHook
from ..conflict import Conflict, Settled
from ..detection import is_stale_session_error
from ..gates.local import local_gate
from . import interleaving as _interleaving
from ._changes import Changes
from ._traffic import session_key
from ._window import TICK, newest
from .interleaving import Interleaving
from .refresh import RefreshMode, reader

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from .._types import OptionsButRefresh


def retry_on_stale_session(
    *, refresh: RefreshMode = "incremental", interleaving: Interleaving = "allow", **options: Unpack[OptionsButRefresh]
) -> StaleSessionRetrying:
    """The policy of `RetryingSessionService`, to decorate a session service's own `append_event` with::

        class MyService(DatabaseSessionService):
            @retry_on_stale_session(deadline=30)
            async def append_event(self, session, event):
                ...

    Args:
        refresh: "incremental" reads back what changed, "full" everything; see `refresh_session`.
        interleaving: whether to go on when others stored events in between. "allow" always does; "same_turn" gives up
            with `InterleavedTurnError` when an event with content came in from another invocation; "state_only" when
            any event with content did. An event that itself has neither content nor an error code, such as a
            background write of state, always goes on.
        options: those of `stale_retry.retry_on_stale_session`. Here `reraise` is True, so that a call gives up with
            google-adk's own error, and `gate` lets the contenders of one session take turns. Conflict hooks are asked
            after the session was updated in place and before the event is dated.

    Raises:
        TypeError, ValueError: an option is wrong; the message names it and its rule.
    """
    session = options.get("session", "session")
    hooks = _checks.as_functions("on_conflict", options.pop("on_conflict", None), (), "a function of the conflict")
    on = _strategies.retry_strategy("on", options.pop("on", is_stale_session_error))
    defaults: OptionsButRefresh = {"reraise": True, "gate": local_gate(session_key), "name": "append_event"}
    return StaleSessionRetrying(
        reader(refresh),
        **{
            **defaults,
            **options,
            "on": _is_not_a_compaction() & on,
            "on_conflict": (
                _Reconcile(_interleaving.mode(interleaving), session),
                *(_with_updated_session(hook) for hook in hooks),
                date_after_what_is_stored,
            ),
        },
    )


class _is_not_a_compaction(retry_base):
    """A compaction's summary was made from the old history, and google-adk handles its rejection itself."""

    def __call__(self, retry_state: RetryCallState) -> bool:
        event = _event_among((*retry_state.args, *retry_state.kwargs.values()))
        return not (event.actions and event.actions.compaction)


class _Reconcile:
    """The first conflict hook: settle what is stored, refuse what must not come in between, update the session."""

    def __init__(self, interleaving: Interleaving, session: str) -> None:
        self._interleaving = interleaving
        self._session = session

    def __call__(self, conflict: Conflict[Session]) -> Settled | None:
        session, event = conflict.stale, event_of(conflict)
        changes = Changes(session, conflict.fresh)
        is_stored = changes.holds(event)
        if not is_stored:
            _interleaving.refuse_interleaved(self._interleaving, conflict, event, changes.new)
        changes.apply()
        conflict.arguments[self._session] = session
        return _settle(conflict, event) if is_stored else None


def _settle(conflict: Conflict[Session], event: Event) -> Settled:
    # After an append that is acknowledged, the caller's own event is the one in the caller's session.
    events = conflict.stale.events
    for index, other in enumerate(events):
        if other.id == event.id:
            events[index] = event
    return conflict.settle(event)


def _with_updated_session(hook: ConflictHook) -> ConflictHook:
    @functools.wraps(hook, updated=())
    def asked(conflict: Conflict[Session]) -> Any:
        return hook(replace(conflict, fresh=conflict.stale))

    return asked


def date_after_what_is_stored(conflict: Conflict[Session]) -> None:
    """Date the event after the session's last update, unless it is already.

    Some services tell a stale session by comparing timestamps, and most return events in the order of theirs.
    """
    session, event = conflict.stale, event_of(conflict)
    last = newest(session)
    if event.timestamp < last + TICK:
        event.timestamp = (math.floor(last * 1e6) + 2) / 1e6


def event_of(conflict: Conflict[Any]) -> Event:
    """The event of the coming attempt."""
    return _event_among(conflict.arguments.values())


def _event_among(arguments: Any) -> Event:
    for argument in arguments:
        if isinstance(argument, Event):
            return argument
    raise TypeError("an append_event that is retried must take the event as an argument")
