"""What a refresh costs, by the length of the session's history: incremental and full, for one new event.

    python tests/benchmarks/adk_refresh.py

Exits with 1 if the incremental refresh of 10,000 events is not 20 times cheaper than the full one, or leaves other
events or another state.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import statistics
import sys
import time
from typing import Any

from contention import APP, Counting, _event, database
from google.adk.sessions import Session
from google.adk.version import __version__

from stale_retry.adk import refresh_session

LENGTHS = (10, 1_000, 10_000)
REPETITIONS = 7
SECONDS_APART = {"a chat, 10 s apart": 10.0, "a burst, 1 ms apart": 0.001}


async def fill(service: Counting, key: dict[str, str], length: int, apart: float) -> None:
    """The rows that as many appends would leave; appending them would take minutes."""
    session = await service.create_session(**key)
    schema = service._get_schema_classes()
    until = time.time()
    async with service.database_session_factory() as sql:
        for number in range(length):
            past = _event("x" * 200)
            past.timestamp = until - apart * (length - number)
            sql.add(schema.StorageEvent.from_event(session, past))
        await sql.commit()


async def refreshed(service: Counting, key: dict[str, str], mode: Any) -> tuple[float, Session]:
    session, other = await service.get_session(**key), await service.get_session(**key)
    assert session is not None
    assert other is not None
    new = _event("new")
    new.actions.state_delta = {"count": len(other.events)}
    await service.append_event(other, new)
    began = time.perf_counter()
    await refresh_session(service, session, mode=mode)
    seconds = time.perf_counter() - began
    everything = await service.get_session(**key)
    assert everything is not None
    assert [event.id for event in session.events] == [event.id for event in everything.events]
    assert session.state == everything.state
    return seconds, session


async def measure(kind: str) -> bool:
    print(f"\n{kind}, google-adk {__version__}, median of {REPETITIONS}\n")
    print("| history | events | full, ms | incremental, ms | times cheaper |\n|---|---|---|---|---|")
    good = True
    async with database(kind) as service:
        for history, apart in SECONDS_APART.items():
            for length in LENGTHS:
                key = {**APP, "session_id": f"{history} {length}"}
                await fill(service, key, length, apart)
                median = {}
                for mode in ("full", "incremental"):
                    times = [(await refreshed(service, key, mode))[0] for _ in range(REPETITIONS)]
                    median[mode] = 1000 * statistics.median(times)
                ratio = median["full"] / median["incremental"]
                good = good and (length < 10_000 or ratio >= 20)
                cells = (
                    history,
                    f"{length:,}",
                    f"{median['full']:.1f}",
                    f"{median['incremental']:.1f}",
                    f"{ratio:.1f}",
                )
                print(f"| {' | '.join(cells)} |", flush=True)
    return good


async def main() -> bool:
    return all([await measure(kind) for kind in ("sqlite", "postgresql")])


if __name__ == "__main__":
    logging.disable()
    with contextlib.suppress(KeyboardInterrupt):
        sys.exit(0 if asyncio.run(main()) else 1)
