"""The core's policy with google-adk's answers: how to reload, what to settle, what not to retry, whose turn it is."""

from __future__ import annotations

import functools
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar, cast, overload

from google.adk.sessions import Session
from tenacity import RetryCallState
from tenacity.retry import retry_base

from .. import StaleSessionRetrying
from . import _reading
from . import interleaving as _interleaving
from . import state_conflicts as _state_conflicts
from ._attempt import careful
from ._known import note_sessions
from ._reading import Refresh, RefreshMode
from ._reconcile import Reconcile, event_of, found_by
from ._releases import rewinds_to
from ._stored import Queue, StoredSessions
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
    stored: StoredSessions

    def __init__(
        self,
        *,
        refresh: RefreshMode = "incremental",
        interleaving: Interleaving = "allow",
        state_conflicts: StateConflicts = "last_wins",
        **options: Any,
    ) -> None:
        given = {"refresh": refresh, "interleaving": interleaving, "state_conflicts": state_conflicts, **options}
        defaults: OptionsButRefresh = {"reraise": True, "key": key_of, "name": "append_event"}
        options = {**defaults, **options}
        stored = StoredSessions(self._queue_of)
        read = Refresh(_reading.checked(refresh), stored)
        reconcile = Reconcile(
            str(options["name"]),
            str(options.get("session", "session")),
            _interleaving.checked(interleaving),
            _state_conflicts.checked(state_conflicts),
        )
        find = options.get("find_stored")
        super().__init__(read, **{**options, "find_stored": reconcile.find if find is None else find})
        reconcile.hooks = self.on_conflict  # in their normal form
        ours = {
            "on": _is_no_rewind() & self.on,
            "on_conflict": reconcile,
            "find_stored": reconcile.find if find is None else found_by(reconcile.find, find),
        }
        super().__init__(read, **{**options, **ours})
        vars(self).update(_given=given, _reconcile=reconcile, stored=stored)

    @property
    def lost_updates(self) -> int:
        return self._reconcile.lost_updates

    @overload
    def __call__(self, append: C, /) -> C: ...

    @overload
    def __call__(self, append: F, /) -> F: ...

    def __call__(self, append: Any, /) -> Any:
        decorated = super().__call__(careful(append, self.session, self.stored))
        return decorated if isinstance(decorated, (staticmethod, classmethod)) else _noting(decorated)

    def around(self, append: F, /) -> F:
        """Decorate an append that looks after the session itself."""
        return super().__call__(append)

    async def call(self, append: Callable[P, Coroutine[Any, Any, R]], /, *args: P.args, **kwargs: P.kwargs) -> R:
        note_sessions(args, kwargs)
        return await super().call(careful(append, self.session, self.stored), *args, **kwargs)

    def replace(self, **changes: Any) -> SessionServiceRetrying:
        return self._replaced(changes)  # type: ignore[no-any-return]

    def _options(self) -> dict[str, Any]:
        return self._given

    def _queue_of(self, session: Session) -> Queue | None:
        queues = self.queues
        return None if queues is None else queues.of(self.key(session))

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
            google-adk's own error, and `key` lets callers with the same app, user and session ID queue; None for no
            queue. Conflict hooks are handed a `SessionConflict` and asked after the session was updated in place. An
            event that is stored already is found by its ID; `find_stored` is asked as well.

    Raises:
        TypeError, ValueError: an option is wrong; the message names it and its rule.
    """
    return SessionServiceRetrying(
        refresh=refresh, interleaving=interleaving, state_conflicts=state_conflicts, **options
    )


def key_of(session: Session) -> tuple[str, str, str]:
    """What tells sessions apart: app, user and ID."""
    return session.app_name, session.user_id, session.id


def _noting(append: F) -> F:
    @functools.wraps(append)
    async def noting(*args: Any, **kwargs: Any) -> Any:
        note_sessions(args, kwargs)
        return await append(*args, **kwargs)

    return cast("F", noting)


def _rebuild(given: dict[str, Any]) -> SessionServiceRetrying:
    return SessionServiceRetrying(**given)


class _is_no_rewind(retry_base):
    """What a rewind takes back, state included, was computed from the history as it was, so it is never retried."""

    def __call__(self, retry_state: RetryCallState) -> bool:
        event = event_of(retry_state.kwargs, retry_state.args)
        return event is None or rewinds_to(event) is None
