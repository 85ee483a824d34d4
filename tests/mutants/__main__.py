"""Make each mutant and run the tests on it: `python -m tests.mutants [--jobs N] [WORD ...]`.

With words only those mutants whose file or description has one. Ends with 1 when a mutant lives that is not said to be
equivalent, or when one does not fit the code any more.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import SimpleQueue

from . import adk, core, turns
from .mutant import Mutant
from .workshop import ROOT, Workshop

MUTANTS = [mutant for room in (core, turns, adk) for mutant in room.MUTANTS]


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.mutants", description=__doc__)
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("words", nargs="*", metavar="WORD")
    options = parser.parse_args()
    mutants = [mutant for mutant in MUTANTS if not options.words or any(word in str(mutant) for word in options.words)]
    unfit = [mutant for mutant in mutants if not mutant.fits(ROOT / "stale_retry")]
    alive = try_out([mutant for mutant in mutants if mutant not in unfit], options.jobs)
    bad = [mutant for mutant in alive if not mutant.equivalent]
    print(f"{len(mutants)} made, {len(mutants) - len(unfit) - len(alive)} killed, {len(alive) - len(bad)} equivalent")
    for what, some in (("lives", bad), ("does not fit", unfit)):
        for mutant in some:
            print(f"{what}: {mutant}")
    return 1 if bad or unfit else 0


def try_out(mutants: list[Mutant], jobs: int) -> list[Mutant]:
    """Those that live.

    Raises:
        SystemExit: the tests fail without a mutant.
    """
    alive: list[Mutant] = []
    free: SimpleQueue[Workshop] = SimpleQueue()

    def outcome(mutant: Mutant) -> tuple[str, float]:
        workshop, began = free.get(), time.monotonic()
        try:
            return workshop.first_failure(mutant), time.monotonic() - began
        finally:
            free.put(workshop)

    with tempfile.TemporaryDirectory(prefix="stale-retry-mutants-") as directory, ThreadPoolExecutor(jobs) as pool:
        workshops = [Workshop(Path(directory, str(number))) for number in range(jobs)]
        suites = sorted({mutant.suite for mutant in mutants})
        for failure in pool.map(lambda workshop: workshop.first_failure_without_a_mutant(*suites), workshops):
            if failure:
                sys.exit(f"the tests fail without a mutant: {failure}")
        for workshop in workshops:
            free.put(workshop)
        for mutant, (killer, seconds) in zip(mutants, pool.map(outcome, mutants), strict=True):
            said = f"killed by {killer}" if killer else f"equivalent: {mutant.equivalent}" * bool(mutant.equivalent)
            print(f"{'      ' if killer else 'LIVES '}{seconds:4.0f} s  {mutant}  {said}", flush=True)
            if not killer:
                alive.append(mutant)
    return alive


if __name__ == "__main__":
    sys.exit(main())
