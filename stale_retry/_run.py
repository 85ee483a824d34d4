"""One call: what has been attempted, what a failed attempt means, and how the call ends."""

from __future__ import annotations

import inspect
import time
from collections.abc import Callable
from typing import Any, Literal, NoReturn, cast

import tenacity

from ._call import Call
from ._cancelled import cancellations, stands_for_a_cancellation
from ._chain import being_handled, chain
from ._clock import Clock
from ._context import limits_in_force, recorders
from ._failures import Failures
from ._giving_up import gave_up_since, give_up
from ._loops import cancelled_class, current_loop
from ._policy import Policy
from ._queue import Slot
from ._strategies import RetryState, answer_of
from ._telling import tell
from .conflict import Settled
from .detection import is_conflict_error
from .errors import StaleSessionError
from .events import Kind, Reason, RetryEvent
from .transient import is_transient_error, leaves_doubt

Verdict = Literal["retry", "look", "raise"]
"""What a failed attempt means: retry; look whether the event is stored, or else raise; raise."""


class Run:
    """One call: what has been attempted, and how it ended.

    Attributes:
        attempts: calls of the append so far, the current one included.
        tries: the same and failed refreshes that count as attempts; what `max_attempts` and the backoff go by.
        settled: what the call ended with instead of an attempt.
        slot: the call's slot in the queue of its key, kept from the first attempt until the call ends.
        ended: whether there is nothing left to do.
    """

    __slots__ = (
        "__weakref__",
        "_attempt_began",
        "_cancellations",
        "_find",
        "_max_attempts",
        "_name",
        "_state",
        "_timed_out",
        "attempts",
        "call",
        "clock",
        "ended",
        "entered",
        "failures",
        "has_looked",
        "is_block",
        "is_shared",
        "policy",
        "settled",
        "slot",
        "tries",
    )

    def __init__(
        self,
        policy: Policy,
        name: str,
        call: Call,
        *,
        entered: float,
        attempts: int = 0,
        slot: Slot | None = None,
        find: Callable[[Any], Any] | None = None,
        is_block: bool = False,
    ) -> None:
        self.policy = policy
        self.call = call
        self.attempts = self.tries = attempts
        self.failures = Failures()
        self.slot = slot
        self.settled: Settled | None = None
        self.has_looked = False
        self.ended = False
        self.entered = entered
        self.is_block = is_block
        self.is_shared = False
        self._name = name
        self._find = find
        self._state: RetryState | None = None
        self._timed_out = False
        self._attempt_began = entered
        self._cancellations: int | None = None
        self._max_attempts, deadline = limits_in_force(policy.max_attempts, policy.deadline)
        self.clock = Clock(entered, deadline)

    # An attempt is made

    def look_around(self) -> None:
        """Note what the caller is just handling, and how often its task is being cancelled."""
        self.failures.handled = being_handled()
        self._cancellations = cancellations(current_loop())

    def begin_attempt(self) -> None:
        self.attempts += 1
        self.tries += 1
        self.has_looked = False
        self._attempt_began = time.monotonic()
        self._timed_out = False
        self._cancellations = cancellations(current_loop())

    def time_limit(self) -> float:
        """When the coming attempt is to be cancelled; infinity if never."""
        timeout = self.policy.attempt_timeout
        return float("inf") if timeout is None else min(self.clock.now() + timeout, self.clock.deadline)

    def timed_out(self) -> TimeoutError:
        """What an attempt that was cancelled at its time limit raises."""
        self._timed_out = True
        return TimeoutError("the append was cancelled after attempt_timeout; the event may be stored")

    # and judged

    def judge(self, error: Exception) -> Verdict:
        """What an attempt's error means. "raise" ends the call with it."""
        try:
            self.clock.attempted(time.monotonic() - self._attempt_began)
            if self.is_final(error):
                self.leave_with(error)
                return "raise"
            self._note(error)
            if isinstance(error, tenacity.TryAgain) or self._accepts(self.policy.on):
                self._take(error, in_doubt=not self.policy.knows_conflicts_only and leaves_doubt(error))
                return "retry"
            if self.policy.in_doubt is not None and self._accepts(self.policy.in_doubt):
                is_known = is_transient_error(error) or is_conflict_error(error)
                self._take(error, in_doubt=leaves_doubt(error) or not is_known)
                return "retry"
            if self.failures.in_doubt and self.looks:
                return "look"
            self.leave_with(error)
        except BaseException as raised:
            self.abandon(raised)
            raise
        return "raise"

    def rejected(self, result: Any) -> bool:
        """Whether the append's result is a rejection."""
        self.clock.attempted(time.monotonic() - self._attempt_began)
        self._note(None, result)
        try:
            if not self._accepts(self.policy.on):
                return False
        except BaseException as raised:
            self.abandon(raised)
            raise
        if cancellations(current_loop()) > (self._cancellations or 0):  # swallowed, and answered
            if self.slot is not None:
                self.slot.was_rejected()
            self.end()
            return False
        answered = f"the append answered with a {type(result).__name__} that is to be retried"
        self._take(StaleSessionError(answered), in_doubt=False)
        return True

    def is_final(self, error: Exception) -> bool:
        """Whether an error is not to be judged: it stands for a cancellation, a call inside gave up with it, or it says
        that the call itself is wrong.
        """
        return (
            self.was_cancelled(error)
            or gave_up_since(self._attempt_began, error)
            or (isinstance(error, TypeError) and not self.call.fits)
        )

    def was_cancelled(self, error: Exception) -> bool:
        """Whether an error stands for a cancellation since the attempt, or the way to it, began."""
        return stands_for_a_cancellation(error, self._cancellations)

    def takes_failed_refresh(self, error: Exception) -> bool:
        """Whether an error of the refresh hook, or of `find_stored`, is retried as an attempt's is. It brings no doubt.

        Raises:
            Exception: the error, if it stands for a cancellation.
        """
        if self.was_cancelled(error):
            raise error
        if gave_up_since(self._attempt_began, error):
            return False
        self.tries += 1
        self._note(error)
        for strategy in (self.policy.on, self.policy.in_doubt):
            if strategy is not None and self._accepts(strategy):
                self.failures.take(error)
                return True
        self.tries -= 1
        return False

    @property
    def refreshes_early(self) -> bool:
        """Whether a caller that waited refreshes before its first attempt. A hook may settle that attempt, but a block
        cannot be left out, so it is let through as it came.
        """
        policy = self.policy
        return policy.refresh is not None and not self.call.is_a_save and not (self.is_block and policy.on_conflict)

    def accepts_early(self, waited: Exception) -> bool:
        """Whether `on` lets an append that waited be made on a fresh session: a strategy that looks at the call may say
        that it is never to be retried.
        """
        if not self.policy.asks_call:
            return True
        self._note(waited)
        return self._accepts(self.policy.on)

    def _take(self, error: Exception, *, in_doubt: bool) -> None:
        self.is_shared = error is self.failures.error
        if in_doubt or self._timed_out:
            self.failures.take_doubt(error)
            return
        self.failures.take_rejection(error)
        if self.slot is not None:
            self.slot.was_rejected()

    # What tenacity's strategies say

    def _note(self, error: Exception | None, result: Any = None) -> None:
        """Note what the strategies are asked about next."""
        state = self._state
        if state is None:
            policy = self.policy
            state = self._state = RetryState(policy.on, policy.backoff, policy.stop, self.call.append)
        state.args, state.kwargs = self.call.args, cast("dict[str, Any]", self.call.kwargs)
        state.attempt_number = self.tries
        state.start_time = self.clock.began
        state.idle_for += state.upcoming_sleep
        state.upcoming_sleep = 0.0
        if error is None:
            state.set_result(result)
        else:
            state.set_exception((type(error), error, error.__traceback__))
        state.outcome_timestamp = self.clock.now()

    def _accepts(self, strategy: Any) -> bool:
        return bool(answer_of(strategy, cast(RetryState, self._state)))

    @property
    def is_exhausted(self) -> bool:
        return self._max_attempts is not None and self.tries >= self._max_attempts

    def next_wait(self) -> float:
        """The seconds to wait before the next attempt, jitter included."""
        wait = answer_of(self.policy.backoff, cast(RetryState, self._state))
        if self.policy.jitter is not None:
            wait = self.policy.jitter(wait)
        return max(0.0, float(wait))

    def stops(self, wait: float) -> bool:
        state, stop = cast(RetryState, self._state), self.policy.stop
        state.upcoming_sleep = wait
        return stop is not None and bool(answer_of(stop, state))

    # Whether the event is stored already

    @property
    def looks(self) -> bool:
        return self._find is not None or self.policy.finder is not None

    async def look(self) -> bool:
        """Whether `find_stored` finds the event, which settles the call."""
        if not self.looks:
            return False
        before = cancellations(current_loop())
        found = self._find(self.call.session) if self._find else cast(Any, self.policy.finder)(self.call.named())
        found = await awaited(found)
        if found and cancellations(current_loop()) > before:
            raise cancelled_class()  # the finder swallowed it
        self.has_looked = True
        if found:
            self.settled = found if isinstance(found, Settled) else Settled(found)
            return True
        if self.failures.is_rejected:
            self.failures.clear_doubt()
        return False

    # What is told

    def tell(
        self, kind: Kind, *, wait: float | None = None, error: Exception | None = None, reason: Reason | None = None
    ) -> None:
        """Tell every observer, and the recorders of this context."""
        observers = (*self.policy.observers, *recorders.get())
        if observers:
            error = self.failures.error if error is None else error
            in_doubt, clock = self.failures.in_doubt, self.clock
            event = RetryEvent(
                kind, self._name, self.attempts, wait, clock.elapsed, error, reason, in_doubt, clock.queued
            )
            tell(observers, event)

    # How it ends

    def stored(self) -> None:
        """The append returned: the call ends as a success."""
        if self.slot is not None:
            self.slot.stored_through(self.call.session)
        self.recovered()

    def recovered(self) -> None:
        """The call ends as a success, which is told where it did not look like one all along."""
        try:
            if self.failures.error is not None:
                self.tell("recovered")
        finally:
            self.end()

    def give_up(self, reason: Reason, refresh_error: Exception | None = None) -> NoReturn:
        """Raise the error of the reason, or what stands for it where the event may be stored or the policy says so."""
        failures = self.failures
        cause = cast(Exception, failures.error) if refresh_error is None else refresh_error
        raised = failures.doubt if self.policy.reraise and failures.doubt is not None else cause
        handled = being_handled()
        error: Exception | None = None
        try:
            for error in (cause, failures.rejection, failures.doubt):
                if error is not None:
                    chain(raised, error, handled, self.entered)
            self.tell("gave_up", error=cause, reason=reason)
            give_up(
                self.policy,
                reason,
                cause,
                failures,
                name=self._name,
                attempts=self.attempts,
                elapsed=self.clock.elapsed,
                is_shared=self.is_shared,
            )
        finally:
            del cause, refresh_error, raised, error

    def abandon(self, raised: BaseException) -> None:
        """The call ends with what something other than the append raised; the stale error stays reachable from it."""
        if isinstance(raised, Exception) and not self.ended:
            outcome = None if self._state is None else self._state.outcome
            for error in (None if outcome is None else outcome.exception(), self.failures.origin):
                if isinstance(error, Exception):
                    chain(raised, error, self.failures.handled, self.entered)
        self.end()

    def leave_with(self, error: Exception) -> None:
        """The call ends with an error of the append's own, as it is."""
        if self.failures.origin is not None:
            chain(error, self.failures.origin, self.failures.handled, self.entered)
        self.end()

    def end(self) -> None:
        """Let go of the slot and the errors, and so of every frame, session and event behind them."""
        self.ended = True
        if self.slot is not None:
            self.slot.release()
        self.failures.clear()
        self._state = None


async def awaited(value: Any) -> Any:
    """A hook's answer, awaited if it is async. One that returns a coroutine forgot an await, which is made up for."""
    if inspect.isawaitable(value):
        value = await value
        while inspect.iscoroutine(value):
            value = await value
    return value
