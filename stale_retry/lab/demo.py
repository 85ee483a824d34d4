"""The demo, on one database: the same appends under each strategy, and the same turns with and without a queue."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path

from .contention import Run, contend
from .database import DatabaseStore, async_url
from .strategies import CLASSIC, IMMEDIATE, NONE, OURS, Strategy
from .turns import WAYS, Turns, Way, converse

STRATEGIES = (NONE, IMMEDIATE, CLASSIC, OURS)

OnDone = Callable[["Strategy | Way"], object]


def run_demo(
    url: str | None, *, writers: int, events: int, turns: int, on_done: OnDone = lambda which: None
) -> tuple[list[Run], list[Turns]]:
    """One run a strategy and one a way, each on a session of its own, which is removed afterwards.

    Without a URL the database is a new SQLite file, removed as well. `on_done` is called after each append and turn.

    Raises:
        DatabaseUnreachable: the database cannot be used; the message is one line.
    """
    with _database(url) as database:
        return asyncio.run(_demo(database, writers, events, turns, on_done))


async def _demo(url: str, writers: int, events: int, turns: int, on_done: OnDone) -> tuple[list[Run], list[Turns]]:
    appended: list[Run] = []
    for strategy in STRATEGIES:
        async with DatabaseStore(url) as store:
            on_sent = _telling(on_done, strategy)
            appended.append(await contend(store, strategy, writers=writers, events=events, on_sent=on_sent))
    taken: list[Turns] = []
    for way in WAYS:
        async with DatabaseStore(url) as store:
            taken.append(await converse(store, way, turns=turns, on_ended=_telling(on_done, way)))
    return appended, taken


def _telling(on_done: OnDone, which: Strategy | Way) -> Callable[[], object]:
    return lambda: on_done(which)


@contextmanager
def _database(url: str | None) -> Generator[str]:
    if url is not None:
        yield async_url(url)
        return
    with tempfile.TemporaryDirectory(prefix="stale-retry-", ignore_cleanup_errors=True) as folder:
        yield async_url(f"sqlite:///{Path(folder, 'demo.db')}")
