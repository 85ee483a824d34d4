"""Gates that several processes share, under writers that write."""

import contextlib

import pytest

from .crew import until
from .journal import read
from .strikes import let_go, restart_server

SHARED = ["postgres", "redis"]


def url(name, postgres, redis):
    return redis.url if name == "redis" else postgres.url


@pytest.mark.asyncio
@pytest.mark.parametrize("name", SHARED)
async def test_behind_a_shared_gate_nothing_is_lost(bench, postgres, redis, name):
    gate = (name, url(name, postgres, redis))
    report = await bench.run("retrying", bench.on_postgres(), gate=gate, processes=4, writers=4, events=2)
    assert report.nothing_lost_nothing_twice, report
    assert report.refused["StaleSessionError"], "nobody came to the gate"


@pytest.mark.asyncio
@pytest.mark.parametrize("name", SHARED)
async def test_a_gate_whose_holder_is_killed_lets_the_others_go_on(bench, crew, postgres, redis, tmp_path, name):
    gate = (name, url(name, postgres, redis))
    journal = tmp_path / "holder"

    @contextlib.asynccontextmanager
    async def held(scene):
        (holder,) = await crew.take(1)
        holder.tell({"hold": {"gate": gate, "session": scene.session, "journal": str(journal)}})
        await until(lambda: read(journal), "the gate is held")

        async def kill():
            assert scene.answered < scene.expected, "nobody waits for the gate"
            crew.take_back(holder, idle=False)

        async with let_go(scene, 1, kill):
            yield

    report = await bench.run("retrying", bench.on_postgres(), gate=gate, before=held)
    assert report.nothing_lost_nothing_twice, report


@pytest.mark.asyncio
async def test_a_gate_that_fails_fails_no_append(bench, tmp_path):
    nowhere = ("redis", f"unix://{tmp_path}/nowhere")
    report = await bench.run("retrying", bench.on_postgres(), gate=nowhere)
    assert report.nothing_lost_nothing_twice, report
    assert report.refused["StaleSessionError"], "nobody came to the gate"


@pytest.mark.asyncio
async def test_a_gate_on_the_server_that_restarts_fails_no_append(bench, postgres):
    gate = ("postgres", postgres.url)
    report = await bench.run("documented", bench.on_postgres(), gate=gate, fault=restart_server(postgres, 1))
    assert report.nothing_lost_nothing_twice, report
