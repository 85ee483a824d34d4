"""One unit of work, retried by us, by tenacity and by stamina: what it takes, in one run on one server.

    python tests/benchmarks/peers.py

Thirty writers, two commits each, on one row in PostgreSQL: the program of docs/recipes/sqlalchemy.md, which loads,
changes and commits. Each way has the same function and the same test of what is a conflict, takes its turn three times,
and the medians are told. Exits with 1 if ours takes more than half of tenacity's calls, or longer than stamina.
"""

from __future__ import annotations

import asyncio
import functools
import inspect
import logging
import os
import statistics
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any
from uuid import uuid4

import stamina
import tenacity

from stale_retry import retry_if_conflict, retry_transaction

sys.path.insert(0, str(Path(__file__).parents[1]))

from stores import servers
from stores.recipes import Recipe, programs, recipe

WRITERS, COMMITS, ROUNDS = 30, 2, 3
PAGE = "sqlalchemy.md"

Work = Callable[[Any, str, str], Awaitable[Any]]


def with_tenacity(work: Work) -> Work:
    """Random exponential waits, with our own limits: up to 0.05 s, doubled each time, 2 s at most."""
    wait = tenacity.wait_random_exponential(multiplier=0.05, max=2)
    return tenacity.retry(retry=retry_if_conflict(), wait=wait, stop=tenacity.stop_after_delay(90))(work)


def with_stamina(work: Work) -> Work:
    """Its defaults, ten attempts within 45 seconds."""
    return stamina.retry(on=retry_if_conflict().predicate)(work)


def with_ours(work: Work) -> Work:
    return retry_transaction(key="chat_id", on=retry_if_conflict(), observers=())(work)


def with_ours_but_no_gate(work: Work) -> Work:
    return retry_transaction(on=retry_if_conflict(), observers=())(work)


WAYS = (with_tenacity, with_stamina, with_ours_but_no_gate, with_ours)


async def measure(program: Recipe, way: Callable[[Work], Work]) -> tuple[int, float, float]:
    """Returns how many commits are stored, calls for each of them, and seconds."""
    calls, chat = 0, uuid4().hex
    bare = inspect.unwrap(program.append)

    @functools.wraps(bare)
    async def append(new_session: Any, chat_id: str, text: str) -> None:
        nonlocal calls
        calls += 1
        await bare(new_session, chat_id, text)

    retried = way(append)

    async def write(writer: int) -> None:
        for number in range(COMMITS):
            await retried(handle, chat, f"{writer}.{number}")

    async with program.open(chat) as handle:
        began = time.perf_counter()
        await asyncio.gather(*map(write, range(WRITERS)), return_exceptions=True)
        took = time.perf_counter() - began
        stored = len(set(await program.read(handle, chat)))
    return stored, calls / stored, took


async def main() -> int:
    calls, seconds, stored = {}, {}, {}
    with servers.Places() as places:
        os.environ.update(places.environment(programs(PAGE)[0]))
        program = recipe(PAGE)
        rounds = [[await measure(program, way) for way in WAYS] for _ in range(ROUNDS)]
    print(f"| {WRITERS} writers, {COMMITS} commits each | stored of {WRITERS * COMMITS} | calls per commit | seconds |")
    print("|---|---:|---:|---:|")
    for way, *found in zip(WAYS, *rounds, strict=True):
        stored[way] = min(count for count, _, _ in found)
        calls[way] = statistics.median(each for _, each, _ in found)
        seconds[way] = statistics.median(took for _, _, took in found)
        name = way.__name__.removeprefix("with_").replace("_", " ")
        print(f"| {name} | {stored[way]} | {calls[way]:.2f} | {seconds[way]:.2f} |")
    return not (
        stored[with_ours] == WRITERS * COMMITS
        and calls[with_ours] <= calls[with_tenacity] / 2
        and seconds[with_ours] < seconds[with_stamina]
    )


if __name__ == "__main__":
    logging.disable(logging.CRITICAL)
    stamina.instrumentation.set_on_retry_hooks(())
    sys.exit(asyncio.run(main()))
