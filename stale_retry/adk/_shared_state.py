"""Writes of `app:` or `user:` keys, one after the other where google-adk would let them overwrite each other."""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import Awaitable, Callable, Iterable
from contextlib import AsyncExitStack
from typing import Any, TypeVar

from google.adk.sessions import BaseSessionService

from ._known import SHARED
from ._services import locks_no_rows

R = TypeVar("R")

_Locks = weakref.WeakValueDictionary[tuple[str, ...], asyncio.Lock]
_by_loop: weakref.WeakKeyDictionary[Any, _Locks] = weakref.WeakKeyDictionary()


async def in_order(
    service: BaseSessionService, app: str, user: str, keys: Iterable[str], write: Callable[[], Awaitable[R]]
) -> R:
    """Write these keys when no other session of this process writes what it has in common with this one."""
    shared = {key[: key.index(":") + 1] for key in keys if key.startswith(SHARED)}
    if not shared or not locks_no_rows(service):
        return await write()
    locks = _by_loop.setdefault(asyncio.get_running_loop(), weakref.WeakValueDictionary())
    database = str(service.db_engine.url)  # type: ignore[attr-defined]
    async with AsyncExitStack() as stack:
        for prefix, names in zip(SHARED, ((app,), (app, user)), strict=True):  # always the app's first
            if prefix in shared:
                lock = locks.setdefault((database, *names), asyncio.Lock())
                await stack.enter_async_context(lock)
        return await write()
