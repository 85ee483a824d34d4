"""Every run of google-adk in the queue: `QueueingRunner` and `queue_all_runners` both come here."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any

from google.adk.events import Event
from google.adk.runners import Runner

from ..turns import Turn, TurnError, TurnQueue
from . import _ledger
from ._collecting import Joined, collected, is_joined
from ._deliveries import Deliveries
from ._http_errors import as_http_error
from ._ledger import IdempotencyKey, Message
from ._process_queue import queue_of
from ._run import Asked, answer, inner_run_of, record_of, replayed
from ._session_key import SessionKey, home_of, is_in_memory

_HAS_ABORT_SIGNAL = "abort_signal" in Runner.run_async.__annotations__

RunAsync = Callable[..., AsyncGenerator[Event, None]]
"""`Runner.run_async`, given the runner."""


@dataclass(frozen=True)
class Queueing:
    """How runs queue.

    Attributes:
        turns: the queue.
        idempotency_key: what tells that a message was delivered before.
        collect: whether messages that come while a turn runs are answered together.
        joined: what the run of a message yields that was answered together with an earlier one.
    """

    turns: TurnQueue
    idempotency_key: IdempotencyKey
    collect: bool
    joined: Joined
    _deliveries: Deliveries = field(default_factory=Deliveries, compare=False, repr=False)

    async def run(self, run_async: RunAsync, runner: Runner, **arguments: Any) -> AsyncGenerator[Event, None]:
        """`run_async` of the runner, inside a turn of its session."""
        asked = Asked(run_async, runner, arguments, self._key(runner, arguments))
        if inner_run_of() is None:
            asked.message = _ledger.message_in(self.idempotency_key, arguments)
            run = self._alone(asked) if asked.message is None else self._delivery(asked, asked.message)
        else:
            run = self._turn(asked)
        try:
            async with aclosing(run) as events:
                async for event in events:
                    yield event
        except TurnError as error:
            raise as_http_error(error) from error.__cause__

    async def rewind(self, rewind_async: Callable[..., Awaitable[None]], runner: Runner, **arguments: Any) -> None:
        """`rewind_async` of the runner, inside a turn of its session."""
        try:
            async with self._queue_for(runner)(self._key(runner, arguments)):
                await rewind_async(runner, **arguments)
        except TurnError as error:
            raise as_http_error(error) from error.__cause__

    async def _delivery(self, asked: Asked, message: Message) -> AsyncGenerator[Event, None]:
        """The run of a message with a key. It waits for the first delivery if that is in this process."""
        options = self.turns._options
        delivery = self._deliveries.of((asked.key, message))
        asked.on_over = delivery.over
        try:
            await delivery.begin(options.reader_patience)
            if delivery.has_waited or self.collect or options.when_busy != "enqueue":
                # What is stored needs no turn to be read. It refuses, interrupts and joins nothing.
                record = await record_of(asked, message)
                if record is not None and record.fate is not None:
                    for event in replayed(record, asked.arguments):
                        yield event
                    return
                asked.is_known = record is not None
            async with aclosing(self._alone(asked)) as events:
                async for event in events:
                    yield event
        except TurnError as error:
            delivery.over(error)
            raise
        finally:
            delivery.over()

    def _alone(self, asked: Asked) -> AsyncGenerator[Event, None]:
        return self._collected(asked) if self.collect and not asked.is_known else self._turn(asked)

    def _turn(self, asked: Asked) -> AsyncGenerator[Event, None]:
        abort = None
        if _HAS_ABORT_SIGNAL:
            signal = asked.arguments.get("abort_signal") or asyncio.Event()
            asked.arguments = {**asked.arguments, "abort_signal": signal}
            abort = signal.set

        def inside(turn: Turn) -> AsyncGenerator[Event, None]:
            return answer(asked, lambda: turn.ended)

        turns = self._queue_for(asked.runner)
        # It may run in another process.
        return (turns._patient() if asked.is_known else turns).stream(asked.key, inside, abort=abort)

    def _collected(self, asked: Asked) -> AsyncGenerator[Event, None]:
        return collected(self._queue_for(asked.runner), asked, self.joined, self.idempotency_key)

    def _queue_for(self, runner: Runner) -> TurnQueue:
        if is_in_memory(runner.session_service):
            return self.turns._unshared()
        return self.turns

    def _key(self, runner: Runner, arguments: Mapping[str, Any]) -> SessionKey:
        names = (runner.app_name, arguments["user_id"], arguments["session_id"])
        return SessionKey(names, home_of(runner.session_service))


def queueing(turns: Any, idempotency_key: Any, collect: Any, joined: Any) -> Queueing:
    """Checked.

    Raises:
        TypeError, ValueError: an option is wrong; the message names it and its rule.
    """
    if not isinstance(collect, bool):
        raise TypeError(f"collect must be True or False, got {collect!r}")
    return Queueing(queue_of(turns), _ledger.checked(idempotency_key), collect, is_joined(joined))
