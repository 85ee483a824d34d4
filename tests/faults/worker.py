"""A process of writers: `python -m faults.worker` takes jobs from standard input, one JSON object a line.

It says "ready" when the sessions are loaded, starts at the next line, and says "done". It ends with its input, so no
worker outlives the process that started it.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import sys
import threading
import traceback
import warnings
from typing import Any

from . import gates
from .journal import Journal
from .stores import Store
from .writers import Job, work


def say(word: str, **more: Any) -> None:
    sys.stdout.write(json.dumps({"word": word, **more}) + "\n")
    sys.stdout.flush()


async def hold(gate: list[str], session: str, journal: str) -> None:
    """Enter the shared gate and never leave it."""

    class Held:
        id, app_name, user_id = session, "faults", "user"

    async with gates.gates(*gate)[-1](Held()):
        Journal(journal).write("holding")
        await asyncio.Event().wait()


async def main() -> None:
    lines: asyncio.Queue[str] = asyncio.Queue()
    loop = asyncio.get_running_loop()

    def listen() -> None:
        for line in sys.stdin:
            loop.call_soon_threadsafe(lines.put_nowait, line)
        os._exit(0)

    threading.Thread(target=listen, daemon=True).start()

    async def started() -> None:
        say("ready")
        await lines.get()

    say("idle")
    while True:
        job = json.loads(await lines.get())
        try:
            if "hold" in job:
                await hold(**job["hold"])
            await work(Job(**{**job, "store": Store(**job["store"]), "gate": tuple(job["gate"])}), started)
        except Exception:
            say("crashed", traceback=traceback.format_exc())
        else:
            say("done")


if __name__ == "__main__":
    warnings.filterwarnings("ignore")
    logging.disable(logging.CRITICAL)
    asyncio.run(main())
