"""The result of the demo, for readers and for machines."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.text import Text

from .contention import Run
from .tables import Mark, Paper
from .turns import Outcome, Turns

_STORED, _LOST = Mark("█", "#", "green"), Mark("·", ".", "red")
_APPENDS = {_STORED: "stored", _LOST: "lost"}
_MARKS: dict[Outcome, Mark] = {
    "answered": _STORED,
    "mixed": Mark("▒", "~", "yellow"),
    "refused": Mark("x", "x", "red"),
    "lost": _LOST,
}
_TURNS: dict[Outcome, str] = {
    "answered": "answered",
    "mixed": "saw another's open question",
    "refused": "Gemini refuses it",
    "lost": "lost",
}
_APPENDS_WIDTH, _TURNS_WIDTH = 30, 20


@contextmanager
def progress(totals: Mapping[Any, int]) -> Generator[Any]:
    """On a terminal a bar for each strategy or way, elsewhere a line for each half of it; on standard error.

    Yields a function to call with the one that has advanced.
    """
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bars:
        tasks = {which: bars.add_task(which.title, total=total, start=False) for which, total in totals.items()}
        done = Counter[Any]()

        def advance(which: Any) -> None:
            bars.start_task(tasks[which])
            bars.advance(tasks[which])
            done[which] += 1
            if not console.is_terminal and done[which] in (totals[which] // 2, totals[which]):
                print(f"{which.title}: {done[which]} of {totals[which]}", file=sys.stderr, flush=True)

        yield advance


def print_demo(runs: Sequence[Run], appends: str, turns: Sequence[Turns], messages: str, caption: str) -> None:
    """Both tables, each under a line that says what ran."""
    paper = Paper()
    _print_runs(paper, runs, appends)
    paper.print("\n")
    _print_turns(paper, turns, messages)
    paper.print(Text(f"\n{caption}"))
    for title, text in [
        *((run.strategy.title, text) for run in runs for text in broken_promises(run)),
        *((each.way.title, text) for each in turns for text in unanswered(each)),
    ]:
        paper.print(Text(f"{title}: {text}", style="bold red"))


def _print_runs(paper: Paper, runs: Sequence[Run], caption: str) -> None:
    paper.print(Text(f"Appends: {caption}\n", style="bold"))
    rows = [
        (
            run.strategy.title,
            paper.bar([(run.stored, _STORED), (run.lost, _LOST)], _APPENDS_WIDTH),
            f"{run.lost} of {len(run.sent)}",
            str(run.append_calls),
            f"{run.seconds:.1f} s",
        )
        for run in runs
    ]
    paper.table(("", paper.legend(_APPENDS), "lost", "calls", "took"), rows)
    if not any(run.count("rejected") for run in runs):
        paper.print("\nNothing was rejected as stale, so there was nothing to retry.")


def _print_turns(paper: Paper, turns: Sequence[Turns], caption: str) -> None:
    paper.print(Text(f"Turns: {caption}\n", style="bold"))
    rows: list[tuple[str | Text, ...]] = [
        (
            each.way.title,
            paper.bar([(each.count(outcome), mark) for outcome, mark in _MARKS.items()], _TURNS_WIDTH),
            *(str(each.count(outcome)) for outcome in _MARKS),
            f"{each.seconds:.1f} s",
        )
        for each in turns
    ]
    paper.table(("", Text(), *_MARKS, "took"), rows)
    paper.print()
    paper.print(paper.legend({mark: _TURNS[outcome] for outcome, mark in _MARKS.items()}))


def broken_promises(run: Run) -> list[str]:
    """What no strategy may do, seen by reading the store back."""
    found = {
        "stored twice": run.stored_twice,
        "acknowledged, but not stored": run.acknowledged_but_missing,
        "refused, but stored": run.refused_but_stored,
    }
    return [f"{count} of {len(run.sent)} events were {what}" for what, count in found.items() if count]


def unanswered(turns: Turns) -> list[str]:
    """What may not happen in a queue."""
    count = len(turns.outcomes) - turns.count("answered")
    return (
        [f"{count} of {len(turns.outcomes)} turns were not answered on their own"] if turns.way.queues and count else []
    )


def run_as_json(run: Run) -> dict[str, Any]:
    return {
        "strategy": run.strategy.name,
        "sent": len(run.sent),
        "stored": run.stored,
        "lost": run.lost,
        "append_calls": run.append_calls,
        "reloads": run.count("reload"),
        "seconds": round(run.seconds, 4),
        "slowest_append": round(run.slowest_append, 4),
        "stored_twice": run.stored_twice,
        "acknowledged_but_missing": run.acknowledged_but_missing,
        "refused_but_stored": run.refused_but_stored,
        "errors": run.errors,
    }


def turns_as_json(turns: Turns) -> dict[str, Any]:
    return {
        "way": turns.way.name,
        "turns": len(turns.outcomes),
        **{outcome: turns.count(outcome) for outcome in _MARKS},
        "requests": turns.seen.requests,
        "requests_refused": len(turns.seen.refused),
        "requests_mixed": turns.seen.foreign,
        "seconds": round(turns.seconds, 4),
        "errors": turns.errors,
    }
