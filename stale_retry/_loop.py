"""The one place that waits, refreshes and tries again."""

from __future__ import annotations

import inspect
import time
from collections.abc import Awaitable
from types import TracebackType
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast

import anyio
from anyio.lowlevel import checkpoint

from ._call import Call, name_of
from ._context import recorders
from ._progress import Progress, resolved
from ._turn import Turn
from .conflict import Conflict, Settled
from .errors import (
    AttemptsExhaustedError,
    DeadlineExceededError,
    SessionGoneError,
    SessionRefreshError,
    chain,
)
from .gate import LocalGate

if TYPE_CHECKING:
    from ._retrying import StaleSessionRetrying

S = TypeVar("S")


class Attempts(Generic[S]):
    """The attempts of one call: iterate for the next one, enter it to make it.

    Made by `StaleSessionRetrying.attempts`; belongs to one task and serves one loop. Every iteration yields this same
    object, so after the loop it still tells how the call ended.

    Attributes:
        settled: what a conflict hook ended the call with (its `result`), or None.
    """

    def __init__(
        self, policy: StaleSessionRetrying, name: str, call: Call, *, attempts: int = 0, entered: float | None = None
    ) -> None:
        self.settled: Settled | None = None
        self._policy = policy
        self._call = call
        self._progress = Progress(
            policy, name, call, attempts=attempts, entered=time.monotonic() if entered is None else entered
        )
        self._made = False
        self._unjudged: Awaitable[bool] | None = None
        self._turn: Turn | None = None

    @property
    def number(self) -> int:
        """The current attempt, counted from 1."""
        return self._progress.attempts

    @property
    def session(self) -> S:
        """The session of the current attempt; after the loop, the one that was stored through."""
        return cast(S, self._call.session)

    @property
    def args(self) -> tuple[Any, ...]:
        """The positional arguments of the current attempt."""
        return self._call.args

    @property
    def kwargs(self) -> dict[str, Any]:
        """The keyword arguments of the current attempt."""
        return self._call.kwargs

    # One attempt: the iteration prepares it, the block makes it.

    def __aiter__(self) -> Attempts[S]:
        return self

    async def __anext__(self) -> Attempts[S]:
        if self._progress.ended:
            raise StopAsyncIteration
        if self._progress.attempts:
            await self._prepare()
            if self.settled is not None:
                self._progress.tell("recovered")
                self._progress.end()
                raise StopAsyncIteration
        self._progress.begin_attempt()
        self._made = False
        return self

    def __enter__(self) -> Attempts[S]:
        if self._policy.gate is not None and not isinstance(self._policy.gate, LocalGate):
            self._progress.end()
            raise TypeError("leaving this gate takes an await: write `async with attempt:`")
        self._enter()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool:
        turn, self._turn = self._turn, None
        timed_out = turn is not None and turn.leave_now(error)
        if not self._failed(error, timed_out):
            return False
        try:
            verdict = self._progress.is_stale()
        except BaseException as raised:
            self._progress.abandon(raised)
            raise
        if inspect.isawaitable(verdict):
            self._unjudged = verdict
            return True
        return self._goes_on(verdict, timed_out)

    async def __aenter__(self) -> Attempts[S]:
        self._enter()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool:
        try:
            timed_out = await self._leave(error)
        except BaseException:
            self._progress.end()
            raise
        return self._failed(error, timed_out) and self._goes_on(await self._judge(), timed_out)

    async def failed(self, error: Exception) -> bool:
        """Take note of an attempt that was made elsewhere. True when it is to be retried."""
        return self._failed(error, timed_out=False) and self._goes_on(await self._judge(), timed_out=False)

    def _enter(self) -> None:
        timeout = self._policy.attempt_timeout
        if timeout is not None:
            if self._turn is None:
                self._turn = Turn()
            self._turn.limit(min(anyio.current_time() + timeout, self._progress.deadline))

    async def _leave(self, error: BaseException | None) -> bool:
        turn, self._turn = self._turn, None
        return turn is not None and await turn.leave(error)

    def _failed(self, error: BaseException | None, timed_out: bool) -> bool:
        """Keep the error of a failed attempt. False ends the call: it is stored, or cancelled."""
        self._made = True
        if timed_out:
            self._progress.failed(attempt_timed_out())
        elif isinstance(error, Exception):
            self._progress.failed(error)
        else:
            if error is None and self._progress.attempts > 1:
                self._progress.tell("recovered")
            self._progress.end()
            return False
        return True

    async def _judge(self) -> bool:
        try:
            return bool(await resolved(self._progress.is_stale()))
        except BaseException as raised:
            self._progress.abandon(raised)
            raise

    def _goes_on(self, stale: bool, timed_out: bool) -> bool:
        if stale:
            return True
        try:
            if timed_out:
                raise cast(Exception, self._progress.error)
            return False
        finally:
            self._progress.end()

    # Between two attempts

    async def _prepare(self) -> None:
        """Wait, take a turn and reload the session, until an attempt can be made or the call is settled."""
        try:
            if not self._made:
                await self._leave(None)
                raise RuntimeError("the attempt was not made: write `with attempt:` around the append")
            if self._unjudged is not None:
                verdict, self._unjudged = self._unjudged, None
                if not await verdict:
                    raise cast(Exception, self._progress.error)
            await self._wait()
            while not await self._take_turn():
                await self._wait()
        except BaseException as raised:
            self._progress.abandon(raised)
            raise

    async def _wait(self) -> None:
        progress = self._progress
        if progress.exhausted:
            progress.give_up("max_attempts", AttemptsExhaustedError)
        wait = await progress.wait()
        if await progress.stopped():
            progress.give_up("stop", AttemptsExhaustedError)
        if anyio.current_time() + wait >= progress.deadline:
            progress.give_up("deadline", DeadlineExceededError)
        progress.tell("retrying", wait=wait)
        if recorders.get():
            progress.as_if_waited(wait)
            await checkpoint()
        else:
            await anyio.sleep(wait)

    async def _take_turn(self) -> bool:
        """Enter the gate and reload the session within the deadline. False when that failed as an attempt does."""
        turn = self._turn = Turn()
        turn.limit(self._progress.deadline)
        reloaded = False
        try:
            await self._queue(turn)
            reloaded = await self._refresh()
            expired = turn.lift_limit()
        except BaseException as raised:
            if not await self._leave(raised):
                raise
            expired = True
        if expired and self.settled is None:
            await self._leave(None)
            self._progress.give_up("deadline", DeadlineExceededError)
        if self.settled is not None or not reloaded:
            await self._leave(None)
        return reloaded

    async def _queue(self, turn: Turn) -> None:
        gate = self._policy.gate
        if gate is None:
            return
        try:
            await turn.queue(gate, self._call.session)
        except Exception as raised:
            self._progress.tell("gave_up", error=raised, reason="gate_failed")
            raise

    async def _refresh(self) -> bool:
        progress, call = self._progress, self._call
        stale = call.session
        try:
            fresh = await resolved(self._policy.refresh(*call.leading))
        except Exception as raised:
            chain(raised, cast(Exception, progress.error))
            progress.refresh_error = raised
        else:
            if fresh is None:
                progress.give_up("session_gone", SessionGoneError)
            call.session = fresh
            await self._ask_conflict_hooks(stale, fresh)
            return True
        if not await progress.counts_failed_refresh():
            progress.give_up("refresh_failed", SessionRefreshError)
        return False

    async def _ask_conflict_hooks(self, stale: Any, fresh: Any) -> None:
        progress = self._progress
        for hook in self._policy.on_conflict:
            try:
                answer = await resolved(
                    hook(
                        Conflict(
                            cast(Exception, progress.error),
                            stale,
                            fresh,
                            progress.attempts,
                            progress.elapsed,
                            self._call.arguments,
                        )
                    )
                )
                self._call.refuse_new_arguments()
                if answer is not None and not isinstance(answer, Settled):
                    raise TypeError(
                        f"on_conflict must return None or conflict.settle(result); "
                        f"{name_of(hook)} returned a {type(answer).__name__}"
                    )
            except Exception as raised:
                progress.tell("gave_up", error=raised, reason="aborted")
                raise
            if answer is not None:
                self.settled = answer
                return


def attempt_timed_out() -> TimeoutError:
    return TimeoutError("the append was cancelled after attempt_timeout; it may or may not be stored")
