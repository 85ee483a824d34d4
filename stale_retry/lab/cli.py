"""The command line: `python -m stale_retry demo` and `simulate`."""

from __future__ import annotations

import argparse
import json
import logging
import math
import os
import sys
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any, NoReturn

from .. import __version__
from ..testing._cli import add_parser as add_check

INTERRUPTED = 130
WRONG_USE = 2
BROKEN_PROMISE = 1

_EXIT_CODES = (
    "exit codes: 0 done; 1 the store holds an event twice, or not what its writer was told, or a turn in "
    "the queue was not answered; 2 a wrong option, a missing package or a database that cannot be used; 130 interrupted"
)


class UsageError(Exception):
    """Raised for whatever a user can put right; the message is one line."""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message} (see {self.prog} --help)")


def run(arguments: Sequence[str]) -> int:
    """Run a command and return its exit code; a mistake of the user is one line on standard error."""
    try:
        options = _parser().parse_args(arguments)
        result: int = options.command(options)
        sys.stdout.flush()
    except UsageError as error:
        print(f"stale-retry: {error}", file=sys.stderr)
        return WRONG_USE
    except KeyboardInterrupt:
        print("stale-retry: interrupted", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:  # the reader has seen enough; nothing more is to be written, at exit neither
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    return result


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="stale-retry", description="Contention on one session, to look at.")
    parser.add_argument("--version", action="version", version=f"stale-retry {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND", parser_class=_Parser)

    demo = commands.add_parser(
        "demo",
        help="appends under four strategies, and turns with and without a queue, on one google-adk session",
        description="Several writers append to one google-adk session in a database at the same time: without retry, "
        "with three immediate retries, with the classic schedule (5 retries after 0.5, 1, 1.5, 2, 2.5 s) and with our "
        "defaults. Each writer loads the session once and keeps it, as an agent runner does. What is stored is counted "
        "by reading the database back. Then whole turns of one conversation, sent faster than they are answered: with "
        "google-adk alone, with its appends retried, and one turn at a time. Their model is a local one that calls a "
        "tool and checks each request by the rules of form that Gemini has.",
        epilog=_EXIT_CODES,
        allow_abbrev=False,
    )
    demo.add_argument("--writers", type=_count, default=10, metavar="N", help="writers at the same time (%(default)s)")
    demo.add_argument("--events", type=_count, default=3, metavar="N", help="appends of each writer (%(default)s)")
    demo.add_argument("--turns", type=_count, default=20, metavar="N", help="messages, one every 25 ms (%(default)s)")
    demo.add_argument(
        "--db",
        metavar="URL",
        help="any async SQLAlchemy URL, such as postgresql+asyncpg://user@host/name; the sessions made in it are "
        "removed again (default: a new SQLite file)",
    )
    demo.add_argument("--plot", type=_plot_file, metavar="FILE", help="draw the appends into an svg or png file")
    demo.add_argument("--json", action="store_true", help="print the result as JSON, and nothing else")
    demo.set_defaults(command=_demo)

    simulate = commands.add_parser(
        "simulate",
        help="many writers under more strategies, in virtual time and without a database",
        description="Writers append to one session in a store behind a simulated network, in virtual time: the share "
        "of appends lost, the seconds until the last writer is done, and those of the slowest append. The retries are "
        "the real ones, on an event loop whose clock jumps. The same options give the same result.",
        epilog=_EXIT_CODES,
        allow_abbrev=False,
    )
    simulate.add_argument(
        "--writers",
        type=_counts,
        default=[10, 20, 50, 100, 200],
        metavar="N[,N...]",
        help="numbers of writers (10,20,50,100,200)",
    )
    simulate.add_argument("--events", type=_count, default=3, metavar="N", help="appends of each writer (%(default)s)")
    simulate.add_argument(
        "--latency",
        type=_seconds,
        default=0.01,
        metavar="SECONDS",
        help="mean round trip to the store; each way takes 40 %% more or less (%(default)s)",
    )
    simulate.add_argument("--seeds", type=_count, default=8, metavar="N", help="runs to average over (%(default)s)")
    simulate.add_argument(
        "--plot", type=_plot_file, metavar="FILE", help="draw writers against seconds and calls into an svg or png file"
    )
    simulate.add_argument("--json", action="store_true", help="print the result as JSON, and nothing else")
    simulate.set_defaults(command=_simulate)
    add_check(commands)
    return parser


