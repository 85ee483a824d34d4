"""The command `stale-retry check package.module:name`."""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import sys
from collections.abc import Iterable
from typing import Any

from ._check import Check
from ._check_store import CHECKS, PROCESSES, bench_for, run_checks
from ._processes import processes_check
from ._report import Finding, StoreReport, rows_of
from ._target import REQUIRED, TargetError, found, opened

_FAILED, _WRONG_USE = 1, 2


def add_parser(commands: Any) -> None:
    """Add `check` to the commands of `stale-retry`."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "check",
        help="whether the appends of your own store are safe to retry",
        description="Drive your own store through races, cancellations and lost answers, and tell what held. TARGET "
        "names a mapping with the arguments of stale_retry.testing.check_store, or a function that returns it: plain, "
        f"async, or an async context manager. It must have {', '.join(REQUIRED)}.",
        epilog="exit codes: 0 no check failed; 1 a check failed; 2 the store cannot be checked; 130 interrupted",
        allow_abbrev=False,
    )
    parser.add_argument("target", metavar="TARGET", help="package.module:name")
    parser.add_argument("--processes", type=int, default=1, metavar="N", help="write from N processes too")
    parser.add_argument("--writers", type=int, metavar="N", help="writers at once (8)")
    parser.add_argument("--seconds", type=float, metavar="S", help="for all checks together (30)")
    parser.add_argument("--seed", type=int, metavar="N", help="for what is left to chance (0)")
    parser.add_argument("--json", action="store_true", help="print the report as JSON, and nothing else")
    parser.set_defaults(command=run)


def run(options: argparse.Namespace) -> int:
    """Check a store and return the exit code; what is wrong with its description is one line on standard error."""
    try:
        if options.processes < 1:
            raise TargetError(f"--processes must be at least 1, got {options.processes}")
        report = asyncio.run(_check(options))
    except TargetError as error:
        print(f"stale-retry: {error}", file=sys.stderr)  # noqa: T201
        return _WRONG_USE
    if options.json:
        print(json.dumps(report.as_dict(), indent=2))  # noqa: T201
    else:
        print(f"\n{report.summary()}")  # noqa: T201
    return 0 if report else _FAILED


async def _check(options: argparse.Namespace) -> StoreReport:
    # The retries of the checks are meant; a line for each of them would hide the report.
    logging.getLogger("stale_retry").addHandler(logging.NullHandler())
    checks: Iterable[Check] = CHECKS
    if options.processes > 1:
        several = processes_check(options.target, options.processes)
        checks = [several if check is PROCESSES else check for check in CHECKS]
    async with opened(options.target, found(options.target)) as mapping:
        asked = {name: getattr(options, name) for name in ("writers", "seconds", "seed")}
        mapping.update({name: value for name, value in asked.items() if value is not None})
        try:
            bench = bench_for(mapping)
        except (TypeError, ValueError) as error:
            raise TargetError(str(error)) from error
        return await run_checks(bench, checks=checks, tell=_to_nobody if options.json else _as_rows)


def _as_rows(finding: Finding) -> None:
    print("\n".join(rows_of(finding)), flush=True)  # noqa: T201


def _to_nobody(finding: Finding) -> None:
    pass
