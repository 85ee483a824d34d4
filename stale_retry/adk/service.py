"""A session service around any other, that retries its appends and passes everything else on."""

from __future__ import annotations

import abc
import asyncio
import functools
import inspect
import weakref
from collections.abc import Callable
from contextvars import ContextVar
from types import TracebackType
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar, cast

from google.adk.events import Event
from google.adk.sessions import BaseSessionService, Session
from google.adk.sessions.base_session_service import GetSessionConfig, ListSessionsResponse

from ._attempt import append_once
from ._creating import created
from ._known import SHARED, known_of, remember_loaded
from ._policy import SessionServiceRetrying
from ._reading import RefreshMode
from ._releases import AlreadyExistsError
from ._services import locks_no_rows, never_rejects
from ._shared_state import in_order
from ._whole_calls import whole_call
from .interleaving import Interleaving
from .state_conflicts import StateConflicts

if TYPE_CHECKING:
    from typing_extensions import Self, Unpack

    from ..typing import OptionsButRefresh

F = TypeVar("F", bound=Callable[..., Any])

_missed: ContextVar[tuple[Any, ...] | None] = ContextVar("stale_retry.adk.missed", default=None)
"""By whom, where and in which task a session was looked for last, if it was not found."""


class GotOrCreated(NamedTuple):
    """What `RetryingSessionService.get_or_create_session` returns.

    Attributes:
        session: the session.
        created: whether this call created it, with the state that was given.
    """

    session: Session
    created: bool


class _AsOfTheService:
    """A method that shows the signature which the wrapped service's own has, and takes what that takes."""

    def __init__(self, method: Callable[..., Any]) -> None:
        functools.update_wrapper(cast(Any, self), method)
        self._method = method

    def __get__(self, instance: RetryingSessionService | None, owner: type[Any]) -> Any:
        if instance is None:
            return self._method
        bound = self._method.__get__(instance)

        @functools.wraps(getattr(instance.service, self._method.__name__))
        async def method(*args: Any, **kwargs: Any) -> Any:
            return await bound(*args, **kwargs)

        return method


class _PassedOn:
    """A method that is the wrapped service's."""

    def __init__(self, declared: Callable[..., Any]) -> None:
        @functools.wraps(declared)
        async def method(self: RetryingSessionService, *args: Any, **kwargs: Any) -> Any:
            return await getattr(self.service, declared.__name__)(*args, **kwargs)

        method.__dict__.pop("__isabstractmethod__", None)
        self._name = declared.__name__
        self._unbound = method

    def __get__(self, instance: RetryingSessionService | None, owner: type[Any]) -> Any:
        return self._unbound if instance is None else getattr(instance.service, self._name)


def _as_of_the_service(method: F) -> F:
    return _AsOfTheService(method)  # type: ignore[return-value]


def _passed_on(declared: F) -> F:
    return _PassedOn(declared)  # type: ignore[return-value]


