"""One call as tenacity's strategies see it, and what they answer."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Generator
from typing import Any, cast

import anyio
import tenacity

from ._call import Call
from ._policy import Policy
from ._strategies import retry_state

Asking = Generator[Awaitable[bool], bool, bool]
"""A judgement that yields what has to be awaited and takes the answer, so it can be made with an await or without."""


class Asked:
    """Belongs to one call. The state is made when an attempt has failed, and not before."""

    __slots__ = ("_call", "_policy", "_state")

    def __init__(self, policy: Policy, call: Call) -> None:
        self._policy = policy
        self._call = call
        self._state: tenacity.RetryCallState | None = None

    def note(self, attempts: int, began: float, error: Exception | None, result: Any = None) -> None:
        """Note how the attempt ended that the strategies are asked about next."""
        if self._state is None:
            policy, call = self._policy, self._call
            self._state = retry_state(policy.on, policy.backoff, policy.stop, call.append)
        state = self._state
        state.args, state.kwargs = self._call.args, self._call.kwargs
        state.attempt_number = attempts
        state.start_time = began
        state.idle_for += state.upcoming_sleep
        if error is None:
            state.set_result(result)
        else:
            state.set_exception((type(error), error, error.__traceback__))
        state.outcome_timestamp = anyio.current_time()
        state.retry_object.statistics.update(
            start_time=state.start_time,
            attempt_number=state.attempt_number,
            idle_for=state.idle_for,
            delay_since_first_attempt=state.seconds_since_start,
        )

    @property
    def state(self) -> tenacity.RetryCallState:
        return cast(tenacity.RetryCallState, self._state)

    @property
    def error(self) -> BaseException | None:
        """The error that is asked about."""
        outcome = None if self._state is None else self._state.outcome
        return None if outcome is None else outcome.exception()

    def accepts(self, strategy: Any) -> Asking:
        answer = strategy(self.state)
        if inspect.isawaitable(answer):
            answer = yield answer
        return bool(answer)

    async def wait(self) -> float:
        """The seconds to wait before the next attempt, jitter included."""
        state = self.state
        delay = await resolved(self._policy.backoff(state))
        if self._policy.jitter is not None:
            delay = self._policy.jitter(delay)
        state.upcoming_sleep = max(0.0, float(delay))
        return state.upcoming_sleep

    async def stops(self) -> bool:
        stop = self._policy.stop
        return stop is not None and bool(await resolved(stop(self.state)))

    def clear(self) -> None:
        self._state = None


async def judged(asking: Asking, answer: Awaitable[bool] | None = None) -> bool:
    """The judgement, from its beginning or from an answer that it waits for."""
    try:
        while True:
            answer = next(asking) if answer is None else asking.send(await answer)
    except StopIteration as judgement:
        return bool(judgement.value)


async def resolved(value: Any) -> Any:
    """A strategy's or hook's answer, awaited if it is async."""
    return await value if inspect.isawaitable(value) else value
