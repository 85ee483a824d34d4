"""The command line: `stale-retry demo`.

A command is added to the parser by a function that takes the subparsers and sets `command`, a function of the parsed
options that returns the exit code.
"""

from __future__ import annotations

import argparse
import json
import logging
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

_DEMO = """Two races on one google-adk session in a database.

Appends: several writers append at the same time. When an append is rejected as
stale, they give up, retry three times at once, follow a fixed schedule (5 retries
after 0.5, 1, 1.5, 2 and 2.5 s), or use the defaults of stale-retry. Each writer
loads the session once and keeps it, as an agent runner does. Events that were
stored are counted by reading the database back.

Turns: messages arrive faster than they are answered, with google-adk alone, with
its appends retried, and with turns that run one at a time. A local model calls a
tool and checks each request against Gemini's rules.
"""
_EXIT_CODES = """exit codes:
  0    all is well
  1    an event was stored twice, a writer was told something false, or a queued
       turn was not answered
  2    a wrong option, a missing package, or a database that cannot be used
  130  interrupted
"""


class UsageError(Exception):
    """Raised for what the user can put right; the message is one line."""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message} (see {self.prog} --help)")


def run(arguments: Sequence[str]) -> int:
    """Run a command and return its exit code; a user's mistake is one line on standard error."""
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
    except BrokenPipeError:  # the reader has seen enough: write nothing more, at exit either
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    return result


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="stale-retry", description="Try out stale-retry.")
    parser.add_argument("--version", action="version", version=f"stale-retry {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND", parser_class=_Parser)
    _add_demo(commands)
    add_check(commands)
    return parser


def _add_demo(commands: Any) -> None:
    demo: argparse.ArgumentParser = commands.add_parser(
        "demo",
        help="show what becomes of writers and turns that race on one google-adk session",
        description=_DEMO,
        epilog=_EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    demo.add_argument("--writers", type=_count, default=10, metavar="N", help="writers at the same time (%(default)s)")
    demo.add_argument("--events", type=_count, default=3, metavar="N", help="appends of each writer (%(default)s)")
    demo.add_argument("--turns", type=_count, default=20, metavar="N", help="messages, one every 25 ms (%(default)s)")
    demo.add_argument(
        "--db",
        metavar="URL",
        help="an async SQLAlchemy URL, such as postgresql+asyncpg://user@host/name; the demo deletes its sessions "
        "when it ends (default: a new SQLite file)",
    )
    demo.add_argument("--plot", type=_plot_file, metavar="FILE", help="draw the appends in an svg or png file")
    demo.add_argument("--json", action="store_true", help="print the result as JSON and nothing else")
    demo.set_defaults(command=_demo)


def _count(text: str) -> int:
    try:
        number = int(text)
    except ValueError:
        number = 0
    if number < 1:
        raise argparse.ArgumentTypeError(f"must be a whole number, at least 1, got {text!r}")
    return number


def _plot_file(text: str) -> Path:
    file = Path(text)
    if file.suffix.lower() not in (".svg", ".png"):
        raise argparse.ArgumentTypeError(f"must end in .svg or .png, got {text!r}")
    if not file.parent.is_dir():
        raise argparse.ArgumentTypeError(f"there is no folder {str(file.parent)!r}")
    return file


def _demo(options: argparse.Namespace) -> int:
    # google-adk alone takes seconds to import, so this line comes first.
    print("stale-retry: starting the demo, which takes about half a minute", file=sys.stderr, flush=True)
    with _missing_package_in_one_line():
        from . import demo, report
        from .database import DatabaseUnreachable, async_url, shown
        from .turns import WAYS

        if options.plot:
            from .plot import save_plot
    # google-adk logs an unreachable database too; our own line is enough.
    logging.getLogger("google_adk").addHandler(logging.NullHandler())
    asked = {"writers": options.writers, "events": options.events, "turns": options.turns}
    sent: int = options.writers * options.events
    totals: dict[Any, int] = {**dict.fromkeys(demo.STRATEGIES, sent), **dict.fromkeys(WAYS, int(options.turns))}
    try:
        with report.progress(totals) as advance:
            runs, turns = demo.run_demo(options.db, **asked, on_done=advance)
    except DatabaseUnreachable as error:
        raise UsageError(str(error)) from error
    adk = version("google-adk")
    database = shown(async_url(options.db)) if options.db else "a new SQLite file"
    appends = f"{_plural(options.writers, 'writer')} at once, {_plural(options.events, 'event')} each, on one session"
    if options.json:
        strategies, ways = map(report.run_as_json, runs), map(report.turns_as_json, turns)
        result = {"google_adk": adk, "database": database, **asked, "strategies": [*strategies], "ways": [*ways]}
        print(json.dumps(result, indent=2))
    else:
        messages = f"{_plural(options.turns, 'message')}, one every 25 ms, each answered with a tool, on one session"
        report.print_demo(runs, appends, turns, messages, f"google-adk {adk}, {database}")
    if options.plot:
        try:
            save_plot(runs, f"{appends} in {database}; google-adk {adk}", options.plot)  # pyright: ignore[reportPossiblyUnboundVariable]
        except OSError as error:
            raise UsageError(f"cannot write {options.plot}: {error.strerror}") from error
        print(f"stale-retry: drew the appends in {options.plot}", file=sys.stderr)
    is_broken = any(map(report.broken_promises, runs)) or any(map(report.unanswered, turns))
    return BROKEN_PROMISE if is_broken else 0


@contextmanager
def _missing_package_in_one_line() -> Generator[None]:
    try:
        yield
    except ImportError as error:
        package = (error.name or "").partition(".")[0].replace("google", "google-adk")
        what = f"{package} is not installed" if isinstance(error, ModuleNotFoundError) else str(error)
        raise UsageError(f'{what}: pip install "stale-retry[demo]"') from error


def _plural(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"
