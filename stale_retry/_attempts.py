"""One call's attempts: what is made, how it is judged, what is told of it, and how it ends."""

from __future__ import annotations

import asyncio
import inspect
import logging
import math
import sys
import time
from collections.abc import Awaitable, Generator, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NoReturn, cast

import anyio
import tenacity

from ._call import Call, name_of
from ._chain import apart_from, behind, being_handled, chain, drop_frames, note
from ._context import limits_in_force, recorders
from ._hold import Hold
from ._policy import Policy
from ._strategies import retry_state
from ._tasks import cancellations, current_loop, current_task
from .conflict import Settled
from .errors import InDoubtError, StaleSessionError, StaleSessionRetryError
from .events import Kind, Reason, RetryEvent
from .gates.local import Place

if sys.version_info < (3, 11):
    from exceptiongroup import BaseExceptionGroup

logger = logging.getLogger("stale_retry")

_WHY: dict[Reason, str] = {
    "max_attempts": "max_attempts were made",
    "stop": "the stop strategy said so",
    "deadline": "the deadline leaves no time for another attempt",
    "session_gone": "the refresh hook found no session",
    "refresh_failed": "the refresh hook could not reload the session",
}


class Progress:
    """How far one call has come.

    Attributes:
        attempts: attempts made so far, the current one included.
        error: what the last attempt, or a reload that counts as one, failed with.
        in_doubt: whether an attempt that was not answered may have stored the event.
        deadline: when the call is due, on the event loop's clock.
        queued: seconds spent waiting at gates.
        settled: what a conflict hook ended the call with.
        places: the call's places at local gates, held from before the first attempt until the call ends.
        held: the shared gates that the coming attempt holds.
        unjudged: the last attempt's error and the verdict on it, where that takes an await that was not possible.
        ended: whether there is nothing left to do.
    """

    # Errors are kept here and in no local variable that outlives its block: an error holds the frames it passed
    # through, and a frame that holds the error in turn keeps session and event alive until a garbage collection.

    __slots__ = (
        "_attempt_began",
        "_began",
        "_cancellations",
        "_doubt",
        "_handled",
        "_max_attempts",
        "_name",
        "_rejection",
        "_state",
        "_timed_out",
        "attempts",
        "call",
        "deadline",
        "ended",
        "error",
        "held",
        "in_doubt",
        "places",
        "policy",
        "queued",
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
        self.places = places
        self.held: list[Hold] = []
        self.error: Exception | None = None
        self.in_doubt = False
        self.queued = 0.0
        self.settled: Settled | None = None
        self.unjudged: tuple[Exception, Awaitable[bool]] | None = None
        self.ended = False
        self._name = name
        self._rejection: Exception | None = None
        self._doubt: Exception | None = None
        self._timed_out = False
        self._state: tenacity.RetryCallState | None = None
        self._attempt_began = entered
        self._cancellations = cancellations
        self._handled: frozenset[int] = frozenset()
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

    @property
    def origin(self) -> Exception:
        """The error that all this is about: the last rejection, or what brought the doubt, or the last error."""
        return next(error for error in (self._rejection, self._doubt, self.error) if error is not None)

    @contextmanager
    def queueing(self) -> Iterator[None]:
        """Count the seconds inside as spent waiting at a gate."""
        began = anyio.current_time()
        try:
            yield
        finally:
            self.queued += anyio.current_time() - began

    # An attempt is made

    def look_around(self) -> None:
        """Note what the caller is just handling, and how often his task is being cancelled."""
        self._handled = being_handled()
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

    def stored(self) -> None:
        """The append returned: the call ends as a success."""
        for place in self.places:
            place.stored_through(self.call.session)
        self._recovered()

    def settle(self) -> None:
        """A conflict hook ended the call as a success."""
        self._recovered()

    def _recovered(self) -> None:
        try:
            if self.attempts > 1 or self.error is not None:
                self.tell("recovered")
        finally:
            self.end()

    # and judged

    async def failed(self, error: Exception) -> bool:
        """Whether to retry after what the attempt raised. False ends the call."""
        return await self._until_judged(self.judging(error))

    async def rejected(self, result: Any) -> bool:
        """Whether the append's result is a rejection."""
        self._note_outcome(None, result)
        if not await self._until_judged(self._asking(self.policy.on)):
            return False
        self._take_rejection(
            StaleSessionError(f"the append answered with a {type(result).__name__} that is to be retried")
        )
        return True

    def judged_now(self, error: Exception) -> bool:
        """As `failed`, without an await. A verdict that takes one is left in `unjudged`, and this is True."""
        judging = self.judging(error)
        try:
            answer = next(judging)
        except StopIteration as judged:
            return bool(judged.value)
        except BaseException as raised:
            self._abandon_verdict(raised)
            raise
        self.unjudged = error, self._until_judged(judging, answer)
        return True

    def judging(self, error: Exception) -> Generator[Awaitable[bool], bool, bool]:
        """Judge an error; yields what has to be awaited, and takes the answer."""
        if self._turned_a_cancellation(error) or self._gave_up_inside(error):
            self._leave_with(error)
            return False
        self._note_outcome(error)
        if isinstance(error, tenacity.TryAgain) or (yield from self._asking(self.policy.on)):
            self._take_rejection(error)
            if self._timed_out:
                self._take_doubt(error)
            return True
        if self.policy.in_doubt is not None and (yield from self._asking(self.policy.in_doubt)):
            self._take_doubt(error)
            return True
        self._leave_with(error)
        return False

    async def accepts_failed_refresh(self, error: Exception) -> bool:
        """Whether the refresh hook's error counts as a failed attempt. It stored nothing, so it brings no doubt."""
        if self._turned_a_cancellation(error) or self._gave_up_inside(error):
            return False
        self.attempts += 1
        self._note_outcome(error)
        for strategy in (self.policy.on, self.policy.in_doubt):
            if strategy is not None and await self._until_judged(self._asking(strategy)):
                self._take(error)
                return True
        self.attempts -= 1
        return False

    def refreshes_early(self, waited: Exception) -> bool | Awaitable[bool]:
        """Whether `on` lets an append that waited for its place be made on a fresh session: one that looks at the call
        may say that this event is never to be retried.
        """
        if not self.policy.asks_call:
            return True
        self._note_outcome(waited)
        return self.policy.on(self._asked_with)

    def _asking(self, strategy: Any) -> Generator[Awaitable[bool], bool, bool]:
        answer = strategy(self._asked_with)
        if inspect.isawaitable(answer):
            answer = yield answer
        return bool(answer)

    async def _until_judged(
        self, judging: Generator[Awaitable[bool], bool, bool], answer: Awaitable[bool] | None = None
    ) -> bool:
        try:
            while True:
                answer = judging.send(await answer) if answer is not None else next(judging)
        except StopIteration as judged:
            return bool(judged.value)
        except BaseException as raised:
            self._abandon_verdict(raised)
            raise

    def _abandon_verdict(self, raised: BaseException) -> None:
        judged = None if self._asked_with.outcome is None else self._asked_with.outcome.exception()
        if judged is not None and isinstance(raised, Exception):
            chain(raised, judged, self._handled)
        self.abandon(raised)

    def _take_rejection(self, error: Exception) -> None:
        previous, self._rejection = self._rejection, error
        self._let_go_of(previous)
        self._take(error)

    def _take_doubt(self, error: Exception) -> None:
        previous, self._doubt = self._doubt, error
        self.in_doubt = True
        self._let_go_of(previous)
        self._take(error)

    def _take(self, error: Exception) -> None:
        previous, self.error = self.error, error
        self._let_go_of(previous)

    def _let_go_of(self, previous: Exception | None) -> None:
        """Of a failure that is not the last one, the frames; the error itself stays where it is still told of."""
        if previous is not None and previous is not self.error and not any(e is self.error for e in behind(previous)):
            drop_frames(previous)

    def _leave_with(self, error: Exception) -> None:
        """The call ends with an error of the append's own, as it is."""
        if self._rejection is not None or self._doubt is not None:
            chain(error, self.origin, self._handled)
        self.end()

    def _turned_a_cancellation(self, error: BaseException) -> bool:
        now = cancellations(current_loop())
        if self._cancellations is not None:
            return now > self._cancellations
        return now > 0 and not _is_cleanup(error)

    def _gave_up_inside(self, error: BaseException, *, in_a_child: bool = False) -> bool:
        """Whether a decorated call inside this attempt gave up with this error, or with one in this group."""
        if isinstance(error, BaseExceptionGroup):
            return any(self._gave_up_inside(inner, in_a_child=True) for inner in error.exceptions)
        if isinstance(error, (StaleSessionRetryError, InDoubtError)):
            return True
        task, at = getattr(error, _GAVE_UP, (None, -math.inf))
        return at >= self._attempt_began and (in_a_child or task == current_task())

    # What the strategies are handed

    def _note_outcome(self, error: Exception | None, result: Any = None) -> None:
        if self._state is None:
            policy, call = self.policy, self.call
            self._state = retry_state(policy.on, policy.backoff, policy.stop, call.append, call.args, call.kwargs)
        state = self._state
        state.attempt_number = self.attempts
        state.start_time = self._began
        if error is None:
            state.set_result(result)
        else:
            state.set_exception((type(error), error, error.__traceback__))
        state.outcome_timestamp = anyio.current_time()

    @property
    def _asked_with(self) -> tenacity.RetryCallState:
        return cast(tenacity.RetryCallState, self._state)

    async def next_wait(self) -> float:
        """The seconds to wait before the next attempt, jitter included."""
        state = self._asked_with
        state.idle_for += state.upcoming_sleep
        delay = await resolved(self.policy.backoff(state))
        if self.policy.jitter is not None:
            delay = self.policy.jitter(delay)
        state.upcoming_sleep = max(0.0, float(delay))
        return state.upcoming_sleep

    async def stopped(self) -> bool:
        stop = self.policy.stop
        return stop is not None and bool(await resolved(stop(self._asked_with)))

    def skip(self, seconds: float) -> None:
        """Let that much time have passed: the call began, and is due, that much earlier."""
        self._began -= seconds
        self.deadline -= seconds

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
        if not observers:
            return
        event = RetryEvent(
            kind,
            self._name,
            self.attempts,
            wait,
            self.elapsed,
            self.error if error is None else error,
            reason,
            self.in_doubt,
            self.queued,
        )
        handled = sys.exc_info()[1]
        for observer in observers:
            try:
                observer(event)
            except (KeyboardInterrupt, SystemExit, anyio.get_cancelled_exc_class()):
                raise
            except BaseException as raised:
                logger.error(  # noqa: TRY400  # its exception is cut off from what it must not quote
                    "the observer %s raised", name_of(observer), exc_info=apart_from(raised, event.error, handled)
                )

    # How it ends

    def give_up(self, reason: Reason, kind: type[StaleSessionRetryError], cause: Exception | None = None) -> NoReturn:
        """Raise `kind`, or `InDoubtError` where the event may be stored, or the store's own error where the policy says
        so. `cause` is what led to it if it is not the last attempt's error.
        """
        if cause is None:
            cause = self.error
        last = cause if self.error is None else self.error
        if cause is None or last is None:
            cause = last = TimeoutError("the place at the gate was not had in time")
        elif self.error is not None:
            chain(cause, self.origin, being_handled())
        self.tell("gave_up", error=cause, reason=reason)
        attempts, elapsed = self.attempts, self.elapsed
        facts = (
            f"{self._name} gave up after {attempts} {'attempt' if attempts == 1 else 'attempts'} "
            f"in {elapsed:.2f} s: {_WHY[reason]}"
        )
        try:
            if self.policy.reraise and self.error is not None:
                cause = self._doubt if self._doubt is not None else cause
                BaseException.__setattr__(cause, _GAVE_UP, (current_task(), time.monotonic()))
                note(cause, facts)
                context = cause.__context__
                try:
                    raise cause
                finally:  # not what the caller is handling, which is behind it anyway
                    BaseException.__setattr__(cause, "__context__", context)
            ended: type[StaleSessionRetryError] | type[InDoubtError] = InDoubtError if self.in_doubt else kind
            raise ended(
                f"{facts}. {self._advice(reason)}", attempts=attempts, elapsed=elapsed, last_error=last, reason=reason
            ) from cause
        finally:
            del cause, last

    def _advice(self, reason: Reason) -> str:
        if self.in_doubt:
            return "The event may be stored: look before you send it again."
        if reason == "session_gone":
            return "No attempt was acknowledged: the event has nowhere to go until the session is created again."
        return "No attempt was acknowledged: reload the session, and send the event again if it lacks it."

    def abandon(self, raised: BaseException) -> None:
        """The call ends with what something other than the append raised; the stale error stays reachable from it."""
        if isinstance(raised, Exception) and self.error is not None:
            chain(raised, self.origin, self._handled)
        self.end()

    def end(self) -> None:
        """Let go of gates and errors, and so of every frame, session and event behind them."""
        self.ended = True
        for hold in self.held:
            hold.release()
        for place in self.places:
            place.release()
        self.error = self._rejection = self._doubt = self._state = self.unjudged = None


_GAVE_UP = "__stale_retry_gave_up__"
"""Where a store's own error remembers in which task and when a decorated call gave up with it. No flag, because a store
may raise one and the same error object again, and to several calls at once."""


def _is_cleanup(error: BaseException) -> bool:
    """Whether the cancellation behind an error is one that the caller was handling when he called."""
    frames: list[Any] = []
    frame: Any = sys._getframe()
    while frame is not None:
        frames.append(frame)
        frame = frame.f_back
    try:
        cancelled = [link for link in behind(error) if isinstance(link, asyncio.CancelledError)]
        return bool(cancelled) and all(
            link.__traceback__ is not None and link.__traceback__.tb_frame in frames for link in cancelled
        )
    finally:
        del frames, frame


async def resolved(value: Any) -> Any:
    """A strategy's or hook's answer, awaited if it is async."""
    return await value if inspect.isawaitable(value) else value
