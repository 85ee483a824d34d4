"""The core's policy with google-adk's answers: how to reload, what to settle, what not to retry, whose turn it is."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar, overload

from google.adk.events import Event
from google.adk.sessions import Session
from tenacity import RetryCallState
from tenacity.retry import retry_base

from .. import StaleSessionRetrying, retry_if_conflict
from . import interleaving as _interleaving
from . import state_conflicts as _state_conflicts
from ._attempt import whole
from ._memory import memory_of
from ._reading import RefreshMode, reader
from ._reconcile import Reconcile, first_of
from ._releases import rewinds_to
from .interleaving import Interleaving
from .state_conflicts import StateConflicts

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from ..typing import OptionsButRefresh

P = ParamSpec("P")
R = TypeVar("R")
F = TypeVar("F", bound=Callable[..., Coroutine[Any, Any, Any]])
C = TypeVar("C", bound="classmethod[Any, Any, Any]")


class SessionServiceRetrying(StaleSessionRetrying):
    """The policy for the appends of google-adk's session services; see `stale_retry.adk.retry_on_stale_session`.

    Attributes:
        lost_updates: how many values of state, stored by others meanwhile, have been overwritten by way of
            `state_conflicts="last_wins"`.
    """

    _given: dict[str, Any]
    _reconcile: Reconcile

    def __init__(
        self,
        *,
        refresh: RefreshMode = "incremental",
        interleaving: Interleaving = "allow",
        state_conflicts: StateConflicts = "last_wins",
        **options: Any,
    ) -> None:
        given = {"refresh": refresh, "interleaving": interleaving, "state_conflicts": state_conflicts, **options}
        defaults: OptionsButRefresh = {"reraise": True, "key": _key, "name": "append_event"}
        options = {**defaults, **options}
        read = reader(refresh, self._is_waited_for)
        on, hooks = options.get("on", retry_if_conflict()), options.get("on_conflict")
        callers = StaleSessionRetrying(read, on=on, on_conflict=hooks)
        reconcile = Reconcile(
            str(options["name"]),
            str(options.get("session", "session")),
            _interleaving.checked(interleaving),
            _state_conflicts.checked(state_conflicts),
            callers.on_conflict,
        )
        super().__init__(read, **{**options, "on": _is_no_rewind() & callers.on, "on_conflict": reconcile})
        vars(self).update(_given=given, _reconcile=reconcile)

    @property
    def lost_updates(self) -> int:
        return self._reconcile.lost_updates

    @overload
    def __call__(self, append: C, /) -> C: ...

    @overload
    def __call__(self, append: F, /) -> F: ...

    def __call__(self, append: Any, /) -> Any:
        return super().__call__(whole(append))

    async def call(self, append: Callable[P, Coroutine[Any, Any, R]], /, *args: P.args, **kwargs: P.kwargs) -> R:
        return await super().call(whole(append), *args, **kwargs)

    def replace(self, **changes: Any) -> SessionServiceRetrying:
        return self._replaced(changes)  # type: ignore[no-any-return]

    def _options(self) -> dict[str, Any]:
        return self._given

    def _is_waited_for(self, session: Session) -> bool:
        return self.queues is not None and self.queues.is_waited_for(self.key(session))

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (self._given,)


def retry_on_stale_session(
    *,
    refresh: RefreshMode = "incremental",
    interleaving: Interleaving = "allow",
    state_conflicts: StateConflicts = "last_wins",
    **options: Unpack[OptionsButRefresh],
) -> SessionServiceRetrying:
    """The policy of `RetryingSessionService`, to decorate a session service's own `append_event` with::

        class MyService(DatabaseSessionService):
            @retry_on_stale_session(deadline=30)
            async def append_event(self, session, event):
                ...

    Args:
        refresh: "incremental" reads back what changed, "full" everything; see `refresh_session`.
        interleaving: whether to go on when others stored events in between. "allow" always does; "same_turn" gives up
            with `InterleavedTurnError` when an event with content came in from another invocation; "state_only" when
            any event with content did. The message that opens a turn always goes on, and so does an event that itself
            has neither content nor an error code, such as a background write of state. A turn that was rewound while
            it ran never does.
        state_conflicts: what to do about a key of state that others stored while the caller was writing it.
            "last_wins" stores the caller's value, logs a warning and counts it in `lost_updates`; "raise" gives up
            with `StateConflictError`; a function `(key, base, theirs, mine)` returns the value to store.
        options: those of `stale_retry.retry_on_stale_session`. Here `reraise` is True, so that a call gives up with
            google-adk's own error, and with `key` callers of one session queue. Conflict hooks are handed a
            `SessionConflict` and asked after the session was updated in place.

    Raises:
        TypeError, ValueError: an option is wrong; the message names it and its rule.
    """
    return SessionServiceRetrying(
        refresh=refresh, interleaving=interleaving, state_conflicts=state_conflicts, **options
    )


def _key(session: Session) -> tuple[str, str, str]:
    # What is guessed of one that was loaded elsewhere holds for now, not for when its slot is granted.
    memory_of(session)
    return session.app_name, session.user_id, session.id


def _rebuild(given: dict[str, Any]) -> SessionServiceRetrying:
    return SessionServiceRetrying(**given)


class _is_no_rewind(retry_base):
    """What a rewind takes back, state included, was computed from the history as it was: it is to be asked for anew."""

    def __call__(self, retry_state: RetryCallState) -> bool:
        event = first_of(Event, (*retry_state.args, *retry_state.kwargs.values()))
        return event is None or rewinds_to(event) is None
