"""Every recipe of docs/recipes under contention: what is lost without retries and with, and what it takes.

    python tests/benchmarks/stores.py
    python tests/benchmarks/stores.py redis.md nats.md

Ten writers append five events each to one chat, on the servers that the tests start. A store whose server or client is
missing is named at the end. Exits with 1 if an event is lost or stored twice with retries.
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
from stores.recipes import ALL, EVENTS, WRITERS, Recipe, programs, recipe

SENT = WRITERS * EVENTS


@dataclass
class Run:
    """What ten writers made of their fifty events."""

    lost: int
    twice: int
    calls: float

    @property
    def is_right(self) -> bool:
        return self.lost == self.twice == 0


async def run(program: Recipe) -> Run:
    chat = uuid4().hex
    async with program.open(chat) as handle:
        acknowledged, _ = await program.contend(handle, chat)
        stored = Counter(await program.read(handle, chat))
    return Run(
        lost=SENT - len(stored),
        twice=sum(stored.values()) - len(stored),
        calls=(len(acknowledged) + program.retries) / SENT,
    )


def decorators(source: str) -> list[ast.Call]:
    functions = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.AsyncFunctionDef)]
    return [
        decorator
        for function in functions
        for decorator in function.decorator_list
        if isinstance(decorator, ast.Call) and ast.unparse(decorator.func).startswith("retry_")
    ]


def lines_of(source: str) -> int:
    """The lines that retrying adds to a program, its import apart: those of the decorator, or one around the store."""
    return sum(each.end_lineno - each.lineno + 1 for each in decorators(source) if each.end_lineno) or 1


def is_recognised(source: str) -> bool:
    """Whether `on=` names nothing that is this store's own."""
    on = {ast.unparse(keyword.value) for each in decorators(source) for keyword in each.keywords if keyword.arg == "on"}
    return on <= {"retry_if_conflict()"}


async def main(pages: list[str]) -> int:
    missing, wrong = [], 0
    print("| recipe | lost without, of 50 | lost with | calls per event | without gate | lines | known without `on=` |")
    print("|---|---:|---:|---:|---:|---:|---|")
    with servers.Places() as places:
        for page, number in ALL:
            if pages and page not in pages:
                continue
            source = programs(page)[number]
            try:
                os.environ.update(places.environment(source))
            except servers.MissingError as error:
                missing.append(f"{page}: {error}")
                continue
            bare, ours, ungated = (recipe(page, number) for _ in range(3))
            bare.bare()
            ungated.without_gate()
            lost, kept, free = await run(bare), await run(ours), await run(ungated)
            wrong += not (kept.is_right and free.is_right)
            name = page.removesuffix(".md") + (f" ({number + 1})" if number else "")
            known = "yes" if is_recognised(source) else "no"
            took = f"{kept.calls:.2f} | {free.calls:.2f} | {lines_of(source)}"
            print(f"| {name} | {lost.lost} | {kept.lost} | {took} | {known} |", flush=True)
    for line in missing:
        print(f"not run: {line}")
    return 1 if wrong else 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pages", nargs="*", metavar="PAGE")
    logging.disable(logging.CRITICAL)
    sys.exit(asyncio.run(main(parser.parse_args().pages)))