class RetryingSessionService(BaseSessionService):
    """Wrap a session service: every append that is rejected as stale is retried on the session as it is now.

    Hand it to a `Runner`, to the web server or to a middleware in place of the service. The session that the caller
    holds is updated in place, so contexts that share it see the fresh history and its next append does not conflict
    again. An append that succeeds at once costs nothing more, and appends to a service that never rejects one as stale
    (google-adk's in-known, Redis and Vertex ones) do not wait for each other.

    Args:
        service: the service to wrap.
        refresh, interleaving, state_conflicts, options: see `stale_retry.adk.retry_on_stale_session`.

    Attributes:
        service: the wrapped service. Every method and attribute that this class does not have is the wrapped service's.
        retrying: the policy.

    Raises:
        TypeError, ValueError: `service` is not a session service or is wrapped already, or an option is wrong.
    """

    def __init__(
        self,
        service: BaseSessionService,
        *,
        refresh: RefreshMode = "incremental",
        interleaving: Interleaving = "allow",
        state_conflicts: StateConflicts = "last_wins",
        **options: Unpack[OptionsButRefresh],
    ) -> None:
        if isinstance(service, RetryingSessionService):
            raise TypeError("service is a RetryingSessionService already; wrap its .service to change the options")
        if not isinstance(service, BaseSessionService):
            raise TypeError(f"service must be a google-adk session service, got {service!r}")
        options.setdefault("name", f"{type(service).__name__}.append_event")
        if never_rejects(service):
            options.setdefault("key", None)
        self.service = service
        self.retrying: SessionServiceRetrying = SessionServiceRetrying(
            refresh=refresh, interleaving=interleaving, state_conflicts=state_conflicts, **options
        )
        send = _send_whole if locks_no_rows(service) else _send
        stored = None if self.retrying.key is None else self.retrying.stored
        self._append = self.retrying.around(functools.partial(append_once, send, stored))

    @property
    def lost_updates(self) -> int:
        """How many values of state, which others had stored meanwhile, have been overwritten so far; see
        `state_conflicts`.
        """
        return self.retrying.lost_updates

    async def append_event(self, session: Session, event: Event) -> Event:
        """Append the event, retrying as long as the session is stale.

        The event is dated after all that the session knows, unless it is much older than the session's loading, as
        what is imported is.

        Raises:
            ValueError: the append was given up. It is the wrapped service's own error, google-adk's
                `StaleSessionError` where the release has it, with attempts and seconds in its notes;
                `SessionNotFoundError` when the session is gone or was recreated; `InterleavedTurnError` as
                `interleaving` asks, or when the turn was rewound; `StateConflictError` as `state_conflicts` asks.
        """
        known_of(session)  # what can be guessed of it at first sight holds now, not when it has waited
        return await self._append(self.service, session, event)  # type: ignore[no-any-return]

    @_as_of_the_service
    async def create_session(
        self,
        *,
        app_name: str,
        user_id: str,
        state: dict[str, Any] | None = None,
        session_id: str | None = None,
        **options: Any,
    ) -> Session:
        """Create a session; options beyond google-adk's, such as Agent Engine's `ttl`, are the wrapped service's.

        If the same task has just looked for the session, found nothing, and gives no state, this is a get-or-create:
        when somebody else created the session in between, that session is returned.

        Raises:
            AlreadyExistsError: google-adk's: there is a session with this ID.
        """
        missed = _missed.get()
        if missed is not None:
            _missed.set(None)
        session, exists = await self._create(app_name, user_id, session_id, state, options)
        is_get_or_create = missed == self._look_up(app_name, user_id, session_id) and not state
        if exists is not None and not is_get_or_create:
            raise exists
        return session

    async def get_or_create_session(
        self, *, app_name: str, user_id: str, session_id: str, state: dict[str, Any] | None = None
    ) -> GotOrCreated:
        """Load a session, or create it with that state.

        Of any number of callers at once, in any number of processes, one creates the session, and all get it:
        `session, created = await service.get_or_create_session(...)`. `created` tells whose state it has.
        """
        session = await self.get_session(app_name=app_name, user_id=user_id, session_id=session_id)
        if session is not None:
            return GotOrCreated(session, False)
        session, exists = await self._create(app_name, user_id, session_id, state, {})
        return GotOrCreated(session, exists is None)

    def _look_up(self, *which: str | None) -> tuple[Any, ...]:
        task = cast("asyncio.Task[Any]", asyncio.current_task())
        return id(self), weakref.ref(task), *which

    async def _create(
        self, app_name: str, user_id: str, session_id: str | None, state: dict[str, Any] | None, options: dict[str, Any]
    ) -> tuple[Session, AlreadyExistsError | None]:
        def create() -> Any:
            creating = self.service.create_session(
                app_name=app_name, user_id=user_id, state=state, session_id=session_id, **options
            )
            return whole_call(self.service, creating)

        session, exists = await created(self.service, create, app_name, user_id, session_id, state)
        remember_loaded(session, None)
        shared = [key for key in state or () if key.startswith(SHARED)]
        if shared and exists is None:
            self.retrying.stored.take_shared(session, shared)
        return session, exists

    @_as_of_the_service
    async def get_session(
        self,
        *,
        app_name: str,
        user_id: str,
        session_id: str,
        config: GetSessionConfig | None = None,
        **options: Any,
    ) -> Session | None:
        """Load a session."""
        loading = self.service.get_session(
            app_name=app_name, user_id=user_id, session_id=session_id, config=config, **options
        )
        session = await whole_call(self.service, loading)
        if session is not None:
            remember_loaded(session, config)
            _missed.set(None)
        else:
            _missed.set(self._look_up(app_name, user_id, session_id))
        return session

    # As every other method of google-adk's base class, see below; these are abstract there.
    if TYPE_CHECKING:

        async def list_sessions(self, *, app_name: str, user_id: str | None = None) -> ListSessionsResponse: ...

        async def delete_session(self, *, app_name: str, user_id: str, session_id: str) -> None: ...
    else:
        list_sessions = _passed_on(BaseSessionService.list_sessions)
        delete_session = _passed_on(BaseSessionService.delete_session)

    async def close(self) -> None:
        """Close the wrapped service, if it can be closed."""
        close = getattr(self.service, "close", None)
        if close is not None:
            closing = close()
            if inspect.isawaitable(closing):
                await closing

    async def __aenter__(self) -> Self:
        enter = getattr(type(self.service), "__aenter__", None)
        if enter is not None:
            await enter(self.service)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        leave = getattr(type(self.service), "__aexit__", None)
        if leave is not None:
            await leave(self.service, kind, error, traceback)
        else:
            await self.close()

    def __getattr__(self, attribute: str) -> Any:
        if attribute == "service":  # not yet set, as in a copy that is being made
            raise AttributeError(attribute)
        return getattr(self.service, attribute)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.service!r})"


def _send(service: BaseSessionService, session: Session, event: Event) -> Any:
    return service.append_event(session=session, event=event)


async def _send_whole(service: BaseSessionService, session: Session, event: Event) -> Event:
    def append() -> Any:
        return whole_call(service, service.append_event(session=session, event=event))

    return await in_order(service, session.app_name, session.user_id, event.actions.state_delta, append)


# Whatever google-adk's base class has, in this release or a later one, is the wrapped service's.
for _name in dir(BaseSessionService):
    if not _name.startswith("_") and _name not in vars(RetryingSessionService):
        setattr(RetryingSessionService, _name, _passed_on(getattr(BaseSessionService, _name)))
abc.update_abstractmethods(RetryingSessionService)
