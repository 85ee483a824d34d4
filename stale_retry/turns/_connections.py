"""The connections of a store of leases: the client that was given, or one for each event loop, made from a URL."""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import Awaitable, Callable
from typing import Any


class Connections:
    """What `here` returns belongs to the current event loop.

    Args:
        given: a client that its owner closes; None: they are made.
        make: makes one for the current event loop.
        close: closes one, in its event loop.
    """

    def __init__(self, given: Any, make: Callable[[], Any], close: Callable[[Any], Awaitable[object]]) -> None:
        self._given = given
        self._make = make
        self._close = close
        self._made: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, Any] = weakref.WeakKeyDictionary()

    @property
    def are_ours(self) -> bool:
        return self._given is None

    def here(self) -> Any:
        if self._given is not None:
            return self._given
        loop = asyncio.get_running_loop()
        client = self._made.get(loop)
        if client is None:
            client = self._made[loop] = self._make()
        return client

    async def close_here(self) -> None:
        client = self._made.pop(asyncio.get_running_loop(), None)
        if client is not None:
            await self._close(client)

    async def aclose(self) -> None:
        """Close those of all event loops, each in its own. Those of loops that are closed went with them."""
        here = asyncio.get_running_loop()
        for loop in list(self._made):
            if loop is here:
                await self.close_here()
            elif loop.is_running():
                closing = asyncio.run_coroutine_threadsafe(self.close_here(), loop)
                await asyncio.wait_for(asyncio.wrap_future(closing), 5)
            else:
                self._made.pop(loop, None)
