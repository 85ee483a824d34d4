"""What a reader, or a machine, is shown of the runs."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import contextmanager
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from .contention import Run
from .simulation import Simulated
from .strategies import Strategy

COLUMNS = ("strategy", "stored of sent", "lost", "append calls", "reloads", "seconds", "99 % took", "slowest append")
_TWO_LINES = {
    "stored of sent": "stored\nof sent",
    "append calls": "append\ncalls",
    "reloads": "re-\nloads",
    "99 % took": "99 %\ntook",
    "slowest append": "slowest\nappend",
}
_NO_LIMIT = 1000


@contextmanager
def progress(strategies: Sequence[Strategy], sent: int) -> Generator[Any]:
    """A bar for each strategy on a terminal, nothing elsewhere. Yields a function to call after each append."""
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bars:
        tasks = {strategy: bars.add_task(strategy.title, total=sent, start=False) for strategy in strategies}

        def advance(strategy: Strategy) -> None:
            bars.start_task(tasks[strategy])
            bars.advance(tasks[strategy])

        yield advance


def print_runs(runs: Sequence[Run], caption: str) -> None:
    """A table where the terminal is wide enough, otherwise one block a strategy."""
    console = _Console(highlight=False)
    rows = [_row(run) for run in runs]
    _print_table(console, COLUMNS, rows, ["red" if run.lost else "green" for run in runs], caption)
    if not any(run.rejected for run in runs):
        console.print("Nothing was rejected as stale, so there was nothing to retry.")
    for run in runs:
        for text in broken_promises(run):
            console.print(Text(f"{run.strategy.title}: {text}", style="bold red"))


def print_simulation(results: Sequence[Simulated], caption: str) -> None:
    """The same for the simulation: a column for each number of writers."""
    by_strategy: dict[Strategy, list[Simulated]] = {}
    for result in results:
        by_strategy.setdefault(result.strategy, []).append(result)
    cells = [
        [f"{result.lost:.1%}\n{result.seconds:.1f} s\n{result.slowest:.1f} s" for result in row]
        for row in by_strategy.values()
    ]
    rows = [(strategy.title, *row) for strategy, row in zip(by_strategy, cells, strict=True)]
    styles = ["red" if any(result.lost for result in row) else "green" for row in by_strategy.values()]
    writers = [f"{result.writers}\nwriters" for result in next(iter(by_strategy.values()))]
    _print_table(
        _Console(highlight=False),
        ("strategy", *writers),
        rows,
        styles,
        f"appends lost, seconds until the last writer is done, seconds of the slowest append; {caption}",
    )


def _print_table(
    console: _Console, columns: Sequence[str], rows: Sequence[Sequence[str]], styles: Sequence[str], caption: str
) -> None:
    table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    for number, column in enumerate(columns):
        table.add_column(_TWO_LINES.get(column, column), justify="right" if number else "left", no_wrap=True)
    for row, style in zip(rows, styles, strict=True):
        table.add_row(*row, style=style)
    if console.measure(table, options=console.options.update(width=_NO_LIMIT)).maximum <= console.width:
        console.print(table)
    else:
        columns = [column.replace("\n", " ") for column in columns]
        for row in rows:
            console.print(Text(row[0], style="bold"))
            for column, value in zip(columns[1:], row[1:], strict=True):
                console.print(Text(f"  {column}: {value}".replace("\n", ", ")))
    console.print(Text(caption))


class _Console(Console):
    def on_broken_pipe(self) -> None:
        raise BrokenPipeError  # left to the command line, which knows the exit code


def _row(run: Run) -> tuple[str, ...]:
    return (
        run.strategy.title,
        f"{run.stored} of {len(run.sent)}",
        str(run.lost),
        str(run.append_calls),
        str(run.reloads),
        f"{run.seconds:.2f}",
        f"{run.append_of_the_99th_percentile:.2f}",
        f"{run.slowest_append:.2f}",
    )


def broken_promises(run: Run) -> list[str]:
    """What no strategy may do, found by reading the store back."""
    found = {
        "stored twice": run.stored_twice,
        "acknowledged, but not stored": run.acknowledged_but_missing,
        "refused, but stored": run.refused_but_stored,
    }
    return [f"{count} of {len(run.sent)} events were {what}" for what, count in found.items() if count]


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
