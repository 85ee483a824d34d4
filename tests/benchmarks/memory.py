"""Whether time and memory stay flat over a million calls: `python tests/benchmarks/memory.py`. Prints, never judges.

Timed first; then once more with every allocation traced, which is slower and therefore not timed.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import resource
import time
import tracemalloc
from array import array
from collections.abc import Awaitable, Callable
from typing import Any

from stale_retry import StaleSessionError, StaleSessionRetrying, constant

Append = Callable[[Any, Any], Awaitable[Any]]
PARTS = 10


class Session:
    """Not shared by two calls, so that one kept by mistake is seen."""

    def __init__(self) -> None:
        self.history = bytes(1000)


async def refresh(session: Session) -> Session:
    return Session()


retrying = StaleSessionRetrying(refresh, backoff=constant(0), jitter=None, observers=())


@retrying
async def append_at_once(session: Session, event: Any) -> Any:
    return event


rejected = False


@retrying
async def append_rejected_once(session: Session, event: Any) -> Any:
    global rejected
    rejected = not rejected
    if rejected:
        raise StaleSessionError
    return event


async def make(append: Append, calls: int) -> None:
    for _ in range(calls):
        await append(Session(), object())


async def show(title: str, append: Append, calls: int) -> None:
    part = calls // PARTS
    await make(append, part // 10)
    # Without the garbage collector: what only a collection would free shows as growth.
    gc.collect()
    gc.disable()
    seconds, resident = [], []
    growth, peaks = array("q", [0] * PARTS), array("q", [0] * PARTS)  # so that noting a figure allocates nothing
    for _ in range(PARTS):
        began = time.perf_counter()
        await make(append, part)
        seconds.append(time.perf_counter() - began)
        resident.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
    tracemalloc.start()
    await make(append, part // 10)
    tracemalloc.reset_peak()
    before, _ = tracemalloc.get_traced_memory()
    for number in range(PARTS):
        await make(append, part)
        now, peak = tracemalloc.get_traced_memory()
        growth[number], peaks[number] = now - before, peak - before
    tracemalloc.stop()
    gc.enable()
    print(f"\n{title}: {calls:,} calls in {sum(seconds):.2f} s, the garbage collector off")
    print(f"{'calls':>12}{'seconds':>10}{'peak resident, MiB':>20}{'allocated more, B':>19}{'peak of that, B':>17}")
    for number, row in enumerate(zip(seconds, resident, growth, peaks, strict=True), start=1):
        taken, rss, more, peak = row
        print(f"{number * part:12,}{taken:10.3f}{rss / 1024:20.1f}{more:19,}{peak:17,}")


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--calls", type=int, default=1_000_000, help="calls that succeed at once (%(default)s)")
    options = parser.parse_args()
    await show("appends that succeed at once", append_at_once, options.calls)
    await show("appends rejected once", append_rejected_once, max(PARTS * 10, options.calls // 20))


if __name__ == "__main__":
    asyncio.run(main())
