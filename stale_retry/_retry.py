"""The retry loop. `next_attempt` is the whole way from one attempt to the next, in order; decorated calls and blocks
share it, and `Run.judge`, which decides what a failed attempt means.
"""

from __future__ import annotations

import inspect
import time
from collections.abc import Callable
from typing import Any, Literal, NoReturn, cast

import anyio
import tenacity

from ._call import Arguments, Call
from ._cancelled import cancellations, stands_for_a_cancellation
from ._chain import being_handled, chain
from ._checks import name_of
from ._clock import GRACE, Clock
from ._context import limits_in_force, recorders, retry_checks
from ._failures import Failures
from ._giving_up import gave_up_since, give_up
from ._limit import time_limit
from ._loops import current_loop
from ._policy import Policy
from ._queue import Slot
from ._strategies import RetryState, answer_of
from ._telling import tell
from .conflict import Conflict, Settled
from .detection import is_conflict_error
from .errors import StaleSessionError
from .events import Kind, Reason, RetryEvent
from .transient import is_transient_error, leaves_doubt


async def next_attempt(run: Run) -> bool:
    """Do all that comes before the next attempt. False: the event is stored already, or a hook settled the call.

    Raises:
        StaleSessionRetryError, InDoubtError: the call gives up.
    """
    run.look_around()
    try:
        if await (_first(run) if run.tries == 0 else _next(run)):
            run.begin_attempt()
            return True
    except StopAsyncIteration as raised:
        # As PEP 479 has it: left alone it would end an `async for` as if the event were stored.
        error = RuntimeError("a hook or strategy raised StopAsyncIteration")
        error.__cause__ = raised
        run.abandon(error)
        try:
            raise error  # its cause is set, and what that was raised from
        finally:
            del error
    except BaseException as raised:
        run.abandon(raised)
        raise
    run.recovered()
    return False


async def _first(run: Run) -> bool:
    """The first attempt: in the queue, and on what the others stored if it had to wait."""
    slot = run.slot
    if slot is None or slot.take():
        return True
    run.clock.queued += await slot.wait(run.clock.queue_until())
    if run.refreshes_early and slot.is_behind(run.call.session):
        args, kwargs = run.call.args, run.call.kwargs
        with time_limit(run.clock.refresh_early_until()) as limit:
            await _refresh_early(run)
        if limit.is_over:  # not on a fresh session that the hooks have not seen
            run.call.args, run.call.kwargs = args, kwargs
    return run.settled is None


async def _next(run: Run) -> bool:
    """One conflict: from a failed attempt to the next one."""
    clock, slot = run.clock, run.slot
    while True:
        # Another attempt? And when?
        if run.is_exhausted:
            return await _give_up(run, "max_attempts")
        wait = clock.cut(run.next_wait())
        if wait is None:
            return await _give_up(run, "deadline")
        if run.stops(wait):
            return await _give_up(run, "stop")

        # Wait
        run.tell("retrying", wait=wait)
        if slot is not None:
            slot.keep_or_release(wait)
        await _sleep(run, wait)

        # Slot
        if slot is not None and not slot.take():
            clock.queued += await slot.wait(clock.queue_until(), again=True)

        # Refresh, and look whether the event is stored already
        stale, rebuilt = run.call.session, False
        reason: Reason | None = None
        failed: Exception | None = None
        try:
            with time_limit(clock.deadline) as limit:
                try:
                    if not await _reload(run):
                        reason = "session_gone"
                    elif await run.look():
                        return False
                except Exception as error:
                    if run.takes_failed_refresh(error):
                        continue
                    reason, failed = "refresh_failed", error

                # Ask the conflict hooks
                if reason is None:
                    rebuilt = await _ask_hooks(run, cast(Exception, run.failures.error), stale)
                    if run.settled is not None:
                        return False
            if reason is None and (limit.is_over or clock.is_late):
                reason = "deadline"
            if reason is not None:
                return await _give_up(run, reason, failed)
        finally:
            del failed

        # Attempt, unless it would store something else
        _refuse_what_would_be_lost(run, stale, rebuilt)
        await _check_turns()
        return True


async def _check_turns() -> None:
    """An attempt on a refreshed session would be accepted, so a turn that lost its lease must not come that far."""
    for check in retry_checks.get():
        await _awaited(check())


