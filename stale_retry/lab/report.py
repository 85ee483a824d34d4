"""What a reader, or a machine, is shown of the runs."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.text import Text

from .contention import Run
from .simulation import Simulated
from .strategies import Strategy
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
    """A bar for each strategy or way on a terminal, nothing elsewhere.

    Yields a function to call with the one that has advanced.
    """
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bars:
        tasks = {which: bars.add_task(which.title, total=total, start=False) for which, total in totals.items()}

        def advance(which: Any) -> None:
            bars.start_task(tasks[which])
            bars.advance(tasks[which])

        yield advance


def print_demo(runs: Sequence[Run], appends: str, turns: Sequence[Turns], messages: str, caption: str) -> None:
    """Both tables, each under a line that says what was done."""
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
    if not any(run.rejected for run in runs):
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


def print_simulation(results: Sequence[Simulated], caption: str) -> None:
    """The same for the simulation: a column for each number of writers."""
    by_strategy: dict[Strategy, list[Simulated]] = {}
    for result in results:
        by_strategy.setdefault(result.strategy, []).append(result)
    rows: list[tuple[str | Text, ...]] = [
        (strategy.title, *map(_simulated, row)) for strategy, row in by_strategy.items()
    ]
    writers = [f"{result.writers}\nwriters" for result in next(iter(by_strategy.values()))]
    paper = Paper()
    paper.table(("strategy", *writers), rows)
    told = "appends lost, seconds until the last writer is done, seconds of the slowest append"
    paper.print(Text(f"\n{told}; {caption}"))


def _simulated(result: Simulated) -> Text:
    lines = f"{result.lost:.1%}", f"{result.seconds:.1f} s", f"{result.slowest:.1f} s"
    return Text("\n".join(lines), style="red" if result.lost else "green")


def broken_promises(run: Run) -> list[str]:
    """What no strategy may do, found by reading the store back."""
    found = {
        "stored twice": run.stored_twice,
        "acknowledged, but not stored": run.acknowledged_but_missing,
        "refused, but stored": run.refused_but_stored,
    }
    return [f"{count} of {len(run.sent)} events were {what}" for what, count in found.items() if count]


def unanswered(turns: Turns) -> list[str]:
    """What no queue may do."""
    count = len(turns.outcomes) - turns.count("answered")
    return (
        [f"{count} of {len(turns.outcomes)} turns were not answered by themselves"]
        if turns.way.queues and count
        else []
    )


def run_as_json(run: Run) -> dict[str, Any]:
    return {
        "strategy": run.strategy.name,
        "sent": len(run.sent),
        "stored": run.stored,
        "lost": run.lost,
        "append_calls": run.append_calls,
        "reloads": run.reloads,
        "seconds": round(run.seconds, 4),
        "append_of_the_99th_percentile": round(run.append_of_the_99th_percentile, 4),
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


def simulation_as_json(results: Sequence[Simulated]) -> list[dict[str, Any]]:
    return [
        {
            "strategy": result.strategy.name,
            "writers": result.writers,
            "lost_share": round(result.lost, 4),
            "seconds": round(result.seconds, 4),
            "slowest_append": round(result.slowest, 4),
            "append_calls_per_event": round(result.calls, 4),
        }
        for result in results
    ]
