"""The check with writers in several processes. Each process opens the store by itself, as a server would."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import itertools
import json
import os
import pickle
import sys
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any, cast

from ._check import Bench, CannotRunError, Check
from ._check_store import PROCESSES, bench_for
from ._retrying import EACH, verify_stored, writing
from ._target import TargetError, found, opened
from ._user_store import BrokenError, count, twice

_APART = 1_000_000
"""How far the numbers of the events of two processes are apart."""


def processes_check(target: str, number: int) -> Check:
    """The check for the store that `target` names, with that many processes."""

    async def run(bench: Bench) -> str:
        return await _several_processes(bench, target, number)

    return replace(PROCESSES, run=run)


async def _several_processes(bench: Bench, target: str, number: int) -> str:
    store = bench.store
    session_id = await store.create(store.new_event())
    try:
        pickled = base64.b64encode(pickle.dumps(session_id)).decode()
    except Exception:
        raise CannotRunError(f"the session id {session_id!r} cannot be pickled for another process") from None
    writers = max(2, bench.writers // 2)
    here = [repr(identity) for identity in await store.stored(session_id)]
    workers: list[_Worker] = []
    try:
        for n in range(1, number + 1):
            workers += [await _Worker.started(target, session=pickled, first=n * _APART, writers=writers)]
        for worker in workers:
            bench.far = "the start of the processes"
            ready = await worker.answer()
            if ready.get("events") != here:
                why = ready.get("error", "its events are others")
                raise CannotRunError(f"another process does not see a session of this one ({why}); is it in memory?")
        bench.far = f"{count(number, 'process')} that append"
        for worker in workers:
            worker.send("go")
        told = [await worker.answer() for worker in workers]
    finally:
        for worker in workers:
            await worker.end()
    acknowledged = [identity for each in told for identity in each["acknowledged"]]
    if same := twice(acknowledged):
        raise CannotRunError(f"event gave the identity {same[0]} in two processes; make it from n, or from a UUID")
    stored = [repr(identity) for identity in await store.stored(session_id)]
    everything = number * writers * EACH
    verify_stored([*acknowledged], [*stored], [error for each in told for error in each["errors"]], everything)
    return f"{everything} of {everything} appends by {number} processes with {writers} writers each stored once"


class _Worker:
    """Another process; it is spoken to in lines of JSON."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self._told = cast(asyncio.StreamWriter, process.stdin)
        self._heard = cast(asyncio.StreamReader, process.stdout)

    @classmethod
    async def started(cls, target: str, **task: Any) -> _Worker:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            __name__,
            target,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
            limit=2**24,
        )
        worker = cls(process)
        worker.send(task)
        return worker

    def send(self, message: Any) -> None:
        self._told.write(json.dumps(message).encode() + b"\n")

    async def answer(self) -> dict[str, Any]:
        line = await self._heard.readline()
        if not line:
            raise CannotRunError("another process ended before it had appended; see its error output")
        answer: dict[str, Any] = json.loads(line)
        return answer

    async def end(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()
        await self._process.wait()


async def _work(  # pragma: no cover  # in another process
    target: str, *, ask: Callable[[], Awaitable[Any]], tell: Callable[[Any], None]
) -> None:
    """What one process does: say which events it sees, wait, append, and say which were acknowledged."""
    task = await ask()
    try:
        async with opened(target, found(target)) as mapping:
            first = task["first"]
            bench = bench_for({**mapping, "writers": task["writers"], "seed": mapping["seed"] + first})
            store = bench.store
            store.counter = itertools.count(first)
            session_id = pickle.loads(base64.b64decode(task["session"]))  # noqa: S301  # made by the parent process
            tell({"events": [repr(identity) for identity in await store.stored(session_id)]})
            await ask()
            acknowledged, errors = await writing(bench, session_id)
            tell({"acknowledged": [repr(identity) for identity in acknowledged], "errors": errors})
    except (TargetError, BrokenError) as error:
        tell({"error": str(error)})


def _main() -> None:  # pragma: no cover  # in another process
    loop_input = sys.stdin

    async def ask() -> Any:
        return json.loads(await asyncio.to_thread(loop_input.readline))

    def tell(message: Any) -> None:
        print(json.dumps(message), flush=True, file=answers)

    # What the user's code prints must not be taken for an answer.
    answers, sys.stdout = sys.stdout, sys.stderr
    asyncio.run(_work(sys.argv[1], ask=ask, tell=tell))


if __name__ == "__main__":  # pragma: no cover
    _main()
