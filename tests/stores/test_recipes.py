"""Every recipe stores every event once: ten writers, five events each, on the real thing."""

import pytest

from .recipes import ALL, EVENTS, WRITERS, programs, recipe

pytestmark = [pytest.mark.servers, pytest.mark.asyncio]

PROGRAMS = pytest.mark.parametrize(("page", "number"), ALL, ids=lambda value: str(value))


@PROGRAMS
async def test_every_event_is_stored_once(page, number, provide, chat):
    provide(programs(page)[number])
    program = recipe(page, number)
    async with program.open(chat) as handle:
        acknowledged, errors = await program.contend(handle, chat)
        assert errors == []
        assert len(acknowledged) == WRITERS * EVENTS
        assert sorted(await program.read(handle, chat)) == acknowledged


@PROGRAMS
async def test_without_retries_events_are_lost(page, number, provide, chat):
    """Else the recipe would have nothing to show."""
    provide(programs(page)[number])
    program = recipe(page, number)
    program.bare()
    async with program.open(chat) as handle:
        acknowledged, _ = await program.contend(handle, chat)
        assert len(acknowledged) < WRITERS * EVENTS
