"""A block of code in a runner's own loop, retried."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable
from types import TracebackType
from typing import Any, Generic, Literal, TypeVar, cast

from ._call import Call
from ._limit import time_limit
from ._loops import current_task
from ._policy import Policy
from ._retry import is_stored, next_attempt
from ._run import Run
from .conflict import Settled

S = TypeVar("S")


class Attempts(Generic[S]):
    """The attempts of one block: iterate for the next one, enter it to make it.

    Made by `StaleSessionRetrying.attempts`; serves one loop of one task. Every iteration yields this same object, so
    after the loop it still tells how the call ended.

    Raises:
        RuntimeError: it is looped over twice, entered twice or not at all, or used by another task.
    """

    def __init__(self, policy: Policy, name: str, call: Call, find: Callable[[Any], Any] | None) -> None:
        self._policy = policy
        self._name = name
        self._call = call
        self._find = find
        self._entered = time.monotonic()
        self._run: Run | None = None
        self._task = 0
        self._state: Literal["made", "ready", "inside"] = "made"
        self._limit: Any = None
        self._unresolved: Exception | None = None

    @property
    def number(self) -> int:
        """The current attempt, counted from 1."""
        return 0 if self._run is None else self._run.attempts

    @property
    def session(self) -> S:
        """The session of the current attempt; after the loop, the one that was stored through."""
        return cast(S, self._call.session)

    @property
    def settled(self) -> Settled | None:
        """What `find_stored` or a conflict hook ended the call with (its `result`), or None."""
        return None if self._run is None else self._run.settled

    # The iteration prepares an attempt, the block makes it.

    def __aiter__(self) -> Attempts[S]:
        if self._run is not None:
            raise RuntimeError("attempts(...) serves one loop; call it again for another")
        self._begin()
        return self

    async def __anext__(self) -> Attempts[S]:
        run = self._begin()
        if run.ended:
            raise StopAsyncIteration
        self._refuse_other_task()
        if self._state != "made":
            error = RuntimeError("the attempt was not made; write `with attempt:` around the append")
            run.abandon(error)
            try:
                raise error
            finally:
                del error
        unresolved, self._unresolved = self._unresolved, None
        try:
            if unresolved is not None:
                if not await is_stored(run, unresolved):
                    raise unresolved
                raise StopAsyncIteration
        finally:
            del unresolved
        if not await next_attempt(run):
            raise StopAsyncIteration
        run.failures.let_go_of_frames()
        self._state = "ready"
        return self

    def __enter__(self) -> Attempts[S]:
        run = self._begin()
        self._refuse_other_task()
        if self._state != "ready" or run.ended:
            raise RuntimeError("an attempt is entered once, inside the loop that it comes from")
        self._state = "inside"
        self._limit = time_limit(run.time_limit())
        self._limit.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool:
        run = self._begin()
        self._state = "made"
        limit, self._limit = self._limit, None
        failure = error
        try:
            try:
                limit.__exit__(kind, error, traceback)
                if limit.is_over:
                    failure = run.timed_out()
            except BaseException as rest:  # of a group, in which the time limit's own cancellation was one
                failure = rest
            if failure is None:
                run.stored()
                return False
            if not isinstance(failure, Exception):
                run.end()
                return False
            verdict = run.judge(failure)
            if verdict == "raise":
                if failure is not error:
                    raise failure
                return False
            if verdict == "look":
                self._unresolved = failure
            # A failure's frames lead to the block's own frame, which holds these attempts: a loop that is left here
            # would keep its slot until a garbage collection.
            run.failures.let_go_of_frames()
            return True
        finally:  # see Failures
            del failure, error

    def __del__(self) -> None:
        run = self._run
        if run is not None and run.attempts and not run.ended and self._state == "made":
            warnings.warn(
                f"{self._name}: the loop was left after a failed attempt, so the event is not stored; leave it from "
                f"inside `with attempt:`, or let it end by itself",
                ResourceWarning,
                stacklevel=2,
            )

    def _begin(self) -> Run:
        if self._run is None:
            policy = self._policy
            slot = None if policy.queues is None else policy.queues.slot(policy.session_key(self._call.session))
            self._task = id(current_task())
            self._run = Run(
                policy, self._name, self._call, entered=self._entered, slot=slot, find=self._find, is_block=True
            )
        return self._run

    def _refuse_other_task(self) -> None:
        if self._task != id(current_task()):
            raise RuntimeError("attempts(...) serves one task; call it again in the other")
