"""What `check_store` found."""

from __future__ import annotations

import textwrap
from collections import Counter
from dataclasses import asdict, dataclass
from typing import Any, Literal

Verdict = Literal["passed", "failed", "could not run"]
_WIDTH = 112


@dataclass(frozen=True)
class Finding:
    """One check of a store.

    Attributes:
        check: its name.
        promise: what holds for a store that passes.
        verdict: "passed", "failed" or "could not run".
        seen: what was seen; for a check that could not run, why.
        meaning: what it means for users of a store that fails.
        cure: what to do about it.
    """

    check: str
    promise: str
    verdict: Verdict
    seen: str
    meaning: str
    cure: str


@dataclass(frozen=True)
class StoreReport:
    """What `check_store` returns. It is false when a check failed, and prints as a table.

    Attributes:
        findings: one for each check, in order.
        seconds: what all of it took.
        seed: the seed of the run.
        left_behind: sessions that were created and not deleted.
    """

    findings: tuple[Finding, ...]
    seconds: float
    seed: int
    left_behind: int = 0

    def __bool__(self) -> bool:
        return not self.failed

    @property
    def failed(self) -> tuple[str, ...]:
        """The names of the checks that failed."""
        return self._named("failed")

    @property
    def could_not_run(self) -> tuple[str, ...]:
        """The names of the checks that say nothing about the store, because they could not run to their end."""
        return self._named("could not run")

    def _named(self, verdict: Verdict) -> tuple[str, ...]:
        return tuple(finding.check for finding in self.findings if finding.verdict == verdict)

    def __str__(self) -> str:
        return "\n".join([*(line for finding in self.findings for line in rows_of(finding)), "", self.summary()])

    def summary(self) -> str:
        """One line: how many checks passed, failed and could not run."""
        count = Counter(finding.verdict for finding in self.findings)
        left = f"; {self.left_behind} sessions left in the store" if self.left_behind else ""
        return (
            f"{count['passed']} passed, {count['failed']} failed, {count['could not run']} could not run "
            f"({self.seconds:.1f} s, seed {self.seed}{left})"
        )

    def as_dict(self) -> dict[str, Any]:
        """The same as plain values, for JSON."""
        return {
            "passed": bool(self),
            "seconds": round(self.seconds, 3),
            "seed": self.seed,
            "left_behind": self.left_behind,
            "findings": [asdict(finding) for finding in self.findings],
        }


def rows_of(finding: Finding) -> list[str]:
    """A finding as lines of the table: verdict, check, what was seen; if it failed, also the meaning and the cure."""
    mark = "FAILED" if finding.verdict == "failed" else finding.verdict
    lines = _wrapped(f"{mark:<14}{finding.check:<20}", finding.seen)
    if finding.verdict == "failed":
        lines += _wrapped(f"{'':<14}{'  should be':<20}", finding.promise)
        lines += _wrapped(f"{'':<14}{'  means':<20}", finding.meaning)
        lines += _wrapped(f"{'':<14}{'  do':<20}", finding.cure)
    return lines


def _wrapped(start: str, text: str) -> list[str]:
    return textwrap.wrap(
        text, _WIDTH, initial_indent=start, subsequent_indent=" " * len(start), break_on_hyphens=False
    ) or [start.rstrip()]
