"""A session service around any other, that retries its appends and passes everything else on."""

from __future__ import annotations

import inspect
from types import TracebackType
from typing import TYPE_CHECKING, Any

from google.adk.events import Event
from google.adk.sessions import BaseSessionService, Session
from google.adk.sessions.base_session_service import GetSessionConfig, ListSessionsResponse

from ._append import append_whole
from ._policy import retry_on_stale_session
from ._traffic import Traffic
from ._window import remember_loaded
from .interleaving import Interleaving
from .refresh import RefreshMode

if TYPE_CHECKING:
    from typing_extensions import Self, Unpack

    from .._types import OptionsButRefresh


class RetryingSessionService(BaseSessionService):
    """Wrap a session service: every append that is rejected as stale is retried on the session as it is now.

    Hand it to a `Runner`, to the web server or to a middleware in place of the service. The session that the caller
    holds is updated in place, so contexts that share it see the fresh history and its next append does not conflict
    again. An append that succeeds at once costs nothing more.

    Args:
        service: the service to wrap.
        refresh, interleaving, options: see `stale_retry.adk.retry_on_stale_session`.

    Attributes:
        service: the wrapped service. Every attribute that this class does not have is the wrapped service's.
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
        **options: Unpack[OptionsButRefresh],
    ) -> None:
        if isinstance(service, RetryingSessionService):
            raise TypeError("service is a RetryingSessionService already; wrap its .service to change the options")
        if not isinstance(service, BaseSessionService):
            raise TypeError(f"service must be a google-adk session service, got {service!r}")
        options.setdefault("name", f"{type(service).__name__}.append_event")
        self.service = service
        traffic = Traffic()
        policy = retry_on_stale_session(refresh=refresh, interleaving=interleaving, **options)
        self.retrying = policy.replace(refresh=traffic.when_quiet(policy.refresh))
        self._append = self.retrying(traffic.noting(append_whole))

    async def append_event(self, session: Session, event: Event) -> Event:
        """Append the event, retrying as long as the session is stale.

        A retried event that was created before the session's last update is dated just after it.

        Raises:
            ValueError: the append was given up. It is the wrapped service's own error, google-adk's
                `StaleSessionError` where the release has it, with attempts and seconds in its notes;
                `SessionNotFoundError` when the session is gone; `InterleavedTurnError` as `interleaving` asks.
        """
        return await self._append(self.service, session, event)

    async def create_session(
        self,
        *,
        app_name: str,
        user_id: str,
        state: dict[str, Any] | None = None,
        session_id: str | None = None,
    ) -> Session:
        session = await self.service.create_session(
            app_name=app_name, user_id=user_id, state=state, session_id=session_id
        )
        remember_loaded(session, None)
        return session

    async def get_session(
        self, *, app_name: str, user_id: str, session_id: str, config: GetSessionConfig | None = None
    ) -> Session | None:
        session = await self.service.get_session(
            app_name=app_name, user_id=user_id, session_id=session_id, config=config
        )
        if session is not None:
            remember_loaded(session, config)
        return session

    async def list_sessions(self, *, app_name: str, user_id: str | None = None) -> ListSessionsResponse:
        return await self.service.list_sessions(app_name=app_name, user_id=user_id)

    async def delete_session(self, *, app_name: str, user_id: str, session_id: str) -> None:
        await self.service.delete_session(app_name=app_name, user_id=user_id, session_id=session_id)

    # Where the installed base class lacks one of these, __getattr__ asks the wrapped service.

    if hasattr(BaseSessionService, "get_user_state"):

        async def get_user_state(self, *, app_name: str, user_id: str) -> dict[str, Any]:
            return await self.service.get_user_state(app_name=app_name, user_id=user_id)

    if hasattr(BaseSessionService, "flush"):

        async def flush(self) -> None:
            await self.service.flush()

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
