"""Calls that are finished though their caller is cancelled, where one that is cut off leaves its database locked."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any, TypeVar

import anyio
from google.adk.sessions import BaseSessionService

from ._services import on_sqlite_file

R = TypeVar("R")

PATIENCE = 10.0
"""Seconds for which a cancelled call may go on: twice as long as SQLite waits for a lock, unless told otherwise."""


async def whole_call(service: BaseSessionService, call: Coroutine[Any, Any, R]) -> R:
    """Await the call. On a SQLite file a cancellation comes out when it is done, and not before.

    The connection would be given back in the middle of its transaction, and the file stay locked for everybody.
    """
    if not on_sqlite_file(service):
        return await call
    task = asyncio.ensure_future(call)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        with anyio.CancelScope(shield=True):  # a cancelled scope cancels again and again
            await _end_of(task, PATIENCE)
            task.cancel()
            await _end_of(task, None)
        if not task.cancelled():
            task.exception()  # seen; the cancellation is what counts
        raise


async def _end_of(task: asyncio.Future[Any], seconds: float | None) -> None:
    loop = asyncio.get_running_loop()
    until = None if seconds is None else loop.time() + seconds
    while not task.done() and (until is None or loop.time() < until):
        with suppress(asyncio.CancelledError):
            await asyncio.wait([task], timeout=None if until is None else until - loop.time())
