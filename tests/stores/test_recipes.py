"""Every recipe stores every event once: ten writers, five events each, on the real thing."""

import pytest

from .recipes import ALL, EVENTS, VARIANTS, WRITERS, Recipe, programs, recipe, source_of

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


@pytest.mark.parametrize("name", VARIANTS)
async def test_a_recipe_is_the_same_on_another_store(name, provide, chat):
    source = source_of(name)
    provide(source)
    program, free, bare = (Recipe(VARIANTS[name][0], source) for _ in range(3))
    free.without_queue()
    bare.bare()
    for version, loses in ((program, False), (free, False), (bare, True)):
        chat += "."
        async with version.open(chat) as handle:
            acknowledged, errors = await version.contend(handle, chat)
            assert (len(acknowledged) < WRITERS * EVENTS) == loses == bool(errors)
            assert sorted(await version.read(handle, chat)) == acknowledged
