"""The retry loop. `next_attempt` is the whole way from one attempt to the next, in order; decorated calls and blocks
share it, and `Run.judge`, which decides what a failed attempt means.
"""

from __future__ import annotations

from typing import Any, Literal, cast

from ._chain import chain
from ._checks import name_of
from ._clock import GRACE
from ._context import recorders, retry_checks
from ._limit import time_limit
from ._loops import sleep
from ._run import Run, awaited
from .conflict import Conflict, Settled
from .errors import StaleSessionError
from .events import Reason


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
        await _refresh_early(run)
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
        limit = time_limit(clock.deadline)
        try:
            try:
                with limit:
                    if not await _reload(run):
                        reason = "session_gone"
                    elif await run.look():
                        return False
            except Exception as error:
                if run.takes_failed_refresh(error):
                    continue
                reason, failed = "refresh_failed", error

            # Ask the conflict hooks
            if reason is None and run.policy.on_conflict and not (limit.is_over or clock.is_late):
                with time_limit(clock.deadline) as limit:
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
        await awaited(check())


async def _give_up(run: Run, reason: Reason, refresh_error: Exception | None = None) -> bool:
    """Look once more, up to a second past the deadline; then raise. False: the event is stored after all."""
    try:
        if run.looks and not run.has_looked and reason != "session_gone":
            looked = False
            try:
                with time_limit(run.clock.deadline + GRACE):
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
    fresh = await awaited(run.policy.refresh(*run.call.leading))
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
        try:
            with time_limit(run.clock.deadline + GRACE):
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
    stale, before = run.call.session, (run.call.args, run.call.kwargs)
    until = run.clock.refresh_early_until()
    try:
        with time_limit(until):
            await _reload(run)
    except Exception as error:
        if run.was_cancelled(error):
            raise
    if run.call.args is before[0] and run.call.kwargs is before[1]:
        return
    try:
        with time_limit(until) as limit:
            await _ask_hooks(run, waited, stale)
    except Exception as error:
        chain(error, waited, run.failures.handled, run.entered)
        raise
    if limit.is_over:  # not on a fresh session that the hooks have not seen
        run.call.args, run.call.kwargs = before
        return
    await _check_turns()


async def _ask_hooks(run: Run, error: Exception, stale: Any) -> bool:
    """Ask each conflict hook in order. Whether one assigned an argument."""
    call, assigned = run.call, False
    for hook in run.policy.on_conflict:
        before, arguments = call.arguments()
        clock, in_doubt = run.clock, run.failures.in_doubt
        conflict = Conflict(error, stale, call.session, run.attempts, clock.elapsed, arguments, in_doubt)
        try:
            answer = await awaited(hook(conflict))
            call.take_over(before, arguments)
            if answer is not None and not isinstance(answer, Settled):
                raise TypeError(
                    f"on_conflict must return None or conflict.settle(result), but {name_of(hook)} returned a "
                    f"{type(answer).__name__}"
                )
        except Exception as raised:
            run.tell("gave_up", error=raised, reason="aborted")
            raise
        assigned = assigned or arguments.assigned
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
    recorder = next(reversed(recorders.get()), None)
    if recorder is not None:
        run.clock.skip(wait * recorder.share_of(run))
        wait = 0.0
    await sleep(wait)
