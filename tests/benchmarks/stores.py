"""Every recipe of docs/recipes under contention and faults: what is lost without retries, and what is stored with them.

    python tests/benchmarks/stores.py
    python tests/benchmarks/stores.py redis.md nats.md

Ten writers append five events each to one chat, on the servers that the tests start: without retries; with them;
without the queue; while every seventh request that stores loses its answer, five times; and while the server breaks all
connections and refuses new ones for half a second. A store whose server or client is missing is named at the end. Exits
with 1 if, with retries, an event is stored twice, or lost without its writer being told.
"""

from __future__ import annotations

import argparse
import ast
import asyncio
import logging
import os
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

sys.path.insert(0, str(Path(__file__).parents[1]))

from stores import servers
from stores.lossy import Lossy, server_of, what_stores
from stores.recipes import ALL, EVENTS, VARIANTS, WRITERS, Recipe, source_of

SENT = WRITERS * EVENTS


@dataclass
class Run:
    """What ten writers made of their fifty events."""

    lost: int
    twice: int
    calls: float
    told: int

    @property
    def is_right(self) -> bool:
        """Whether each event is stored once, or its writer was told."""
        return self.twice == 0 and self.lost <= self.told


async def run(program: Recipe, lossy: Lossy | None = None, restart: bool = False) -> Run:
    chat = uuid4().hex
    async with program.open(chat) as handle:
        if lossy is not None:
            lossy.armed = not restart
        fault = asyncio.ensure_future(_restart(lossy)) if lossy is not None and restart else None
        acknowledged, errors = await program.contend(handle, chat)
        if fault is not None:
            await fault
        if lossy is not None:
            lossy.armed = False
        stored = Counter(await program.read(handle, chat))
    return Run(
        lost=SENT - len(stored),
        twice=sum(stored.values()) - len(stored),
        calls=(len(acknowledged) + program.retries) / SENT,
        told=len(errors),
    )


async def _restart(lossy: Lossy) -> None:
    await asyncio.sleep(0.05)
    await lossy.fail_for(0.5)


async def through_a_proxy(page: str, source: str, restart: bool) -> Run | None:
    """None where the store is in this process."""
    try:
        variable = server_of(source)
    except ValueError:
        return None
    address = os.environ[variable]
    try:
        async with Lossy(address, what_stores(variable, source)) as lossy:
            os.environ[variable] = lossy.address
            return await run(Recipe(page, source), lossy, restart)
    finally:
        os.environ[variable] = address


def functions(source: str) -> list[ast.AsyncFunctionDef | ast.FunctionDef]:
    return [node for node in ast.walk(ast.parse(source)) if isinstance(node, (ast.AsyncFunctionDef, ast.FunctionDef))]


def decorators(source: str) -> list[ast.Call]:
    return [
        decorator
        for function in functions(source)
        for decorator in function.decorator_list
        if isinstance(decorator, ast.Call) and ast.unparse(decorator.func).startswith("retry_")
    ]


def lines_of(source: str) -> int:
    """The lines that retrying adds, imports apart: those of the decorators and of `find_stored`."""
    finders = [function for function in functions(source) if function.name == "find_stored"]
    spans = [*decorators(source), *finders]
    return sum(each.end_lineno - each.lineno + 1 for each in spans if each.end_lineno) + 2 * (not decorators(source))


def is_recognised(source: str) -> bool:
    """Whether no `on=` is written."""
    return not any(keyword.arg == "on" for each in decorators(source) for keyword in each.keywords)


async def measure(name: str | tuple[str, int]) -> tuple[bool, str]:
    """Whether all is right, and the row of the table."""
    page, source = (VARIANTS[name][0] if isinstance(name, str) else name[0]), source_of(name)
    bare, ours, free = (Recipe(page, source) for _ in range(3))
    bare.bare()
    free.without_queue()
    lost, kept, unqueued = await run(bare), await run(ours), await run(free)
    answers = await through_a_proxy(page, source, restart=False)
    restarted = await through_a_proxy(page, source, restart=True)
    runs = [each for each in (kept, unqueued, answers, restarted) if each is not None]
    title = (
        name.replace(".md", "")
        if isinstance(name, str)
        else page.removesuffix(".md") + f" ({name[1] + 1})" * bool(name[1])
    )
    cells = [
        title,
        lost.lost,
        kept.lost,
        "-" if answers is None else answers.twice,
        "-" if restarted is None else f"{SENT - restarted.lost}" + f", {restarted.told} told" * bool(restarted.told),
        f"{kept.calls:.2f}",
        f"{unqueued.calls:.2f}",
        lines_of(source),
        "yes" if is_recognised(source) else "no",
    ]
    return all(each.is_right for each in runs), "| " + " | ".join(map(str, cells)) + " |"


async def main(pages: list[str]) -> int:
    missing, wrong = [], 0
    print(
        "| recipe | lost bare, of 50 | lost with | stored twice with lost answers | stored after a restart, of 50 ",
        end="",
    )
    print("| calls per event | without the queue | lines | known without `on=` |")
    print("|---|---:|---:|---:|---:|---:|---:|---:|---|")
    with servers.Places() as places:
        for name in [*ALL, *VARIANTS]:
            page = VARIANTS[name][0] if isinstance(name, str) else name[0]
            if pages and page not in pages:
                continue
            try:
                os.environ.update(places.environment(source_of(name)))
            except servers.MissingError as error:
                missing.append(f"{page}: {error}")
                continue
            is_right, row = await measure(name)
            wrong += not is_right
            print(row, flush=True)
    for line in missing:
        print(f"not run: {line}")
    return 1 if wrong else 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pages", nargs="*", metavar="PAGE")
    logging.disable(logging.CRITICAL)
    sys.exit(asyncio.run(main(parser.parse_args().pages)))
