"""The queue in which contenders of one session take turns while they retry."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from contextlib import AbstractAsyncContextManager
from types import TracebackType
from typing import Any

import anyio
from anyio.lowlevel import current_token

Gate = Callable[[Any], AbstractAsyncContextManager[Any]]
"""Takes the session and returns the async context manager that is held over refresh, conflict hook and append."""


def local_gate(key: Callable[[Any], Hashable]) -> LocalGate:
    """A gate for the contenders of one process: first come, first served, within each event loop.

    `key` tells sessions apart, for instance `lambda session: session.id`. No entry is kept for a session that nobody
    waits for. Event loops in several threads may share one gate; their queues are apart.
    """
    return LocalGate(key)


class LocalGate:
    """See `local_gate`. `len(gate)` is the number of sessions that are being retried now."""

    def __init__(self, key: Callable[[Any], Hashable]) -> None:
        if not callable(key):
            raise TypeError(f"key must be a function of the session, got {key!r}")
        self._key = key
        self._queues: dict[tuple[object, Hashable], _Queue] = {}

    def __call__(self, session: Any) -> LocalTurn:
        return LocalTurn(self._queues, self._key(session))

    def __len__(self) -> int:
        return len(self._queues)


class LocalTurn:
    """One contender's turn. Leaving needs no await, so it also serves where none is possible."""

    def __init__(self, queues: dict[tuple[object, Hashable], _Queue], key: Hashable) -> None:
        self._queues = queues
        # Each event loop touches its own entries only, so no lock guards the dictionary.
        self._place = (current_token(), key)
        self._nested = False

    async def __aenter__(self) -> None:
        queue = self._queues.get(self._place)
        if queue is None:
            queue = self._queues[self._place] = _Queue()
        queue.contenders += 1
        task = anyio.get_current_task().id
        if queue.holder == task:  # a decorated append inside another: to wait for oneself would last for ever
            self._nested = True
            return
        try:
            await queue.lock.acquire()
        except BaseException:
            self._step_out(queue)
            raise
        queue.holder = task

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        self.release()

    def release(self) -> None:
        queue = self._queues[self._place]
        if not self._nested:
            queue.lock.release()
            queue.holder = None
        self._step_out(queue)

    def _step_out(self, queue: _Queue) -> None:
        queue.contenders -= 1
        if not queue.contenders:
            del self._queues[self._place]


class _Queue:
    def __init__(self) -> None:
        self.lock = anyio.Lock(fast_acquire=True)
        self.contenders = 0
        self.holder: int | None = None
