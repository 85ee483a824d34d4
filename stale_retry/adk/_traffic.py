"""Appends that are on their way, so that nobody reads a session back while another is just storing to it."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

import anyio
from anyio.lowlevel import current_token
from google.adk.events import Event
from google.adk.sessions import BaseSessionService, Session

from .._types import Refresh

PATIENCE = 0.5
"""Seconds that a retry lets others finish: what it would read meanwhile is stale before it is used."""


def session_key(session: Session) -> tuple[str, str, str]:
    return session.app_name, session.user_id, session.id


Append = Callable[[BaseSessionService, Session, Event], Coroutine[Any, Any, Event]]
Place = tuple[object, tuple[str, str, str]]


def _place(session: Session) -> Place:
    # Each event loop touches its own entries only, so no lock guards the dictionaries.
    return current_token(), session_key(session)


class Traffic:
    """The appends through one service in this process."""

    def __init__(self) -> None:
        self._under_way: dict[Place, int] = {}
        self._quiet: dict[Place, anyio.Event] = {}

    def noting(self, append: Append) -> Append:
        """The same append, which is known to be under way while it is."""

        async def noted(service: BaseSessionService, session: Session, event: Event) -> Event:
            place = _place(session)
            self._under_way[place] = self._under_way.get(place, 0) + 1
            try:
                return await append(service, session, event)
            finally:
                self._under_way[place] -= 1
                if not self._under_way[place]:
                    del self._under_way[place]
                    if place in self._quiet:
                        self._quiet.pop(place).set()

        return noted

    def when_quiet(self, refresh: Refresh) -> Refresh:
        """The same refresh hook, which waits until no append to the session is under way."""

        async def refresh_when_quiet(service: BaseSessionService, session: Session) -> Any:
            await self.quiet(session)
            return await refresh(service, session)

        return refresh_when_quiet

    async def quiet(self, session: Session) -> None:
        place = _place(session)
        with anyio.move_on_after(PATIENCE):
            while place in self._under_way:
                await self._quiet.setdefault(place, anyio.Event()).wait()
