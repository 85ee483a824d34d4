"""Runners on one conversation, bare and in a turn queue: what is kept, and what is in order.

    python tests/benchmarks/runners.py
    python tests/benchmarks/runners.py LangGraph

Ten clients send five messages each at once, through the code of docs/how-to/queue-for-your-runner.md. Models answer
in a few milliseconds. Prints the page's table. Exits with 1 if a queued run loses a message, or an answer is not next
to its question.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import sys
import warnings
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from stores import servers
from stores.runners import NEEDS, RUNNERS, SENT, converse

from stale_retry.turns import TurnQueue


async def main(names: list[str]) -> int:
    missing, wrong = [], 0
    print(f"| runner | kept of {SENT}, bare | in order, bare | kept, queued | in order, queued |")
    print("|---|---:|---:|---:|---:|")
    for name in names or RUNNERS:
        try:
            servers.need(NEEDS[name][0], wheel=NEEDS[name][1])
        except servers.MissingError as error:
            missing.append(str(error))
            continue
        bare = await converse(name, None)
        queued = await converse(name, TurnQueue(longest=None, observers=()))
        wrong += not queued.kept == queued.in_order == queued.answered == SENT
        print(f"| {name} | {bare.kept} | {bare.in_order} | {queued.kept} | {queued.in_order} |", flush=True)
    for line in missing:
        print(f"not run: {line}")
    return 1 if wrong else 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="RUNNER")
    logging.disable(logging.CRITICAL)
    warnings.simplefilter("ignore")
    sys.exit(asyncio.run(main(parser.parse_args().names)))
