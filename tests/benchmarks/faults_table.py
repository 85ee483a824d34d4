"""The table of docs/how-to/faults.md: `python tests/benchmarks/faults_table.py`, and with `--gates` that of gate.md.

Each fault is played again and again against writers in two processes, first by the strategy that it defeats, then by
the documented one, each run with another seed.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import sys
import tempfile
import warnings
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from faults.audit import Report
from faults.crew import Crew
from faults.scenarios import SCENARIOS, Bench
from faults.servers import Postgres, Redis

NAMES = {
    "bare": "no retry",
    "resend": "reload and send again",
    "retrying": "conflicts only",
    "forget": "conflicts only",
    "documented": "the line above",
}


def row(title: str, strategy: str, reports: list[Report]) -> str:
    sums = [
        len(reports),
        *(sum(getattr(report, count) for report in reports) for count in ("sent", "acknowledged", "stored")),
        *(sum(len(getattr(report, harm)) for report in reports) for harm in ("lost", "twice")),
    ]
    return f"| {title} | {NAMES[strategy]} | " + " | ".join(map(str, sums)) + " |"


async def faults(bench: Bench, runs: int, only: list[str]) -> None:
    print("| fault | strategy | runs | sent | acknowledged | stored | lost | twice |")
    print("|---|---|---:|---:|---:|---:|---:|---:|")
    for name, scenario in SCENARIOS.items():
        if only and name not in only:
            continue
        for strategy in (scenario.bites[0], "documented"):
            reports = []
            for bench.seed in range(runs):
                report = await scenario.play(bench, strategy)
                assert not report.lost_in_silence, report
                assert report.every_event_is_stored_once or strategy != "documented", report
                reports.append(report)
            print(row(scenario.title, strategy, reports), flush=True)


async def gates(bench: Bench, redis: Redis, runs: int) -> None:
    print("| processes x writers | gate | runs | stored | calls per stored event | seconds for a run |")
    print("|---|---|---:|---:|---:|---:|")
    kinds = {
        "none": ("none", ""),
        "local": ("local", ""),
        "local, then PostgreSQL": ("postgres", bench.postgres.url),
        "local, then Redis": ("redis", redis.url),
    }
    for processes, writers, events in ((2, 1, 20), (4, 1, 20), (4, 5, 5), (8, 10, 3)):
        reports: dict[str, list[Report]] = {kind: [] for kind in kinds}
        for _ in range(runs):
            for kind, gate in kinds.items():
                size = {"processes": processes, "writers": writers, "events": events}
                reports[kind].append(await bench.run("retrying", bench.on_postgres(), gate=gate, **size))
        for kind, those in reports.items():
            assert all(report.nothing_lost_nothing_twice for report in those)
            stored, calls = sum(report.stored for report in those), sum(report.calls for report in those)
            seconds = sum(report.seconds for report in those) / runs
            print(f"| {processes} x {writers} | {kind} | {runs} | {stored} | {calls / stored:.2f} | {seconds:.2f} |")


async def main(options: argparse.Namespace) -> None:
    crew, postgres = Crew(), Postgres()
    redis = Redis() if options.gates else None
    try:
        with tempfile.TemporaryDirectory() as directory:
            bench = Bench(crew, postgres, Path(directory))
            if redis is not None:
                await gates(bench, redis, options.runs)
            else:
                await faults(bench, options.runs, options.only)
    finally:
        crew.close()
        postgres.close()
        if redis is not None:
            redis.close()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--gates", action="store_true")
    parser.add_argument("--only", nargs="*", default=[], metavar="FAULT")
    warnings.filterwarnings("ignore")
    logging.disable(logging.CRITICAL)
    asyncio.run(main(parser.parse_args()))
