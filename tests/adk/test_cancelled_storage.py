"""Cancelled calls of google-adk's service leave a SQLite file unlocked with the recipe of `docs/how-to/turns.md`."""

import asyncio
import contextlib
import re
from pathlib import Path

import anyio
import pytest
from google.adk.sessions import DatabaseSessionService

from .app import KEY, event

pytestmark = pytest.mark.asyncio

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "turns.md"


def recipe():
    """`WholeCalls` as the page has it."""
    (block,) = re.findall(r"```python\n((?:(?!```).)*?class WholeCalls.*?)\n\nservice = ", PAGE.read_text(), re.DOTALL)
    given = {"asyncio": asyncio, "DatabaseSessionService": DatabaseSessionService}
    exec(block, given)
    return given["WholeCalls"]


async def once(work, seconds):
    task = asyncio.create_task(work)
    await asyncio.sleep(seconds)
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


async def twice(work, seconds):
    task = asyncio.create_task(work)
    await asyncio.sleep(seconds)
    for _ in range(2):
        task.cancel()
        await asyncio.sleep(0)
    with contextlib.suppress(asyncio.CancelledError):
        await task


async def again_and_again(work, seconds):
    """As web servers do it."""
    with anyio.move_on_after(seconds):
        await work


@pytest.mark.parametrize("cancelled", [once, twice, again_and_again])
async def test_a_sqlite_file_is_not_left_locked_wherever_a_call_is_cancelled(tmp_path, cancelled):
    # A file that is left locked is told of after a tenth of a second, and not of five.
    service = recipe()(f"sqlite+aiosqlite:///{tmp_path}/chat.db", connect_args={"timeout": 0.1})
    await service.create_session(**KEY)

    async def work():
        session = await service.get_session(**KEY)
        await service.append_event(session, event("text"))

    for step in range(30):
        await cancelled(work(), step * 0.0005)
        await work()
    await service.db_engine.dispose()


async def test_a_cancellation_comes_out_when_the_call_is_done(tmp_path):
    service = recipe()(f"sqlite+aiosqlite:///{tmp_path}/chat.db")
    session = await service.create_session(**KEY)
    task = asyncio.create_task(service.append_event(session, event("text")))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert len((await service.get_session(**KEY)).events) == 1
    await service.db_engine.dispose()
