"""The worker processes: forked from one that has imported everything, used for run after run, killed and replaced."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import queue
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from .writers import Job

PATIENCE = 120.0


async def until(condition: Callable[[], Any], what: str, patience: float = PATIENCE) -> None:
    """Look until it is so.

    Raises:
        TimeoutError: it was not within `patience` seconds.
    """
    give_up = time.monotonic() + patience
    while not condition():
        if time.monotonic() > give_up:
            raise TimeoutError(f"waited {patience:.0f} s in vain until {what}")
        await asyncio.sleep(0.003)


class Nursery:
    """The process that workers are forked from. It ends when it is closed, or when this process does."""

    def __init__(self) -> None:
        self._line, its_end = socket.socketpair()
        with its_end:
            command = [sys.executable, "-m", "faults.worker"]
            self._process = subprocess.Popen(command, cwd=Path(__file__).parents[1], stdin=its_end)

    def fork(self) -> socket.socket:
        """The line to a new worker."""
        ours, its_end = socket.socketpair()
        with its_end:
            socket.send_fds(self._line, [b"fork"], [its_end.fileno()])
        return ours

    def close(self) -> None:
        self._line.close()
        self._process.wait()


class Worker:
    def __init__(self, line: socket.socket) -> None:
        self.pid = 0
        self._line = line
        self._said: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
        self._listening = threading.Thread(target=self._listen, daemon=True)
        self._listening.start()

    def _listen(self) -> None:
        with contextlib.suppress(ConnectionError), self._line.makefile() as lines:
            for line in lines:
                self._said.put(json.loads(line))
        self._said.put({"word": "dead"})

    @property
    def alive(self) -> bool:
        return self._listening.is_alive()

    def tell(self, line: Any) -> None:
        with contextlib.suppress(ConnectionError):  # that it was killed is heard, not told
            self._line.sendall(json.dumps(line).encode() + b"\n")

    def give(self, job: Job) -> None:
        self.tell(asdict(job))

    async def heard(self, *words: str) -> str:
        """The next thing it says, which must be one of these.

        Raises:
            AssertionError: it said something else.
        """
        await until(lambda: not self._said.empty(), f"worker {self.pid} says {' or '.join(words)}")
        said = self._said.get()
        assert said["word"] in words, f"expected {words}, got {said.get('traceback') or said}"
        self.pid = said.get("pid", self.pid)
        return str(said["word"])

    def close(self) -> None:
        """Kill it, if it lives."""
        if self.alive:
            os.kill(self.pid, signal.SIGKILL)
        self._listening.join()
        self._line.close()


class Crew:
    """Every worker there is. Those that are not in their right place after a run are killed."""

    def __init__(self) -> None:
        self._nursery = Nursery()
        self._idle: list[Worker] = []
        self._all: list[Worker] = []

    async def take(self, count: int) -> list[Worker]:
        fresh = [Worker(self._nursery.fork()) for _ in range(count - len(self._idle))]
        self._all += fresh
        taken = [*self._idle[:count], *fresh]
        del self._idle[:count]
        for worker in fresh:
            await worker.heard("idle")
        return taken

    def take_back(self, worker: Worker, *, idle: bool) -> None:
        if idle and worker.alive:
            self._idle.append(worker)
        else:
            worker.close()
            self._all.remove(worker)

    def close(self) -> None:
        for worker in self._all:
            worker.close()
        self._all.clear()
        self._idle.clear()
        self._nursery.close()
