"""What the tests of the queue share: calls begun in order, and a slot that is held for as long as a test likes."""

from contextlib import asynccontextmanager

import anyio


async def in_order(*calls):
    """Run them at the same time, each begun when those before it wait."""
    async with anyio.create_task_group() as tasks:
        for call in calls:
            tasks.start_soon(call)
            await anyio.wait_all_tasks_blocked()


@asynccontextmanager
async def slot(policy, session):
    """Hold the slot of a session's key."""
    async for attempt in policy.attempts(session):
        with attempt:
            yield
