"""A copy of the package and its tests, in which one mutant at a time is made and tried."""

from __future__ import annotations

import math
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

from .mutant import Mutant

ROOT = Path(__file__).parents[2]

FIRST = (
    *(
        "queue",
        "queue_order",
        "queue_waiting",
        "queue_yields",
        "nested_calls",
        "blocks",
        "conflict",
        "errors",
        "deadline",
    ),
    *("cancellation", "error_chains", "in_doubt", "find_stored", "results", "transactions"),
    *("order", "interrupting", "nesting", "leases"),
    *("idempotency", "collecting", "open_calls", "queue_all_runners", "turn_queue_http"),
)
"""The files that find much in little time; the others run only if these find nothing."""

LAST = ("detection", "transient", "exactly_once", "every_schedule")
LEFT_OUT = ("scheduler", "servers")
LEFT_OUT_TESTS = "not a_thousand and not (nobody_waits_for_ever and (scope or 3-))"
"""What takes seconds and finds nothing else: of the schedules those of three writers and of cancelled scopes."""

PATIENCE = 8.0
"""How many times as long as without a mutant the tests may take; then they hang, which kills the mutant too."""

# A mutant need not be killed by the smallest example, and is to be killed by the same one again.
QUICK = """
from hypothesis import Phase
settings.register_profile(
    "mutants", settings.get_profile("core"), phases=[Phase.explicit, Phase.generate], derandomize=True, database=None
)
settings.load_profile("mutants")
"""


class Workshop:
    def __init__(self, place: Path) -> None:
        self._place = place
        self._usual: dict[str, float] = {}
        for folder in ("stale_retry", "tests/core", "tests/turns", "tests/adk"):
            shutil.copytree(ROOT / folder, place / folder, ignore=shutil.ignore_patterns("__pycache__"))
        for file in ("pyproject.toml", "tests/conftest.py"):
            shutil.copy(ROOT / file, place / file)
        with (place / "tests/core/conftest.py").open("a") as conftest:
            conftest.write(QUICK)

    def first_failure_without_a_mutant(self, *suites: str) -> str:
        """The first test that fails, and nothing if none does. From then on it is known how long they take."""
        for suite in suites:
            for batch in self._batches(suite):
                began = time.monotonic()
                failure = self._first_failure(batch)
                if failure:
                    return failure
                self._usual[batch[0]] = time.monotonic() - began
        return ""

    def first_failure(self, mutant: Mutant) -> str:
        """The first test that fails with the mutant, and nothing if it lives."""
        mutant.apply(self._place / "stale_retry")
        try:
            return next(filter(None, map(self._first_failure, self._batches(mutant.suite))), "")
        finally:
            shutil.copy(ROOT / "stale_retry" / mutant.file, self._place / "stale_retry" / mutant.file)

    def _batches(self, suite: str) -> list[list[str]]:
        folder = self._place / "tests" / suite
        tests = {file.stem.removeprefix("test_"): str(file) for file in sorted(folder.glob("test_*.py"))}
        first = [tests.pop(name) for name in FIRST if name in tests]
        last = [tests.pop(name) for name in LAST if name in tests]
        return [first, [file for name, file in tests.items() if name not in LEFT_OUT] + last]

    def _first_failure(self, files: list[str]) -> str:
        options = ["-x", "-q", "--tb=no", "-p", "no:cacheprovider", "-k", LEFT_OUT_TESTS]
        usual = self._usual.get(files[0])
        try:
            done = subprocess.run(
                [sys.executable, "-m", "pytest", *options, *files],
                cwd=self._place,
                env={**os.environ, "PYTHONPATH": str(self._place), "PYTHONDONTWRITEBYTECODE": "1"},
                capture_output=True,
                text=True,
                timeout=None if usual is None else 30 + math.ceil(usual * PATIENCE),
            )
        except subprocess.TimeoutExpired:
            return "they hang"
        if done.returncode == 0:
            return ""
        said = done.stdout.splitlines()
        failed = [line.split(" - ")[0] for line in said if line.startswith(("FAILED ", "ERROR "))]
        return failed[0] if failed else f"pytest ends with {done.returncode}: {said[-5:]} {done.stderr[-500:]}"
