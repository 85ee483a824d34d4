"""The worker processes: spawned once, used for run after run, killed and replaced."""

from __future__ import annotations

import asyncio
import json
import queue
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


class Worker:
    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "faults.worker"],
            cwd=Path(__file__).parents[1],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._said: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._said.put(json.loads(line))
        self._said.put({"word": "dead"})

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    def tell(self, line: Any) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(line) + "\n")
        self._process.stdin.flush()

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
        return str(said["word"])

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()

    def close(self) -> None:
        if self.alive:
            self.kill()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()


class Crew:
    """Every worker there is. Those that are not in their right place after a run are killed."""

    def __init__(self) -> None:
        self._idle: list[Worker] = []
        self._all: list[Worker] = []

    async def take(self, count: int) -> list[Worker]:
        fresh = [Worker() for _ in range(count - len(self._idle))]
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
