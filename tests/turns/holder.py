"""A process that takes turns: `python -m turns.holder KIND URL TIMEOUT KEY COUNT SECONDS`.

It says "began" and "ended" of each turn with the server's or this machine's time, one line each, and "waiting" first.
"""

from __future__ import annotations

import asyncio
import sys
import time

from stale_retry.turns import TurnQueue, redis_lease, sql_lease


def open_lease(kind, url, **options):
    return redis_lease(url, **options) if kind == "redis" else sql_lease(url, **options)


def say(*words):
    sys.stdout.write(" ".join(map(str, words)) + "\n")
    sys.stdout.flush()


async def main(kind, url, timeout, key, count, seconds):
    lease = open_lease(kind, url, timeout=float(timeout), poll=0.05)
    turns = TurnQueue(shared=lease, longest=None, deadline=60, observers=())

    async def turn(number):
        async with turns(key):
            say("began", time.monotonic(), number)
            await asyncio.sleep(float(seconds))
            say("ended", time.monotonic(), number)

    say("waiting")
    await asyncio.gather(*(turn(number) for number in range(int(count))))


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
