"""One call's attempts: what is made, how it is judged, and how it ends."""

from __future__ import annotations

import math
import time
from collections.abc import Awaitable, Sequence
from typing import Any, NoReturn

import anyio
import tenacity

from ._asking import Asked, Asking, judged
from ._call import Call
from ._cancelled import cancellations, turned_a_cancellation
from ._chain import being_handled, chain
from ._context import limits_in_force, recorders
from ._failures import Failures
from ._giving_up import cause_of, gave_up_since, give_up
from ._hold import Hold
from ._loops import current_loop
from ._policy import Policy
from ._telling import tell
from .conflict import Settled
from .errors import StaleSessionError, StaleSessionRetryError
from .events import Kind, Reason, RetryEvent
from .gates.local import Place


class Progress:
    """How far one call has come.

    Attributes:
        attempts: attempts made so far, the current one included.
        failures: what they failed with.
        asked: the call as tenacity's strategies see it.
        deadline: when the call is due, on the event loop's clock.
        settled: what a conflict hook ended the call with.
        places: the call's places at local gates, held from before the first attempt until the call ends.
        held: the shared gates that the coming attempt holds.
        unjudged: the last attempt's error and the verdict on it, where that takes an await that was not possible.
        ended: whether there is nothing left to do.
    """

    __slots__ = (
        "_attempt_began",
        "_began",
        "_cancellations",
        "_max_attempts",
        "_name",
        "_queued",
        "_timed_out",
        "asked",
        "attempts",
        "call",
        "deadline",
        "ended",
        "failures",
        "held",
        "places",
        "policy",
        "settled",
        "unjudged",
    )

    def __init__(
        self,
        policy: Policy,
        name: str,
        call: Call,
        *,
        entered: float,
        attempts: int = 0,
        places: Sequence[Place] = (),
        cancellations: int | None = None,
    ) -> None:
        self.policy = policy
        self.call = call
        self.attempts = attempts
        self.failures = Failures()
        self.asked = Asked(policy, call)
        self.places = places
        self.held: list[Hold] = []
        self.settled: Settled | None = None
        self.unjudged: tuple[Exception, Awaitable[bool]] | None = None
        self.ended = False
        self._name = name
        self._queued = 0.0
        self._timed_out = False
        self._attempt_began = entered
        self._cancellations = cancellations
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

    def skip(self, seconds: float) -> None:
        """Let that much time have passed: the call began, and is due, that much earlier."""
        self._began -= seconds
        self.deadline -= seconds

    async def queued_for(self, waiting: Awaitable[None]) -> None:
        """Await a place at a gate, and count the seconds."""
        began = anyio.current_time()
        try:
            await waiting
        finally:
            self._queued += anyio.current_time() - began

    # An attempt is made

    def look_around(self) -> None:
        """Note what the caller is just handling, and how often his task is being cancelled."""
        self.failures.handled = being_handled()
        self._cancellations = cancellations(current_loop())

    def begin_attempt(self) -> None:
        self.attempts += 1
        self._attempt_began = time.monotonic()
        self._timed_out = False
        self._cancellations = cancellations(current_loop())

    def time_limit(self) -> float | None:
        """When the coming attempt is to be cancelled, if ever."""
        timeout = self.policy.attempt_timeout
        return None if timeout is None else min(anyio.current_time() + timeout, self.deadline)

    def timed_out(self) -> TimeoutError:
        """What an attempt that was cancelled at its time limit raises."""
        self._timed_out = True
        return TimeoutError("the append was cancelled after attempt_timeout; it may or may not be stored")

    # and judged

    async def failed(self, error: Exception) -> bool:
        """Whether to retry after what the attempt raised. False ends the call."""
        try:
            return await judged(self._judging(error))
        except BaseException as raised:
            self.abandon(raised)
            raise

    def failed_now(self, error: Exception) -> bool:
        """As `failed`, without an await. A verdict that takes one is left in `unjudged`, and this is True."""
        judging = self._judging(error)
        try:
            answer = next(judging)
        except StopIteration as verdict:
            return bool(verdict.value)
        except BaseException as raised:
            self.abandon(raised)
            raise
        self.unjudged = error, judged(judging, answer)
        return True

    async def rejected(self, result: Any) -> bool:
        """Whether the append's result is a rejection."""
        self.asked.note(self.attempts, self._began, None, result)
        try:
            if not await judged(self.asked.accepts(self.policy.on)):
                return False
        except BaseException as raised:
            self.abandon(raised)
            raise
        if turned_a_cancellation(None, self._cancellations):
            self.end()
            return False
        answered = f"the append answered with a {type(result).__name__} that is to be retried"
        self.failures.take_rejection(StaleSessionError(answered))
        return True

    async def accepts_failed_refresh(self, error: Exception) -> bool:
        """Whether the refresh hook's error counts as a failed attempt. It stored nothing, so it brings no doubt."""
        if self._is_final(error):
            return False
        self.asked.note(self.attempts + 1, self._began, error)
        for strategy in (self.policy.on, self.policy.in_doubt):
            if strategy is not None and await judged(self.asked.accepts(strategy)):
                self.attempts += 1
                self.failures.take(error)
                return True
        return False

    async def refreshes_early(self, waited: Exception) -> bool:
        """Whether `on` lets an append that waited for its place be made on a fresh session: one that looks at the call
        may say that this event is never to be retried.
        """
        if not self.policy.asks_call:
            return True
        self.asked.note(0, self._began, waited)
        return await judged(self.asked.accepts(self.policy.on))

    def _judging(self, error: Exception) -> Asking:
        policy, failures = self.policy, self.failures
        if not self._is_final(error):
            self.asked.note(self.attempts, self._began, error)
            if isinstance(error, tenacity.TryAgain) or (yield from self.asked.accepts(policy.on)):
                failures.take_rejection(error)
                if self._timed_out:
                    failures.take_doubt(error)
                return True
            if policy.in_doubt is not None and (yield from self.asked.accepts(policy.in_doubt)):
                failures.take_doubt(error)
                return True
        self._leave_with(error)
        return False

    def _is_final(self, error: Exception) -> bool:
        """Whether an error is not to be judged: it stands for a cancellation, a call inside gave up with it, or it says
        that the call itself is wrong.
        """
        return (
            turned_a_cancellation(error, self._cancellations)
            or gave_up_since(self._attempt_began, error)
            or (isinstance(error, TypeError) and not self.call.fits)
        )

    # What is told

    def tell(
        self,
        kind: Kind,
        *,
        wait: float | None = None,
        error: Exception | None = None,
        reason: Reason | None = None,
    ) -> None:
        """Tell every observer, and the recorders of this context."""
        observers = (*self.policy.observers, *recorders.get())
        if observers:
            error = self.failures.error if error is None else error
            in_doubt, queued = self.failures.in_doubt, self._queued
            event = RetryEvent(kind, self._name, self.attempts, wait, self.elapsed, error, reason, in_doubt, queued)
            tell(observers, event)

    # How it ends

    def stored(self) -> None:
        """The append returned: the call ends as a success."""
        for place in self.places:
            place.stored_through(self.call.session)
        self.recovered()

    def recovered(self) -> None:
        """The call ends as a success, which is told where it did not look like one all along."""
        try:
            if self.failures.error is not None:
                self.tell("recovered")
        finally:
            self.end()

    def give_up(
        self, reason: Reason, kind: type[StaleSessionRetryError], refresh_error: Exception | None = None
    ) -> NoReturn:
        """Raise `kind`, or what stands for it where the event may be stored or the policy says so."""
        cause = cause_of(self.failures, refresh_error, reraise=self.policy.reraise)
        try:
            self.tell("gave_up", error=cause, reason=reason)
            give_up(
                kind,
                reason,
                cause,
                self.failures,
                name=self._name,
                attempts=self.attempts,
                elapsed=self.elapsed,
                reraise=self.policy.reraise,
            )
        finally:
            del cause, refresh_error

    def abandon(self, raised: BaseException) -> None:
        """The call ends with what something other than the append raised; the stale error stays reachable from it."""
        if isinstance(raised, Exception):
            for error in (self.asked.error, self.failures.origin):
                if isinstance(error, Exception):
                    chain(raised, error, self.failures.handled)
        self.end()

    def _leave_with(self, error: Exception) -> None:
        """The call ends with an error of the append's own, as it is."""
        if self.failures.origin is not None:
            chain(error, self.failures.origin, self.failures.handled)
        self.end()

    def end(self) -> None:
        """Let go of gates and errors, and so of every frame, session and event behind them."""
        self.ended = True
        for hold in self.held:
            hold.release()
        for place in self.places:
            place.release()
        self.failures.clear()
        self.asked.clear()
        self.unjudged = None
