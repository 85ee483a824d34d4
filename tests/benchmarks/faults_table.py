"""The table of docs/how-to/faults.md: `python tests/benchmarks/faults_table.py`.

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
from faults.servers import Postgres

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


async def main(options: argparse.Namespace) -> None:
    crew, postgres = Crew(), Postgres()
    try:
        with tempfile.TemporaryDirectory() as directory:
            await faults(Bench(crew, postgres, Path(directory)), options.runs, options.only)
    finally:
        crew.close()
        postgres.close()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--only", nargs="*", default=[], metavar="FAULT")
    warnings.filterwarnings("ignore")
    logging.disable(logging.CRITICAL)
    asyncio.run(main(parser.parse_args()))
