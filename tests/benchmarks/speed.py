"""What a decorated append costs, side by side: `python tests/benchmarks/speed.py`. Prints, never judges.

All contenders are measured in one run, in interleaved rounds, so that a busy machine troubles them alike; each figure
is the median of its rounds.
"""

from __future__ import annotations

import argparse
import asyncio
import functools
import platform
import statistics
import time
from collections.abc import Awaitable, Callable
from importlib.metadata import version
from typing import Any

import backoff
import opnieuw
import opnieuw.test_util
import stamina
import stamina.instrumentation
import tenacity

from stale_retry import StaleSessionError, StaleSessionRetrying, constant

Append = Callable[[Any, Any], Awaitable[Any]]
HAND_WRITTEN, HAND_WRITTEN_METHOD = "hand-written try/except", "hand-written, method"
TENACITY = "tenacity.retry"


async def refresh(session: Any) -> Any:
    return session


async def refresh_of_method(store: Any, session: Any) -> Any:
    return session


def contenders(bare: Append, bare_method: Callable[[Any, Any, Any], Awaitable[Any]]) -> dict[str, Append]:
    """The same append, retried up to six times without a wait by each."""
    retrying = StaleSessionRetrying(refresh, backoff=constant(0), jitter=None, max_attempts=6, observers=())

    async def hand_written(session: Any, event: Any) -> Any:
        try:
            return await bare(session, event)
        except StaleSessionError:
            session = await refresh(session)
        await asyncio.sleep(0)
        return await bare(session, event)

    async def hand_written_loop(session: Any, event: Any) -> Any:
        for attempt in range(6):
            try:
                return await bare(session, event)
            except StaleSessionError:
                if attempt == 5:
                    raise
                await asyncio.sleep(0)
                session = await refresh(session)
        raise AssertionError

    class Store:
        bare = bare_method
        ours = retrying.replace(refresh=refresh_of_method)(bare_method)

        async def hand_written(self, session: Any, event: Any) -> Any:
            try:
                return await bare_method(self, session, event)
            except StaleSessionError:
                session = await refresh(session)
            await asyncio.sleep(0)
            return await bare_method(self, session, event)

    async def ours_as_a_block(session: Any, event: Any) -> Any:
        result = None
        async for attempt in retrying.attempts(session):
            with attempt:
                result = await bare(attempt.session, event)
        return result

    stale, store = StaleSessionError, Store()
    return {
        "bare coroutine": bare,
        HAND_WRITTEN: hand_written,
        "hand-written loop": hand_written_loop,
        "ours, function": retrying(bare),
        "bare method": store.bare,
        HAND_WRITTEN_METHOD: store.hand_written,
        "ours, method": store.ours,
        "ours, call": functools.partial(retrying.call, bare),
        "ours, attempts": ours_as_a_block,
        TENACITY: tenacity.retry(
            wait=tenacity.wait_none(),
            stop=tenacity.stop_after_attempt(6),
            retry=tenacity.retry_if_exception_type(stale),
        )(bare),
        "stamina": stamina.retry(on=stale, attempts=6, wait_initial=0, wait_jitter=0)(bare),
        "backoff": backoff.on_exception(backoff.constant, stale, max_tries=6, interval=0, jitter=None, logger=None)(
            bare
        ),
        "opnieuw": opnieuw.retry_async(
            retry_on_exceptions=stale, max_calls_total=6, retry_window_after_first_call_in_seconds=90
        )(bare),
    }


def appends_at_once() -> dict[str, Append]:
    async def append(session: Any, event: Any) -> Any:
        return event

    async def append_method(self: Any, session: Any, event: Any) -> Any:
        return event

    return contenders(append, append_method)


def is_rejected_every_other_time() -> dict[str, Append]:
    rejected = False

    async def append(session: Any, event: Any) -> Any:
        nonlocal rejected
        rejected = not rejected
        if rejected:
            raise StaleSessionError
        return event

    async def append_method(self: Any, session: Any, event: Any) -> Any:
        nonlocal rejected
        rejected = not rejected
        if rejected:
            raise StaleSessionError
        return event

    return {name: each for name, each in contenders(append, append_method).items() if not name.startswith("bare")}


async def seconds_of(append: Append, calls: int) -> float:
    session, event = object(), object()
    began = time.perf_counter()
    for _ in range(calls):
        await append(session, event)
    return (time.perf_counter() - began) / calls


async def measure(appends: dict[str, Append], rounds: int, calls: int) -> dict[str, float]:
    """Seconds a call by name, the median of the rounds."""
    for append in appends.values():
        await seconds_of(append, max(1, calls // 20))
    seconds: dict[str, list[float]] = {name: [] for name in appends}
    for _ in range(rounds):
        for name, append in appends.items():
            seconds[name].append(await seconds_of(append, calls))
    return {name: statistics.median(each) for name, each in seconds.items()}


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=31)
    parser.add_argument("--calls", type=int, default=2000, help="calls a round (%(default)s)")
    options = parser.parse_args()
    stamina.instrumentation.set_on_retry_hooks([])
    packages = ("tenacity", "stamina", "backoff", "opnieuw", "anyio")
    print(f"Python {platform.python_version()}, " + ", ".join(f"{name} {version(name)}" for name in packages))
    print(f"medians of {options.rounds} interleaved rounds of {options.calls} calls, (b) of a tenth as many\n")

    at_once = await measure(appends_at_once(), options.rounds, options.calls)
    print(f"{'(a) an append that succeeds at once':36}{'ns a call':>12}{'x hand-written':>16}{'tenacity costs x':>18}")
    for name, seconds in at_once.items():
        reference = at_once[HAND_WRITTEN_METHOD if name.endswith("method") else HAND_WRITTEN]
        print(f"{name:36}{seconds * 1e9:12.0f}{seconds / reference:16.2f}{at_once[TENACITY] / seconds:18.1f}")

    with opnieuw.test_util.retry_immediately():
        rejected = await measure(is_rejected_every_other_time(), options.rounds, max(1, options.calls // 10))
    print(f"\n{'(b) one rejection, an instant wait':36}{'us a call':>12}{'x tenacity':>16}")
    for name, seconds in rejected.items():
        print(f"{name:36}{seconds * 1e6:12.1f}{seconds / rejected[TENACITY]:16.2f}")


if __name__ == "__main__":
    asyncio.run(main())
