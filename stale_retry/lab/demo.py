"""The demo, on one database: the same appends under each strategy, and the same turns with and without a queue."""

from __future__ import annotations

import asyncio
import functools
import tempfile
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path

from .contention import CLASSIC, IMMEDIATE, NONE, OURS, Run, Strategy, contend
from .database import DatabaseStore, async_url
from .turns import WAYS, Turns, Way, converse

STRATEGIES = (NONE, IMMEDIATE, CLASSIC, OURS)

OnDone = Callable[["Strategy | Way"], object]


def run_demo(
    url: str | None, *, writers: int, events: int, turns: int, on_done: OnDone = lambda which: None
) -> tuple[list[Run], list[Turns]]:
    """One run for each strategy and each way, on a session of its own, which is deleted afterwards.

    Without a URL the database is a new SQLite file, deleted as well. `on_done` is called after each append and turn.

    Raises:
        DatabaseUnreachable: the database cannot be used; the message is one line.
    """
    with _database(url) as database:
        return asyncio.run(_demo(database, writers, events, turns, on_done))


async def _demo(url: str, writers: int, events: int, turns: int, on_done: OnDone) -> tuple[list[Run], list[Turns]]:
    runs: list[Run] = []
    for strategy in STRATEGIES:
        async with DatabaseStore(url) as store:
            on_sent = functools.partial(on_done, strategy)
            runs.append(await contend(store, strategy, writers=writers, events=events, on_sent=on_sent))
    taken: list[Turns] = []
    for way in WAYS:
        async with DatabaseStore(url) as store:
            taken.append(await converse(store, way, turns=turns, on_ended=functools.partial(on_done, way)))
    return runs, taken


@contextmanager
def _database(url: str | None) -> Generator[str]:
    if url is not None:
        yield async_url(url)
        return
    with tempfile.TemporaryDirectory(prefix="stale-retry-", ignore_cleanup_errors=True) as folder:
        yield async_url(f"sqlite:///{Path(folder, 'demo.db')}")
