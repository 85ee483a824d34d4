"""A process that comes to a gate: `python -m gates.contender KIND URL OPTIONS` takes one order a line.

It says "ready" first, and after each order what became of it. It ends with its input, so none outlives the tests.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import threading
from contextlib import AsyncExitStack
from pathlib import Path

from .kinds import Session, opened


async def main(kind: str, url: str, options: str) -> None:
    orders: asyncio.Queue[str] = asyncio.Queue()
    loop = asyncio.get_running_loop()

    def listen() -> None:
        for line in sys.stdin:
            loop.call_soon_threadsafe(orders.put_nowait, line)
        os._exit(0)

    threading.Thread(target=listen, daemon=True).start()

    def say(word: str) -> None:
        print(word, flush=True)

    async with opened(kind, url, **json.loads(options)) as gate, AsyncExitStack() as held:
        say("ready")
        while True:
            order, *words = (await orders.get()).split()
            if order == "enter":
                await held.enter_async_context(gate(Session(words[0])))
                say("entered")
            elif order == "leave":
                await held.aclose()
                say("left")
            else:
                say(await rounds(gate, int(words[0]), Path(words[1])))


async def rounds(gate, count: int, place: Path) -> str:
    """Enter and leave again and again, and see whether anybody else is inside."""
    for _ in range(count):
        async with gate(Session("shared")):
            try:
                os.close(os.open(place, os.O_CREAT | os.O_EXCL))
            except FileExistsError:
                return "not-alone"
            await asyncio.sleep(0.001)
            place.unlink()
    return "alone"


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
