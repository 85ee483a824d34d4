"""The demo: the same appends under each strategy, on one database."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path

from .contention import Run, contend
from .database import DatabaseStore, async_url
from .strategies import CLASSIC, IMMEDIATE, NONE, OURS, Strategy

STRATEGIES = (NONE, IMMEDIATE, CLASSIC, OURS)

OnSent = Callable[[Strategy], object]


def run_demo(url: str | None, *, writers: int, events: int, on_sent: OnSent = lambda strategy: None) -> list[Run]:
    """One run a strategy, each on a session of its own, which is removed afterwards.

    Without a URL the database is a new SQLite file, removed as well.

    Raises:
        DatabaseUnreachable: the database cannot be used; the message is one line.
    """
    with _database(url) as database:
        return asyncio.run(_runs(database, writers, events, on_sent))


async def _runs(url: str, writers: int, events: int, on_sent: OnSent) -> list[Run]:
    runs: list[Run] = []
    for strategy in STRATEGIES:
        async with DatabaseStore(url) as store:
            runs.append(
                await contend(
                    store,
                    strategy,
                    writers=writers,
                    events=events,
                    on_sent=lambda strategy=strategy: on_sent(strategy),  # type: ignore[misc]
                )
            )
    return runs


@contextmanager
def _database(url: str | None) -> Generator[str]:
    if url is not None:
        yield async_url(url)
        return
    with tempfile.TemporaryDirectory(prefix="stale-retry-", ignore_cleanup_errors=True) as folder:
        yield async_url(f"sqlite:///{Path(folder, 'demo.db')}")
