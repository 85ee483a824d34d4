"""What the running task is, without the cost of asking anyio: it is asked for every attempt of a block."""

from __future__ import annotations

import asyncio
import sys
from typing import Any


def current_loop() -> Any:
    """The running event loop, asyncio's or trio's; None where there is none."""
    loop = asyncio._get_running_loop()  # the public form raises where there is none
    if loop is None and "trio" in sys.modules:
        import trio

        try:
            return trio.lowlevel.current_trio_token()
        except RuntimeError:
            return None
    return loop


def current_task() -> int:
    """The identity of the running task."""
    if asyncio._get_running_loop() is not None:
        return id(asyncio.current_task())
    import trio

    return id(trio.lowlevel.current_task())


def cancellations(loop: Any) -> int:
    """How many cancellations of this task are under way in its loop; 0 where nobody counts them (trio, Python 3.10)."""
    counted = getattr(asyncio.current_task(loop), "cancelling", None)
    return 0 if counted is None else int(counted())
