"""How far one call has come, and what the strategies and observers are told of it."""

from __future__ import annotations

import inspect
import logging
import math
import sys
import time
from collections.abc import Awaitable, Mapping
from typing import TYPE_CHECKING, Any, NoReturn, cast

import anyio
import tenacity

from ._call import Call, name_of
from ._context import limits_in_force, recorders
from .errors import StaleSessionRetryError, apart_from, chain, gave_up_since, mark_given_up
from .events import Kind, Reason, RetryEvent

if TYPE_CHECKING:
    from ._retrying import StaleSessionRetrying

logger = logging.getLogger("stale_retry")

_WHY: dict[Reason, str] = {
    "max_attempts": "max_attempts were made",
    "stop": "the stop strategy said so",
    "deadline": "the deadline leaves no time for another attempt",
    "session_gone": "the refresh hook found no session",
    "refresh_failed": "the refresh hook could not reload the session",
}


_WHAT_NOW: dict[Reason, str] = {"session_gone": "the event has nowhere to go until the session is created again"}


class Progress:
    """Belongs to one call.

    Attributes:
        attempts: attempts made so far, the current one included.
        error: what the last attempt failed with.
        refresh_error: what the refresh hook raised after it.
        deadline: when the call is due, on the event loop's clock.
    """

    # Errors are kept here and in no local variable that outlives its block: an error holds the frames it passed
    # through, and a frame that holds the error in turn keeps session and event alive until a garbage collection.

    __slots__ = (
        "_attempt_began",
        "_began",
        "_max_attempts",
        "_name",
        "_policy",
        "_state",
        "attempts",
        "call",
        "deadline",
        "ended",
        "error",
        "refresh_error",
    )

    def __init__(self, policy: StaleSessionRetrying, name: str, call: Call, *, attempts: int, entered: float) -> None:
        self.call = call
        self.attempts = attempts
        self.error: Exception | None = None
        self.refresh_error: Exception | None = None
        self.ended = False
        self._policy = policy
        self._name = name
        self._state: tenacity.RetryCallState | None = None
        self._attempt_began = entered
        # The event loop's clock from here on, so that virtual time works.
        self._began = anyio.current_time() - (time.monotonic() - entered)
        self._max_attempts, deadline = limits_in_force(policy.max_attempts, policy.deadline)
        self.deadline = math.inf if deadline is None else self._began + deadline

    @property
    def elapsed(self) -> float:
        """Seconds since the call's entry."""
        return anyio.current_time() - self._began

    @property
    def exhausted(self) -> bool:
        return self._max_attempts is not None and self.attempts >= self._max_attempts

    def begin_attempt(self) -> None:
        self.attempts += 1
        self._attempt_began = time.monotonic()

    def as_if_waited(self, seconds: float) -> None:
        """Let that much time have passed: the call began, and is due, that much earlier."""
        self._began -= seconds
        self.deadline -= seconds

    def failed(self, error: Exception) -> None:
        """The current attempt, or the refresh that counts as one, failed."""
        self.error = error
        if self._state is None:
            self._state = retry_state(self._policy, *self.call.given)
        state = self._state
        state.attempt_number = self.attempts
        state.start_time = self._began
        state.set_exception((type(error), error, error.__traceback__))
        state.outcome_timestamp = anyio.current_time()

    def is_stale(self) -> bool | Awaitable[bool]:
        """Whether the last error is one to retry."""
        return not gave_up_since(self._attempt_began, self.error) and self._policy.on(self._asked_with)

    async def counts_failed_refresh(self) -> bool:
        """Take the refresh's error for that of a failed attempt, if it is one to retry."""
        rejected = self.error
        try:
            self.attempts += 1
            self.failed(cast(Exception, self.refresh_error))
            stale = bool(await resolved(self.is_stale()))
            if stale:
                self.refresh_error = None
            else:
                self.attempts -= 1
                self.error = rejected
            return stale
        finally:
            del rejected

    async def wait(self) -> float:
        """The seconds to wait before the next attempt, jitter included."""
        state = self._asked_with
        state.idle_for += state.upcoming_sleep
        delay = await resolved(self._policy.backoff(state))
        if self._policy.jitter is not None:
            delay = self._policy.jitter(delay)
        state.upcoming_sleep = max(0.0, float(delay))
        return state.upcoming_sleep

    async def stopped(self) -> bool:
        stop = self._policy.stop
        return stop is not None and bool(await resolved(stop(self._asked_with)))

    @property
    def _asked_with(self) -> tenacity.RetryCallState:
        return cast(tenacity.RetryCallState, self._state)

    def tell(
        self,
        kind: Kind,
        *,
        wait: float | None = None,
        error: Exception | None = None,
        reason: Reason | None = None,
    ) -> None:
        """Tell every observer, and the recorders of this context."""
        observers = (*self._policy.observers, *(recorder.record for recorder in recorders.get()))
        if not observers:
            return
        event = RetryEvent(kind, self._name, self.attempts, wait, self.elapsed, error or self.error, reason)
        handled = sys.exc_info()[1]
        for observer in observers:
            try:
                observer(event)
            except Exception as raised:
                logger.exception(
                    "the observer %s raised", name_of(observer), exc_info=apart_from(raised, event.error, handled)
                )

    def give_up(self, reason: Reason, kind: type[StaleSessionRetryError]) -> NoReturn:
        """Raise `kind`, or the store's own error where the policy says so."""
        last = cast(Exception, self.error)
        cause = self.refresh_error or last
        self.tell("gave_up", error=cause, reason=reason)
        attempts, elapsed = self.attempts, self.elapsed
        facts = (
            f"{self._name} gave up after {attempts} {'attempt' if attempts == 1 else 'attempts'} "
            f"in {elapsed:.2f} s: {_WHY[reason]}"
        )
        try:
            if self._policy.reraise:
                mark_given_up(cause, time.monotonic())
                if hasattr(cause, "add_note"):
                    cause.add_note(f"stale_retry: {facts}")
                raise cause
            advice = _WHAT_NOW.get(reason, "reload the session, and send the event again if it lacks it")
            raise kind(
                f"{facts}. No attempt was acknowledged: {advice}.", attempts=attempts, elapsed=elapsed, last_error=last
            ) from cause
        finally:
            del cause, last

    def abandon(self, raised: BaseException) -> None:
        """The call ends with what something other than the append raised; the stale error stays reachable from it."""
        if isinstance(raised, Exception) and self.error is not None:
            chain(raised, self.error)
        self.end()

    def end(self) -> None:
        """Let go of the errors, and so of every frame, session and event behind them."""
        self.ended = True
        self.error = self.refresh_error = self._state = None


def retry_state(
    policy: StaleSessionRetrying, args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> tenacity.RetryCallState:
    """What tenacity's strategies are handed, made anew for each call so that calls share nothing."""
    retrying = tenacity.AsyncRetrying(
        wait=cast(Any, policy.backoff), stop=cast(Any, policy.stop or tenacity.stop_never), retry=cast(Any, policy.on)
    )
    return tenacity.RetryCallState(retrying, None, args, kwargs)


async def resolved(value: Any) -> Any:
    """A strategy's or hook's answer, awaited if it is async."""
    return await value if inspect.isawaitable(value) else value
