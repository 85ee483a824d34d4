"""Whole turns of google-adk in a queue: for runners that you make, and for those that somebody else makes."""

from __future__ import annotations

import functools
import logging
import threading
from collections.abc import AsyncGenerator
from contextlib import aclosing
from types import TracebackType
from typing import TYPE_CHECKING, Any

from google.adk.events import Event
from google.adk.runners import Runner

from ..turns import TurnError, TurnQueue
from ._collecting import Joined
from ._ledger import IdempotencyKey
from ._queueing import Queueing, queueing

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["QueuedRunners", "QueueingRunner", "queue_all_runners"]


class QueueingRunner(Runner):
    """A `Runner` whose turns on one session run one at a time, in the order they came::

        runner = QueueingRunner(app_name="chat", agent=agent, session_service=service)

    `run_async`, and so `run` and `run_debug`, takes its turn before the session is loaded, and ends it when the run has
    ended, the compaction after it included. `rewind_async` takes a turn too. `run_live` does not: it may last for
    hours. A run that a tool or the reading loop starts on the same session is inside the turn. Sessions of equal names
    in different services do not wait for each other.

    A run that is stopped, or interrupted with `when_busy="interrupt"`, raises `TurnInterruptedError`. No function call
    of a run that ended early is left in the history without a response.

    Args:
        turns: the queue. None: the one that the runners of this process share which are given none. Its keys are
            (app name, user id, session id).
        idempotency_key: the field of `RunConfig.custom_metadata` that tells a message which is delivered again, or a
            function of `run_async`'s keyword arguments, as a mapping; None: no message is looked for.
        collect: whether messages that come while a turn runs are answered by one run.
        joined: what the run of a message yields that was answered together with an earlier one: "notice", one event
            without content; "answer", the answer's events.
        arguments: those of google-adk's `Runner`.

    Raises:
        TypeError, ValueError: an option is wrong; the message names it and its rule.
    """

    def __init__(
        self,
        *args: Any,
        turns: TurnQueue | None = None,
        idempotency_key: IdempotencyKey = "idempotency_key",
        collect: bool = False,
        joined: Joined = "notice",
        **arguments: Any,
    ) -> None:
        self._queueing: Queueing = queueing(turns, idempotency_key, collect, joined)
        super().__init__(*args, **arguments)

    @property
    def turns(self) -> TurnQueue:
        """The queue."""
        return self._queueing.turns

    @functools.wraps(Runner.run_async)
    async def run_async(  # type: ignore[override]  # what it takes differs from release to release
        self, **arguments: Any
    ) -> AsyncGenerator[Event, None]:
        async with aclosing(self._queueing.run(_run_async_of_google, self, **arguments)) as events:
            async for event in events:
                yield event

    @functools.wraps(Runner.rewind_async)
    async def rewind_async(self, **arguments: Any) -> None:  # type: ignore[override]
        await self._queueing.rewind(super(QueueingRunner, type(self)).rewind_async, self, **arguments)


def _run_async_of_google(runner: QueueingRunner, **arguments: Any) -> AsyncGenerator[Event, None]:
    return super(QueueingRunner, runner).run_async(**arguments)


_SERVERS_LOGGERS = [
    logging.getLogger(f"google_adk.google.adk.cli.{module}") for module in ("adk_web_server", "api_server")
]


def _tells_something_new(record: logging.LogRecord) -> bool:
    """google-adk's server logs the error of a stream with its traceback; the queue has logged it in one line."""
    return not (record.exc_info and isinstance(record.exc_info[1], TurnError))


class QueuedRunners:
    """What `queue_all_runners` returns. As a context manager it undoes the queueing at the end.

    Attributes:
        turns: the queue.
    """

    def __init__(self, queueing: Queueing) -> None:
        self._queueing = queueing
        self._is_on = True
        for logger in _SERVERS_LOGGERS:
            logger.addFilter(_tells_something_new)
        self._wrapped = {name: self._wrap(name) for name in ("run_async", "rewind_async") if hasattr(Runner, name)}

    @property
    def turns(self) -> TurnQueue:
        """The queue."""
        return self._queueing.turns

    def undo(self) -> None:
        """Let the runs that begin from now on go unqueued. Once more does nothing.

        A library that wrapped the runners later stays in place.
        """
        global _installed
        with _installing:
            self._is_on = False
            if _installed is self:
                _installed = None
                for logger in _SERVERS_LOGGERS:
                    logger.removeFilter(_tells_something_new)
            for name, (original, wrapper) in self._wrapped.items():
                if getattr(Runner, name) is wrapper:
                    setattr(Runner, name, original)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.undo()

    def _wrap(self, name: str) -> tuple[Any, Any]:
        original: Any = getattr(Runner, name)

        @functools.wraps(original)
        async def run_async(runner: Runner, **arguments: Any) -> AsyncGenerator[Event, None]:
            run = self._queueing.run(original, runner, **arguments) if self._queues(runner) else None
            async with aclosing(original(runner, **arguments) if run is None else run) as events:
                async for event in events:
                    yield event

        @functools.wraps(original)
        async def rewind_async(runner: Runner, **arguments: Any) -> None:
            if self._queues(runner):
                await self._queueing.rewind(original, runner, **arguments)
            else:
                await original(runner, **arguments)

        wrapper = run_async if name == "run_async" else rewind_async
        setattr(Runner, name, wrapper)
        return original, wrapper

    def _queues(self, runner: Runner) -> bool:
        return self._is_on and not isinstance(runner, QueueingRunner)  # which queues by itself


_installing = threading.Lock()
_installed: QueuedRunners | None = None


def queue_all_runners(
    turns: TurnQueue | None = None,
    *,
    idempotency_key: IdempotencyKey = "idempotency_key",
    collect: bool = False,
    joined: Joined = "notice",
) -> QueuedRunners:
    """Queue the turns of every runner in this process, also those of `adk web`, `adk api_server`, ag-ui-adk and a2a::

        queue_all_runners(TurnQueue(shared=sql_lease("postgresql+asyncpg://user@host/chat")))

    It wraps `Runner.run_async` and `Runner.rewind_async`, for runners that exist too. Each run behaves as one of a
    `QueueingRunner`; see there for the options. A `QueueingRunner` keeps its own queue.

    Not reached: a subclass of `Runner` that overrides `run_async` without calling `super()`, and an agent that is run
    without a runner.

    Args:
        turns: the queue. None: the one that is installed already, or the one that the runners of this process share.
        idempotency_key: as of a `QueueingRunner`.
        collect: as of a `QueueingRunner`.
        joined: as of a `QueueingRunner`.

    Returns:
        The handle that undoes it. Called again with the same queue and options, the same handle.

    Raises:
        RuntimeError: the runners are queued already, in another queue or with other options.
        TypeError, ValueError: an option is wrong; the message names it and its rule.
    """
    global _installed
    with _installing:
        if turns is None and _installed is not None:
            turns = _installed.turns
        wanted = queueing(turns, idempotency_key, collect, joined)
        if _installed is None:
            _installed = QueuedRunners(wanted)
        elif _installed._queueing != wanted:
            raise RuntimeError(
                "the runners of this process are queued already, in another queue or with other options; call undo() "
                "of that handle first"
            )
        return _installed
