"""Make each mutant and run the core's tests on it: `python -m tests.mutants [--jobs N] [WORD ...]`.

With words only those mutants whose file or description has one. Ends with 1 when a mutant lives that is not said to be
equivalent, or does not fit the code any more.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from queue import SimpleQueue

from . import attempts, between, calls, gates, judging, turns, ways
from .mutant import Mutant

ROOT = Path(__file__).parents[2]
MUTANTS = [mutant for room in (attempts, between, ways, gates, judging, calls, turns) for mutant in room.MUTANTS]

PATIENCE = 180.0
"""Seconds after which the tests of a mutant are taken to hang, which kills it too."""

FIRST = (
    *("local_gate", "gate", "guarantees", "attempts", "conflict", "errors", "deadline"),
    *("regressions_attempts", "regressions_blocks", "regressions_cancellation", "regressions_chain"),
    *("regressions_in_doubt", "regressions_results", "order", "interrupting", "nesting", "leases"),
)
"""The files that find much in little time; the others run only if these find nothing."""

LAST = ("detection", "transient", "exactly_once", "every_schedule")
LEFT_OUT = ("scheduler", "servers")
LEFT_OUT_TESTS = "not ten_thousand and not (nobody_waits_for_ever and (scope or 3-))"
"""What takes seconds and finds nothing else: of the schedules those of three writers and of cancelled scopes."""


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.mutants", description=__doc__)
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("words", nargs="*", metavar="WORD")
    options = parser.parse_args()
    mutants = [mutant for mutant in MUTANTS if not options.words or any(word in str(mutant) for word in options.words)]
    bad = [mutant for mutant in mutants if not mutant.fits(ROOT / "stale_retry")]
    for mutant in bad:
        print(f"does not fit  {mutant}")
    mutants = [mutant for mutant in mutants if mutant not in bad]
    with workshops(options.jobs) as free, ThreadPoolExecutor(options.jobs) as pool:
        if not mutants:
            return 1
        failure = first_failure_with(free, None)
        if failure:
            print(f"the tests fail without a mutant: {failure}")
            return 1
        for mutant, killer, seconds in pool.map(lambda mutant: outcome(mutant, free), mutants):
            print(f"{'killed' if killer else 'lives '} {seconds:4.0f} s  {mutant}  {killer}", flush=True)
            if not killer and mutant.equivalent:
                print(f"               equivalent: {mutant.equivalent}")
            elif not killer:
                bad.append(mutant)
    equivalent = sum(bool(mutant.equivalent) for mutant in mutants)
    print(f"{len(mutants)} mutants, {len(bad)} of them to be looked at, {equivalent} said to be equivalent")
    for mutant in bad:
        print(f"  {mutant}")
    return 1 if bad else 0


# A mutant need not be killed by the smallest example, and is to be killed again by the same one.
QUICK = """
from hypothesis import Phase
settings.register_profile(
    "mutants", settings.get_profile("core"), phases=[Phase.explicit, Phase.generate], derandomize=True, database=None
)
settings.load_profile("mutants")
"""


@contextmanager
def workshops(count: int) -> Iterator[SimpleQueue[Path]]:
    """Copies of the package and its tests, in which mutants are made."""
    free: SimpleQueue[Path] = SimpleQueue()
    with tempfile.TemporaryDirectory(prefix="stale-retry-mutants-") as directory:
        for number in range(count):
            place = Path(directory, str(number))
            for folder in ("stale_retry", "tests/core", "tests/turns"):
                shutil.copytree(ROOT / folder, place / folder, ignore=shutil.ignore_patterns("__pycache__"))
            for file in ("pyproject.toml", "tests/conftest.py"):
                shutil.copy(ROOT / file, place / file)
            with (place / "tests/core/conftest.py").open("a") as conftest:
                conftest.write(QUICK)
            free.put(place)
        yield free


def outcome(mutant: Mutant, free: SimpleQueue[Path]) -> tuple[Mutant, str, float]:
    began = time.monotonic()
    return mutant, first_failure_with(free, mutant), time.monotonic() - began


def first_failure_with(free: SimpleQueue[Path], mutant: Mutant | None) -> str:
    """The first test that fails; nothing if none does."""
    place = free.get()
    try:
        if mutant is not None:
            mutant.apply(place / "stale_retry")
        return first_failure_in(place, "turns" if mutant is not None and mutant.file.startswith("turns/") else "core")
    finally:
        if mutant is not None:
            shutil.copy(ROOT / "stale_retry" / mutant.file, place / "stale_retry" / mutant.file)
        free.put(place)


def first_failure_in(place: Path, suite: str) -> str:
    tests = {file.stem.removeprefix("test_"): file for file in (place / "tests" / suite).glob("test_*.py")}
    first = [name for name in FIRST if name in tests]
    then = [name for name in sorted(tests) if name not in (*FIRST, *LAST, *LEFT_OUT)]
    last = [name for name in LAST if name in tests]
    for names in (first, [*then, *last]):
        failure = first_failure_of([tests[name] for name in names], place)
        if failure:
            return failure
    return ""


def first_failure_of(files: list[Path], place: Path) -> str:
    command = [sys.executable, "-m", "pytest", "-x", "-q", "--tb=no", "-p", "no:cacheprovider", "-k", LEFT_OUT_TESTS]
    environment = {**os.environ, "PYTHONPATH": str(place), "PYTHONDONTWRITEBYTECODE": "1"}
    try:
        done = subprocess.run(
            [*command, *map(str, files)], cwd=place, env=environment, capture_output=True, text=True, timeout=PATIENCE
        )
    except subprocess.TimeoutExpired:
        return "they hang"
    if done.returncode == 0:
        return ""
    said = done.stdout.splitlines()
    failed = [line.split(" - ")[0] for line in said if line.startswith(("FAILED ", "ERROR "))]
    return failed[0] if failed else f"pytest ends with {done.returncode}: {said[-5:]} {done.stderr[-500:]}"


if __name__ == "__main__":
    sys.exit(main())
