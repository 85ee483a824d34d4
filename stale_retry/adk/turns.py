"""Whole turns of google-adk in a queue: a runner, and a plugin for runners that somebody else makes."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

from google.adk.events import Event
from google.adk.runners import Runner

from ..turns import Turn, TurnQueue
from ._open_calls import answer_open_calls
from ._plugin import TurnQueuePlugin
from ._process_queue import Key, queue_of
from ._relay import Relay

__all__ = ["QueueingRunner", "TurnQueuePlugin"]

_HAS_ABORT_SIGNAL = "abort_signal" in Runner.run_async.__annotations__


class QueueingRunner(Runner):
    """A `Runner` whose turns on one session run one at a time, in the order they came::

        runner = QueueingRunner(app_name="chat", agent=agent, session_service=service)

    `run_async`, and so `run` and `run_debug`, takes its place in the queue before the session is loaded, and gives it
    back when the run has ended, the compaction after it included. `rewind_async` takes a place too. `run_live` does
    not: it may last for hours. A turn inside a turn of the same session, a tool's for instance, does not wait.

    With `when_busy="interrupt"`, a run that is interrupted ends with `TurnInterruptedError`, and no function call of it
    is left in the history without a response.

    Args:
        turns: the queue. None: the one that all runners and plugins of this process share which are given none. Its
            keys are (app name, user id, session id).
        arguments: those of google-adk's `Runner`.

    Raises:
        TypeError: `turns` is no `TurnQueue`.
    """

    def __init__(self, *args: Any, turns: TurnQueue | None = None, **arguments: Any) -> None:
        super().__init__(*args, **arguments)
        self.turns: TurnQueue = queue_of(turns)

    @functools.wraps(Runner.run_async)
    async def run_async(  # type: ignore[override]  # what else it takes differs from release to release
        self, *, user_id: str, session_id: str, **arguments: Any
    ) -> AsyncGenerator[Event, None]:
        key = (self.app_name, user_id, session_id)
        relay = Relay()
        abort = None
        if _HAS_ABORT_SIGNAL:
            signal = arguments["abort_signal"] = arguments.get("abort_signal") or asyncio.Event()

            def abort() -> None:
                signal.set()
                relay.hurry()

        turn = self.turns(key, abort=abort)
        run = super().run_async(user_id=user_id, session_id=session_id, **arguments)
        async with aclosing(relay.read(turn, self._answering_open_calls(turn, key, run))) as events:
            async for event in events:
                yield event

    async def _answering_open_calls(
        self, turn: Turn, key: Key, run: AsyncGenerator[Event, None]
    ) -> AsyncGenerator[Event, None]:
        is_cut_off = True
        try:
            async with aclosing(run):
                async for event in run:
                    yield event
            is_cut_off = False
        except GeneratorExit:  # whoever has read enough may leave a call that waits for somebody
            is_cut_off = False
            raise
        finally:
            was_ended = turn.ended is not None
            # What may be resumed is not answered for; an interruption is the end of it.
            if was_ended or (is_cut_off and not self._is_resumable):
                await answer_open_calls(self.session_service, key, long_running=was_ended)

    @functools.wraps(Runner.rewind_async)
    async def rewind_async(  # type: ignore[override]
        self, *, user_id: str, session_id: str, **arguments: Any
    ) -> None:
        async with self.turns((self.app_name, user_id, session_id)):
            await super().rewind_async(user_id=user_id, session_id=session_id, **arguments)

    @property
    def _is_resumable(self) -> bool:
        config = getattr(self, "resumability_config", None)
        return config is not None and config.is_resumable
