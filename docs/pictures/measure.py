"""Measure what the pictures show: python docs/pictures/measure.py [race] [simulation]. Needs `stale-retry[demo]`.

Writes `measured/race.json`, one race of `stale-retry demo` in real time on a new SQLite file, and
`measured/simulation.json`, which is in virtual time and comes out the same everywhere. `measured/turns.json` is kept by
hand: the first table of `tests/benchmarks/turns.py`.
"""

from __future__ import annotations

import asyncio
import json
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import Any

import simulation

from stale_retry.lab.contention import Run, contend

MEASURED = Path(__file__).parent / "measured"


def race(writers: int = 10, events: int = 3) -> dict[str, Any]:
    from stale_retry.lab.database import async_url  # needs google-adk, which the simulation does not

    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        runs = asyncio.run(_raced(async_url(f"sqlite:///{Path(folder, 'race.db')}"), writers, events))
    about = f"google-adk {version('google-adk')} on a new SQLite file"
    return {"about": about, "writers": writers, "events": events, "strategies": [_run(run) for run in runs]}


async def _raced(url: str, writers: int, events: int) -> list[Run]:
    from stale_retry.lab.database import DatabaseStore
    from stale_retry.lab.demo import STRATEGIES

    runs: list[Run] = []
    for strategy in STRATEGIES:
        async with DatabaseStore(url) as store:
            runs.append(await contend(store, strategy, writers=writers, events=events))
    return runs


def _run(run: Run) -> dict[str, Any]:
    kinds: dict[str, list[list[float]]] = {}
    queues = run.strategy.integrated  # the others have no queue: their writers wait for the event loop
    for writer, marks in run.marks.items():
        for mark in marks:
            if mark.kind == "queue" and not queues:
                continue
            kinds.setdefault(mark.kind, []).append([writer, round(mark.start, 3), round(mark.end, 3)])
    return {
        "name": run.strategy.name,
        "title": run.strategy.title,
        "sent": len(run.sent),
        "stored": run.stored,
        "seconds": round(run.seconds, 3),
        "marks": kinds,
        "lost": [[append.writer, round(append.end, 3)] for append in run.sent if append.token not in run.found],
    }


def simulated(latency: float = 0.01, seeds: int = 8) -> dict[str, Any]:
    writers = [10, 20, 50, 100, 200]
    once = simulation.simulate(writers, events=1, latency=latency, seeds=seeds)
    by_strategy: dict[str, dict[str, list[float]]] = {}
    for result in once:
        row = by_strategy.setdefault(result.strategy.name, {"lost": [], "seconds": [], "calls": []})
        row["lost"].append(round(result.lost, 4))
        row["seconds"].append(round(result.seconds, 3))
        row["calls"].append(round(result.calls, 3))
    return {
        "writers": writers,
        "latency": latency,
        "seeds": seeds,
        "one_event": by_strategy,
        "slowest_of_three_events": _slowest(writers, latency, seeds),
    }


def _slowest(writers: list[int], latency: float, seeds: int) -> dict[str, list[float]]:
    thrice = simulation.simulate(writers, events=3, latency=latency, seeds=seeds)
    return {
        name: [round(result.slowest, 3) for result in thrice if result.strategy.name == name]
        for name in ("ours", "queue")
    }


def main(names: list[str]) -> None:
    for name, measure in {"race": race, "simulation": simulated}.items():
        if name in names or not names:
            text = json.dumps(measure(), separators=(",", ":")).replace('"name":', '\n"name":').replace("]],", "]],\n")
            (MEASURED / f"{name}.json").write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
