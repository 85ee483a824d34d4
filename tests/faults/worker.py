"""A process of writers: it takes jobs from its line, one JSON object each.

It says "ready" when the sessions are loaded, starts at the next line, and says "done". `python -m faults.worker` forks
one for every socket that standard input, a socket itself, passes on. Each ends with its line, so no worker outlives the
process that it works for.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
import socket
import sys
import threading
import traceback
import warnings
from typing import Any

from .stores import Store
from .writers import Job, work


async def serve(line: socket.socket) -> None:
    jobs: asyncio.Queue[str] = asyncio.Queue()
    loop = asyncio.get_running_loop()

    def say(word: str, **more: Any) -> None:
        line.sendall(json.dumps({"word": word, **more}).encode() + b"\n")

    def listen() -> None:
        for told in line.makefile():
            loop.call_soon_threadsafe(jobs.put_nowait, told)
        os._exit(0)

    threading.Thread(target=listen, daemon=True).start()

    async def started() -> None:
        say("ready")
        await jobs.get()

    say("idle", pid=os.getpid())
    while True:
        job = json.loads(await jobs.get())
        try:
            await work(Job(**{**job, "store": Store(**job["store"])}), started)
        except Exception:
            say("crashed", traceback=traceback.format_exc())
        else:
            say("done")


def fork_workers(nursery: socket.socket) -> None:
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for them
    while True:
        message, lines, *_ = socket.recv_fds(nursery, 4, 1)
        if not message:
            return
        with socket.socket(fileno=lines[0]) as line:
            if os.fork() == 0:
                try:
                    asyncio.run(serve(line))
                finally:
                    os._exit(1)


if __name__ == "__main__":
    warnings.filterwarnings("ignore")
    logging.disable(logging.CRITICAL)
    fork_workers(socket.socket(fileno=sys.stdin.fileno()))