async def _give_up(run: Run, reason: Reason, refresh_error: Exception | None = None) -> bool:
    """Look once more, up to a second past the deadline; then raise. False: the event is stored after all."""
    try:
        if run.looks and not run.has_looked and reason != "session_gone":
            looked = False
            with time_limit(run.clock.deadline + GRACE):
                try:
                    looked = await _reload(run) and (await run.look() or True)
                except Exception as error:
                    if run.was_cancelled(error):
                        raise
            if run.settled is not None:
                return False
            if not looked:
                run.failures.in_doubt = True
        run.give_up(reason, refresh_error)
    finally:
        del refresh_error


async def _reload(run: Run) -> bool:
    """Refresh the session. False: it is gone."""
    if run.policy.refresh is None:
        return True
    began = run.clock.now()
    fresh = await _awaited(run.policy.refresh(*run.call.leading))
    run.clock.reloaded(run.clock.now() - began)
    if fresh is None:
        return False
    run.call.session = fresh
    return True


async def judge(run: Run, error: Exception) -> Literal["retry", "stored", "raise"]:
    """What an attempt's error means, after a look into the store where that takes one."""
    verdict = run.judge(error)
    if verdict != "look":
        return verdict
    return "stored" if await is_stored(run, error) else "raise"


async def is_stored(run: Run, error: Exception) -> bool:
    """Whether the event is stored, after an error that is not retried but followed an attempt in doubt. It ends the
    call either way.
    """
    try:
        with time_limit(run.clock.deadline + GRACE):
            try:
                if await _reload(run) and await run.look():
                    run.recovered()
                    return True
            except Exception as raised:
                if run.was_cancelled(raised):
                    raise
        run.leave_with(error)
    except BaseException as raised:
        run.abandon(raised)
        raise
    finally:
        del error
    return False


async def _refresh_early(run: Run) -> None:
    # An append that is let through as it came is rejected if it must be, so whatever stands in the way here decides
    # nothing: that it is never to be retried, or that no session is found.
    waited = StaleSessionError("others stored while this append waited in the queue")
    if not run.accepts_early(waited):
        return
    stale = run.call.session
    try:
        if not await _reload(run):
            return
    except Exception as error:
        if run.was_cancelled(error):
            raise
        return
    try:
        await _ask_hooks(run, waited, stale)
    except Exception as error:
        chain(error, waited, run.failures.handled, run.entered)
        raise
    await _check_turns()


async def _ask_hooks(run: Run, error: Exception, stale: Any) -> bool:
    """Ask each conflict hook in order. Whether one assigned an argument."""
    call, assigned = run.call, False
    for hook in run.policy.on_conflict:
        arguments = call.arguments()
        before = dict(arguments)
        clock, in_doubt = run.clock, run.failures.in_doubt
        conflict = Conflict(error, stale, call.session, run.attempts, clock.elapsed, arguments, in_doubt)
        try:
            answer = await _awaited(hook(conflict))
            call.take_over(before, arguments)
            if answer is not None and not isinstance(answer, Settled):
                raise TypeError(
                    f"on_conflict must return None or conflict.settle(result), but {name_of(hook)} returned a "
                    f"{type(answer).__name__}"
                )
        except Exception as raised:
            run.tell("gave_up", error=raised, reason="aborted")
            raise
        assigned = assigned or cast(Arguments, arguments).assigned
        if answer is not None:
            run.settled = answer
            break
    return assigned


def _refuse_what_would_be_lost(run: Run, stale: Any, rebuilt: bool) -> None:
    call = run.call
    if call.is_a_save and call.session is not stale and not rebuilt:
        problem = (
            f"{name_of(call.append)} has no required argument after the session, so its event may be inside the "
            f"session, and the refresh hook returned another session without it: the event would be lost. Take the "
            f"event as a required argument after the session, or put it into the fresh session in a conflict hook and "
            f"assign that session to conflict.arguments"
        )
    elif (name := call.read_once()) is not None:
        problem = (
            f"{name_of(call.append)} was given an argument that can be read only once ({name}), and the failed attempt "
            f"has read it: a second attempt would store less. Pass a list, bytes or a string instead"
        )
    else:
        return
    error = TypeError(problem)
    try:
        run.tell("gave_up", error=error, reason="aborted")
        raise error
    finally:
        del error


async def _sleep(run: Run, wait: float) -> None:
    if recorders.get():
        run.clock.skip(wait)
        wait = 0.0
    await anyio.sleep(wait)


async def _awaited(value: Any) -> Any:
    """A hook's answer, awaited if it is async. One that returns a coroutine forgot an await, which is made up for."""
    if inspect.isawaitable(value):
        value = await value
        while inspect.iscoroutine(value):
            value = await value
    return value


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
        found = await _awaited(found)
        if found and cancellations(current_loop()) > before:
            raise anyio.get_cancelled_exc_class()  # the finder swallowed it
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
