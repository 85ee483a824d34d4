"""Turns in a queue for runners that somebody else makes: `adk web`, `adk api_server`, a2a, ag-ui-adk."""

from __future__ import annotations

import asyncio
import sys
import weakref
from dataclasses import dataclass

from google.adk.agents.invocation_context import InvocationContext
from google.adk.plugins.base_plugin import BasePlugin
from google.adk.sessions import BaseSessionService
from google.genai import types

from ..turns import Turn, TurnQueue
from ._open_calls import answer_open_calls
from ._process_queue import Key, queue_of
from ._releases import session_not_found
from ._runs import Run, looking_for_runs_that_are_over
from .refresh import refresh_session


@dataclass
class _Running:
    run: Run
    turn: Turn


class TurnQueuePlugin(BasePlugin):
    """Puts the turns of every runner that has this plugin in a queue, one at a time on each session::

        app = App(name="chat", root_agent=agent, plugins=[TurnQueuePlugin()])

    or `adk api_server --extra_plugins stale_retry.adk.TurnQueuePlugin`. Put it first: plugins before it hear of a
    message that may have to wait yet.

    A run takes its place before its message is stored, and the session, which was loaded before that, is brought up to
    date in place. It gives its place back when it has ended, failed, or was cancelled, closed or dropped; a compaction
    after the turn is outside. google-adk passes a plugin's error on as a `RuntimeError` whose `__cause__` it is.

    With `when_busy="interrupt"`, from google-adk 2.13 on the run is aborted and ends with `TurnInterruptedError` as
    that cause. In older releases its task is cancelled.

    Args:
        turns: the queue. None: the one that all runners and plugins of this process share which are given none. Its
            keys are (app name, user id, session id).
        name: among the plugins of one runner.

    Raises:
        TypeError: `turns` is no `TurnQueue`.
    """

    def __init__(self, turns: TurnQueue | None = None, name: str = "stale_retry_turns") -> None:
        super().__init__(name=name)
        self.turns: TurnQueue = queue_of(turns)
        # By identity: an invocation id may be used again, to resume.
        self._running: dict[int, _Running] = {}
        self._answering: set[asyncio.Task[None]] = set()

    async def on_user_message_callback(
        self, *, invocation_context: InvocationContext, user_message: types.Content
    ) -> types.Content | None:
        if not await self._enter(invocation_context):
            return None
        # google-adk has chosen the agent by the history as it was; a message that a plugin replaces makes it look again
        # where the release can. It asks no further plugin then, so they are asked here.
        for plugin in _plugins_after(self, invocation_context):
            message = await plugin.on_user_message_callback(
                invocation_context=invocation_context, user_message=user_message
            )
            if message is not None:
                return message
        return user_message

    async def before_run_callback(self, *, invocation_context: InvocationContext) -> None:
        # Of a run that is resumed without a message nothing was heard before.
        await self._enter(invocation_context)

    async def after_run_callback(self, *, invocation_context: InvocationContext) -> None:
        await self._leave(invocation_context, None)

    async def on_run_error_callback(self, *, invocation_context: InvocationContext, error: Exception) -> None:
        await self._leave(invocation_context, error)

    async def _enter(self, context: InvocationContext) -> bool:
        """Whether the session has gained events since it was loaded."""
        which = id(context)
        if which in self._running:
            return False
        session, service = context.session, context.session_service
        key = (session.app_name, session.user_id, session.id)
        turn = self.turns(key, abort=_abort_of(context))
        async with looking_for_runs_that_are_over():
            await turn.__aenter__()
        may_resume = bool(getattr(context, "is_resumable", False))

        def on_over(was_cancelled: bool) -> None:
            self._over(which, service, key, is_cut_off=was_cancelled and not may_resume)

        self._running[which] = _Running(Run(context, on_over), turn)
        known = len(session.events)
        try:
            if await refresh_session(service, session) is None:
                raise session_not_found(session)
        except BaseException as error:
            await self._leave(context, error)
            raise
        return len(session.events) != known

    async def _leave(self, context: InvocationContext, error: BaseException | None) -> None:
        running = self._running.pop(id(context), None)
        if running is None:
            return
        running.run.forget()
        turn, session = running.turn, context.session
        was_cancelled = isinstance(sys.exc_info()[1], asyncio.CancelledError)  # some releases say so on the way out
        try:
            if turn.ended is not None or (was_cancelled and not getattr(context, "is_resumable", False)):
                key = (session.app_name, session.user_id, session.id)
                await answer_open_calls(context.session_service, key, long_running=turn.ended is not None)
        finally:
            await turn.__aexit__(None if error is None else type(error), error, None)

    def _over(self, which: int, service: BaseSessionService, key: Key, *, is_cut_off: bool) -> None:
        running = self._running.pop(which, None)
        if running is None:
            return
        if not is_cut_off:
            running.turn.release()
            return
        answering = asyncio.create_task(_answer_and_release(running.turn, service, key))
        self._answering.add(answering)
        answering.add_done_callback(self._answering.discard)


async def _answer_and_release(turn: Turn, service: BaseSessionService, key: Key) -> None:
    try:
        await answer_open_calls(service, key, long_running=turn.ended is not None)
    finally:
        turn.release()


def _abort_of(context: InvocationContext) -> _Abort | None:
    return _Abort(context) if hasattr(context, "abort") else None


class _Abort:
    """Keeps no context alive whose end would be waited for."""

    def __init__(self, context: InvocationContext) -> None:
        self._context = weakref.ref(context)

    def __call__(self) -> None:
        context = self._context()
        if context is not None:
            context.abort()


def _plugins_after(plugin: BasePlugin, context: InvocationContext) -> list[BasePlugin]:
    plugins = context.plugin_manager.plugins
    return plugins[plugins.index(plugin) + 1 :] if plugin in plugins else []
