"""A block of code in a runner's own loop, retried."""

from __future__ import annotations

import math
import time
import warnings
from types import TracebackType
from typing import Generic, Literal, TypeVar, cast

import anyio

from ._attempts import Progress
from ._between import leave_gates, prepare
from ._call import Call
from ._loops import current_task
from ._policy import Policy
from .conflict import Settled

S = TypeVar("S")


class Attempts(Generic[S]):
    """The attempts of one block: iterate for the next one, enter it to make it.

    Made by `StaleSessionRetrying.attempts`; serves one loop of one task. Every iteration yields this same object, so
    after the loop it still tells how the call ended.

    Raises:
        RuntimeError: it is looped over twice, entered twice or not at all, or used by another task.
    """

    def __init__(self, policy: Policy, name: str, call: Call) -> None:
        self._policy = policy
        self._name = name
        self._call = call
        self._entered = time.monotonic()
        self._progress: Progress | None = None
        self._task = 0
        self._state: Literal["made", "ready", "inside"] = "made"
        self._scope: anyio.CancelScope | None = None

    @property
    def number(self) -> int:
        """The current attempt, counted from 1."""
        return 0 if self._progress is None else self._progress.attempts

    @property
    def session(self) -> S:
        """The session of the current attempt; after the loop, the one that was stored through."""
        return cast(S, self._call.session)

    @property
    def settled(self) -> Settled | None:
        """What a conflict hook ended the call with (its `result`), or None."""
        return None if self._progress is None else self._progress.settled

    # The iteration prepares an attempt, the block makes it.

    def __aiter__(self) -> Attempts[S]:
        if self._progress is not None:
            raise RuntimeError("attempts(...) serves one loop: call it again for another")
        self._begin()
        return self

    async def __anext__(self) -> Attempts[S]:
        progress = self._begin()
        if progress.ended:
            await leave_gates(progress)
            raise StopAsyncIteration
        self._refuse_other_task()
        if self._state != "made":
            error = RuntimeError("the attempt was not made: write `with attempt:` around the append")
            progress.abandon(error)
            try:
                raise error
            finally:
                del error
        if not await prepare(progress):
            raise StopAsyncIteration
        progress.failures.let_go_of_frames()
        self._state = "ready"
        return self

    def __enter__(self) -> Attempts[S]:
        progress = self._begin()
        self._refuse_other_task()
        if self._state != "ready" or progress.ended:
            raise RuntimeError("an attempt is entered once, inside the loop that it comes from")
        self._state = "inside"
        limit = progress.time_limit()
        if limit is not None:
            self._scope = anyio.CancelScope(deadline=limit)
            self._scope.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool:
        progress = self._begin()
        failure = self._made(progress, error)
        for hold in progress.held:
            hold.release()
        try:
            return failure is not None and self._goes_on(progress.failed_now(failure), failure, error)
        finally:  # see Failures
            del failure, error

    async def __aenter__(self) -> Attempts[S]:
        return self.__enter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool:
        progress = self._begin()
        failure = self._made(progress, error)
        try:
            await leave_gates(progress)
            return failure is not None and self._goes_on(await progress.failed(failure), failure, error)
        finally:
            del failure, error

    def __del__(self) -> None:
        progress = self._progress
        if progress is not None and progress.attempts and not progress.ended and self._state == "made":
            warnings.warn(
                f"{self._name}: the loop was left after a failed attempt, so the event is not stored: leave it from "
                f"inside `with attempt:`, or let it end by itself",
                ResourceWarning,
                stacklevel=2,
            )

    def _begin(self) -> Progress:
        if self._progress is None:
            session = self._call.session
            places = [gate(session) for gate in self._policy.local_gates]
            self._task = id(current_task())
            self._progress = Progress(self._policy, self._name, self._call, entered=self._entered, places=places)
        return self._progress

    def _refuse_other_task(self) -> None:
        if self._task != id(current_task()):
            raise RuntimeError("attempts(...) serves one task: call it again in the other")

    def _made(self, progress: Progress, error: BaseException | None) -> Exception | None:
        """What is to be judged. None ends the call: it is stored, or cancelled."""
        self._state = "made"
        scope, self._scope = self._scope, None
        failure = error
        if scope is not None:
            try:
                if scope.__exit__(None if error is None else type(error), error, None) and error is not None:
                    failure = progress.timed_out()
            except BaseException as rest:  # of a group, in which the time limit's own cancellation was one
                failure = rest
                scope.deadline = math.inf  # it was not left, where another task closes a generator
        try:
            if failure is None:
                progress.stored()
            elif isinstance(failure, Exception):
                return failure
            else:
                progress.end()
            return None
        finally:
            del failure, error

    def _goes_on(self, retry: bool, failure: Exception, error: BaseException | None) -> bool:
        try:
            if retry:
                # A failure's frames lead to the block's own frame, which holds these attempts: a loop that is left here
                # would keep its gates until a garbage collection.
                self._begin().failures.let_go_of_frames()
            elif failure is not error:
                raise failure
            return retry
        finally:
            del failure, error
