"""The session service of one run, which notes in the run's events what a later delivery of its message must know."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from typing import Any

from google.adk.events import Event
from google.adk.runners import Runner
from google.adk.sessions import BaseSessionService, Session
from google.adk.sessions.base_session_service import GetSessionConfig, ListSessionsResponse

from ._ledger import note


class NotingService(BaseSessionService):
    """Everything but appending, and how much is loaded, is the wrapped service's.

    Args:
        service: the runner's.
        messages: what is noted in the user's event: a digest for each key. None: the user's event is noted like others.
        continues: the invocation that the run goes on with. Its user's event is stored already and is passed over.
        inside: the invocation that the run is part of.
        at_least: how many events are loaded, whatever the run asks for.

    Attributes:
        asked: the invocation of the user's event; None until that is stored.
    """

    def __init__(
        self,
        service: BaseSessionService,
        *,
        messages: Mapping[str, str] | None = None,
        continues: str | None = None,
        inside: str | None = None,
        at_least: int = 0,
    ) -> None:
        self.service = service
        self.asked = continues or inside
        self._messages = messages
        self._passes_over = continues is not None
        self._at_least = at_least
        noted = {"continues": continues, "inside": inside}
        self._noted = {name: invocation for name, invocation in noted.items() if invocation is not None}

    async def append_event(self, session: Session, event: Event) -> Event:
        is_message = event.author == "user" and event.content is not None
        if is_message and self._passes_over:
            self._passes_over = False
            return event
        if is_message and self._messages is not None:
            note(event, messages=dict(self._messages))
            self._messages, self.asked = None, event.invocation_id
        elif self._noted:
            note(event, **self._noted)
        return await self.service.append_event(session=session, event=event)

    async def get_session(self, *, config: GetSessionConfig | None = None, **options: Any) -> Session | None:
        if self._at_least and config is not None and not _is_whole(config):
            number = max(self._at_least, config.num_recent_events or 0)
            config = GetSessionConfig(num_recent_events=number)
        return await self.service.get_session(config=config, **options)

    async def create_session(self, **options: Any) -> Session:
        return await self.service.create_session(**options)

    async def list_sessions(self, **options: Any) -> ListSessionsResponse:
        return await self.service.list_sessions(**options)

    async def delete_session(self, **options: Any) -> None:
        await self.service.delete_session(**options)

    def __getattr__(self, attribute: str) -> Any:
        if attribute == "service":  # not yet set, as in a copy that is being made
            raise AttributeError(attribute)
        return getattr(self.service, attribute)


def _is_whole(config: GetSessionConfig) -> bool:
    return config.num_recent_events is None and config.after_timestamp is None


def with_service(runner: Runner, service: BaseSessionService) -> Runner:
    """The same runner on another session service."""
    runner = copy.copy(runner)
    runner.session_service = service
    return runner


def _passed_on(name: str) -> Callable[..., Any]:
    def method(self: NotingService, *args: Any, **options: Any) -> Any:
        return getattr(self.service, name)(*args, **options)

    method.__name__ = name
    return method


for _name in dir(BaseSessionService):
    if not _name.startswith("_") and _name not in vars(NotingService):
        setattr(NotingService, _name, _passed_on(_name))
