"""Between two attempts: wait, pass the gates, reload the session, ask the conflict hooks."""

from __future__ import annotations

from typing import Any, cast

import anyio
from anyio.lowlevel import checkpoint

from ._asking import resolved
from ._attempts import Progress
from ._call import name_of
from ._context import recorders
from ._hold import Hold
from .conflict import Conflict, Settled
from .errors import (
    AttemptsExhaustedError,
    DeadlineExceededError,
    SessionGoneError,
    SessionRefreshError,
    StaleSessionError,
)


async def prepare(progress: Progress) -> bool:
    """Do all that comes before the next attempt. False: a conflict hook settled the call, and there is none.

    Raises:
        StaleSessionRetryError, InDoubtError: the call gives up.
    """
    progress.look_around()
    try:
        if progress.attempts:
            await _reload_until_fresh(progress)
        else:
            await _queue(progress)
        if progress.settled is None:
            progress.begin_attempt()
            return True
        await leave_gates(progress)
    except StopAsyncIteration as raised:
        # As PEP 479 has it: left alone it would end an `async for` as if the event were stored.
        error = RuntimeError("a hook, gate or strategy raised StopAsyncIteration")
        error.__cause__ = raised
        try:
            await _abandon(progress, error)
            raise error  # its cause is set, and what that was raised from
        finally:
            del error
    except BaseException as raised:
        await _abandon(progress, raised)
        raise
    progress.recovered()
    return False


async def _abandon(progress: Progress, raised: BaseException) -> None:
    try:
        await leave_gates(progress)
    finally:
        progress.abandon(raised)


async def leave_gates(progress: Progress) -> None:
    """Leave the shared gates, the last one first, and wait until they are left. Cancelled there, the call is over."""
    try:
        while progress.held:
            hold = progress.held.pop()
            hold.release()
            await hold.left()
    except BaseException:
        progress.end()
        raise


async def _reload_until_fresh(progress: Progress) -> None:
    await leave_gates(progress)
    await _hear_verdict(progress)
    await _wait(progress)
    while not await _reload(progress):
        await leave_gates(progress)
        await _wait(progress)


async def _hear_verdict(progress: Progress) -> None:
    """Await the verdict on the last attempt, where the block that made it could not."""
    if progress.unjudged is None:
        return
    (error, verdict), progress.unjudged = progress.unjudged, None
    try:
        if not await verdict:
            raise error
    finally:
        del error


async def _wait(progress: Progress) -> None:
    if progress.exhausted:
        progress.give_up("max_attempts", AttemptsExhaustedError)
    wait = await progress.asked.wait()
    if await progress.asked.stops():
        progress.give_up("stop", AttemptsExhaustedError)
    if anyio.current_time() + wait >= progress.deadline:
        progress.give_up("deadline", DeadlineExceededError)
    progress.tell("retrying", wait=wait)
    if recorders.get():
        progress.skip(wait)
        await checkpoint()
    else:
        await anyio.sleep(wait)


async def _queue(progress: Progress) -> None:
    """Wait for the places at the local gates; who had to wait is brought up to date."""
    if all(place.take() for place in progress.places):
        return
    with anyio.CancelScope(deadline=progress.deadline) as scope:
        for place in progress.places:
            if not place.take():
                await progress.queued_for(place.wait())
        if any(place.is_behind(progress.call.session) for place in progress.places):
            await _refresh_early(progress)
    _give_up_if_late(progress, scope)


async def _refresh_early(progress: Progress) -> None:
    # An append that is let through as it came is rejected if it must be, so whatever stands in the way here decides
    # nothing: that the event can only be inside the session, that it is never to be retried, that no session is found.
    if progress.policy.refresh is None or progress.call.is_a_save:
        return
    waited = StaleSessionError("others stored while this append waited for its place at the gate")
    if not await progress.refreshes_early(waited):
        return
    stale = progress.call.session
    try:
        fresh = await resolved(progress.policy.refresh(*progress.call.leading))
    except Exception:  # see above
        return
    if fresh is not None:
        progress.call.session = fresh
        await _ask_conflict_hooks(progress, waited, stale)


async def _reload(progress: Progress) -> bool:
    """Enter the shared gates and reload the session, by the deadline. False when that failed as an attempt does."""
    reloaded = False
    with anyio.CancelScope(deadline=progress.deadline) as scope:
        await _enter_gates(progress)
        reloaded = await _refresh(progress)
    _give_up_if_late(progress, scope)
    return reloaded


def _give_up_if_late(progress: Progress, scope: anyio.CancelScope) -> None:
    # A hook that blocks, or outlives its cancellation, is late without being cancelled.
    if (scope.cancelled_caught or anyio.current_time() > progress.deadline) and progress.settled is None:
        progress.give_up("deadline", DeadlineExceededError)


async def _enter_gates(progress: Progress) -> None:
    for gate in progress.policy.shared_gates:
        try:
            # Asked for in this context, where a gate may see that an append around this one holds it.
            hold = Hold(gate(progress.call.session))
            progress.held.append(hold)
            await progress.queued_for(hold.enter())
        except Exception as raised:
            progress.tell("gave_up", error=raised, reason="gate_failed")
            raise


async def _refresh(progress: Progress) -> bool:
    call, refresh = progress.call, progress.policy.refresh
    if refresh is None:
        return True
    stale = call.session
    try:
        fresh = await resolved(refresh(*call.leading))
    except Exception as raised:
        failure = raised
    else:
        if fresh is None:
            progress.give_up("session_gone", SessionGoneError)
        if call.is_a_save and fresh is not stale and not progress.policy.on_conflict:
            error = TypeError(
                f"{name_of(call.append)} takes nothing after the session, so its event is inside the session, and the "
                f"refresh hook returned another one without it: the event would be lost. Take the event as an argument "
                f"after the session, or put it into the fresh session in a conflict hook"
            )
            try:
                progress.tell("gave_up", error=error, reason="aborted")
                raise error
            finally:
                del error
        call.session = fresh
        await _ask_conflict_hooks(progress, cast(Exception, progress.failures.error), stale)
        return True
    try:
        if not await progress.accepts_failed_refresh(failure):
            progress.give_up("refresh_failed", SessionRefreshError, failure)
    finally:
        del failure
    return False


async def _ask_conflict_hooks(progress: Progress, error: Exception, stale: Any) -> None:
    call = progress.call
    for hook in progress.policy.on_conflict:
        arguments = call.arguments()
        conflict = Conflict(error, stale, call.session, progress.attempts, progress.elapsed, arguments)
        try:
            answer = await resolved(hook(conflict))
            call.take_over(arguments)
            if answer is not None and not isinstance(answer, Settled):
                raise TypeError(
                    f"on_conflict must return None or conflict.settle(result); "
                    f"{name_of(hook)} returned a {type(answer).__name__}"
                )
        except Exception as raised:
            progress.tell("gave_up", error=raised, reason="aborted")
            raise
        if answer is not None:
            progress.settled = answer
            return