def _count(text: str) -> int:
    try:
        number = int(text)
    except ValueError:
        number = 0
    if number < 1:
        raise argparse.ArgumentTypeError(f"must be a whole number, at least 1, got {text!r}")
    return number


def _counts(text: str) -> list[int]:
    return [_count(part) for part in text.split(",")]


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds < math.inf:
        raise argparse.ArgumentTypeError(f"must be seconds, 0 or more, got {text!r}")
    return seconds


def _plot_file(text: str) -> Path:
    file = Path(text)
    if file.suffix.lower() not in (".svg", ".png"):
        raise argparse.ArgumentTypeError(f"must end in .svg or .png, got {text!r}")
    if not file.parent.is_dir():
        raise argparse.ArgumentTypeError(f"there is no folder {str(file.parent)!r}")
    return file


def _demo(options: argparse.Namespace) -> int:
    # Everything that the run needs is imported before it starts, so that a missing package is told at once.
    with _missing_package_in_one_line():
        from . import demo, report
        from .database import DatabaseUnreachable, async_url, shown
        from .turns import WAYS

        if options.plot:
            from .plot import save_plot
    # What google-adk logs of an unreachable database would come before our own line on it.
    logging.getLogger("google_adk").addHandler(logging.NullHandler())
    sent: int = options.writers * options.events
    totals: dict[Any, int] = {**dict.fromkeys(demo.STRATEGIES, sent), **dict.fromkeys(WAYS, int(options.turns))}
    try:
        with report.progress(totals) as advance:
            asked = {"writers": options.writers, "events": options.events, "turns": options.turns}
            runs, turns = demo.run_demo(options.db, **asked, on_done=advance)
    except DatabaseUnreachable as error:
        raise UsageError(str(error)) from error
    adk = version("google-adk")
    database = shown(async_url(options.db)) if options.db else "a new SQLite file"
    appends = f"{_plural(options.writers, 'writer')} at once, {_plural(options.events, 'event')} each, on one session"
    if options.json:
        strategies, ways = map(report.run_as_json, runs), map(report.turns_as_json, turns)
        _print_json({"google_adk": adk, "database": database, **asked, "strategies": [*strategies], "ways": [*ways]})
    else:
        messages = f"{_plural(options.turns, 'message')}, one every 25 ms, each answered with a tool, on one session"
        report.print_demo(runs, appends, turns, messages, f"google-adk {adk}, {database}")
    if options.plot:
        with _plot_that_cannot_be_written_in_one_line(options.plot):
            save_plot(runs, f"{appends} in {database}; google-adk {adk}", options.plot)  # pyright: ignore[reportPossiblyUnboundVariable]
    is_broken = any(map(report.broken_promises, runs)) or any(map(report.unanswered, turns))
    return BROKEN_PROMISE if is_broken else 0


def _simulate(options: argparse.Namespace) -> int:
    with _missing_package_in_one_line():
        from . import report, simulation

        if options.plot:
            from .plot import save_simulation
    asked = {
        "writers": options.writers,
        "events": options.events,
        "latency": options.latency,
        "seeds": options.seeds,
    }
    caption = (
        f"{_plural(options.events, 'event')} a writer, {1000 * options.latency:g} ms network, "
        f"{_plural(options.seeds, 'seed')}"
    )
    runs_of_each: int = len(options.writers) * options.seeds
    with report.progress(dict.fromkeys(simulation.STRATEGIES, runs_of_each)) as advance:
        results = simulation.simulate(**asked, on_run=advance)
    if options.json:
        _print_json({**asked, "strategies": report.simulation_as_json(results)})
    else:
        report.print_simulation(results, caption)
    if options.plot:
        with _plot_that_cannot_be_written_in_one_line(options.plot):
            save_simulation(results, caption, options.plot)  # pyright: ignore[reportPossiblyUnboundVariable]
    return BROKEN_PROMISE if any(report.broken_promises(run) for result in results for run in result.runs) else 0


@contextmanager
def _missing_package_in_one_line() -> Generator[None]:
    try:
        yield
    except ImportError as error:
        what = f"{error.name} is not installed" if isinstance(error, ModuleNotFoundError) else str(error)
        raise UsageError(f'{what}: pip install "stale-retry[demo]"') from error


@contextmanager
def _plot_that_cannot_be_written_in_one_line(file: Path) -> Generator[None]:
    try:
        yield
    except OSError as error:
        raise UsageError(f"cannot write {file}: {error.strerror}") from error


def _plural(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def _print_json(result: dict[str, Any]) -> None:
    print(json.dumps(result, indent=2))
