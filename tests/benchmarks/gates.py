"""What a shared gate costs: `python tests/benchmarks/gates.py`. Prints, never judges.

First one contender alone: entering and leaving, the kinds by turns, medians. Then several processes at one gate, each
holding it for as long as an append takes: what passes through in a second, and how long they wait.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import platform
import statistics
import subprocess
import sys
import time
from contextlib import AsyncExitStack
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from gates.kinds import KINDS, Session, opened
from gates.servers import PostgresLocks, RedisLocks

HOLD = 0.003
CONTENDED = ["sqlalchemy+asyncpg", "asyncpg", "redis"]


async def once(gate, session: Session, hold: float = 0.0) -> float:
    """The seconds that entering and leaving took; with `hold`, entering alone."""
    began = time.perf_counter()
    async with gate(session):
        if hold:
            entered = time.perf_counter()
            await asyncio.sleep(hold)
    return (entered if hold else time.perf_counter()) - began


async def alone(urls: dict[str, str], rounds: int, each: int) -> None:
    print(f"entering and leaving alone, median of {rounds} x {each}, milliseconds")
    async with AsyncExitStack() as stack:
        gates = {kind: await stack.enter_async_context(opened(kind, urls[kind])) for kind in KINDS}
        took: dict[str, list[float]] = {kind: [] for kind in KINDS}
        for _ in range(rounds):
            for kind, gate in gates.items():
                took[kind] += [await once(gate, Session("alone")) for _ in range(each)]
    for kind, times in took.items():
        print(f"  {kind:20} {1000 * statistics.median(times):6.2f}")


async def contend(kind: str, url: str, seconds: float) -> list[float]:
    """The waits of one process that comes again and again."""
    async with opened(kind, url) as gate:
        await once(gate, Session("warm"))
        print("ready", flush=True)
        await asyncio.to_thread(sys.stdin.readline)
        end = time.monotonic() + seconds
        waits = []
        while time.monotonic() < end:
            waits.append(await once(gate, Session("shared"), HOLD))
        return waits


def together(kind: str, url: str, processes: int, seconds: float) -> None:
    command = [sys.executable, __file__, "--contend", kind, url, "--seconds", str(seconds)]
    crew = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(processes)
    ]
    for one in crew:
        one.stdout.readline()
    for one in crew:
        one.stdin.write("go\n")
        one.stdin.flush()
    each = [json.loads(one.communicate()[0]) for one in crew]
    waits = sorted(wait for those in each for wait in those)
    turns = [len(those) for those in each]
    print(
        f"  {kind:20} {processes:2} processes: {len(waits) / seconds:6.0f}/s, each {min(turns)} to {max(turns)}, "
        f"waits median {1000 * statistics.median(waits):.1f}, 99 % {1000 * waits[len(waits) * 99 // 100]:.1f}, "
        f"longest {1000 * waits[-1]:.1f} ms"
    )


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--each", type=int, default=25)
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--processes", type=int, nargs="+", default=[2, 4, 8])
    parser.add_argument("--contend", nargs=2, metavar=("KIND", "URL"))
    options = parser.parse_args()
    if options.contend:
        print(json.dumps(asyncio.run(contend(*options.contend, options.seconds))))
        return
    postgres, redis = PostgresLocks(), RedisLocks()
    urls = {kind: redis.url if kind == "redis" else postgres.url for kind in KINDS}
    try:
        print(f"Python {platform.python_version()}, both servers on this machine, over Unix sockets")
        asyncio.run(alone(urls, options.rounds, options.each))
        print(f"together, each holding it for {1000 * HOLD:.0f} ms")
        for kind in CONTENDED:
            for processes in options.processes:
                together(kind, urls[kind], processes, options.seconds)
    finally:
        redis.close()
        postgres.close()


if __name__ == "__main__":
    main()
