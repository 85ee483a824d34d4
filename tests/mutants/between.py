"""Between two attempts, and what the context changes: `_between.py`, `_context.py`."""

from functools import partial

from .mutant import Mutant

of = partial(Mutant, "_between.py")
context = partial(Mutant, "_context.py")

MUTANTS = [
    of("what the caller handles is not looked at", "    progress.look_around()\n", ""),
    of(
        "StopAsyncIteration ends a block as if it were stored",
        "            raise error  # its cause is set, and what that was raised from",
        "            raise",
    ),
    of(
        "StopAsyncIteration out of a hook keeps the gates",
        "            await _abandon(progress, error)\n            raise error",
        "            raise error",
    ),
    of("a hook that raises keeps the gates", "        await _abandon(progress, raised)\n", ""),
    of(
        "who is cancelled between two attempts keeps the gates",
        "    except BaseException as raised:\n        await _abandon",
        "    except Exception as raised:\n        await _abandon",
    ),
    of(
        "what is settled is attempted",
        "        if progress.settled is None:\n            progress.begin",
        "        if True:\n            progress.begin",
    ),
    of(
        "what is settled does not leave its gates first",
        "            return True\n        await leave_gates(progress)\n",
        "            return True\n",
    ),
    of("what is settled does not end", "    progress.recovered()\n", ""),
    of(
        "gates are left before the call is abandoned only if all is well",
        "        await leave_gates(progress)\n    finally:\n        progress.abandon(raised)",
        "        await leave_gates(progress)\n    finally:\n        pass",
    ),
    of(
        "who is abandoned does not leave his gates",
        "    try:\n        await leave_gates(progress)\n    finally:",
        "    try:\n        pass\n    finally:",
    ),
    of("the first gate is left first", "progress.held.pop()", "progress.held.pop(0)"),
    of("a gate that is left is not waited for", "            await hold.left()\n", ""),
    of(
        "gates are kept while waiting after a rejection",
        "    await leave_gates(progress)\n    await _hear_verdict(progress)\n",
        "    await _hear_verdict(progress)\n",
    ),
    of(
        "gates are kept while waiting after a failed reload",
        "    while not await _reload(progress):\n        await leave_gates(progress)\n",
        "    while not await _reload(progress):\n",
    ),
    of(
        "a failed reload is repeated at once",
        "        await leave_gates(progress)\n        await _wait(progress)\n",
        "        await leave_gates(progress)\n",
    ),
    of(
        "an async verdict is not heard",
        "        if not await verdict:\n            raise error\n",
        "        await verdict\n",
    ),
    of("max_attempts is ignored", "    if progress.exhausted:", "    if False:"),
    of("stop is ignored", "    if await progress.asked.stops():", "    if False:"),
    of("a wait may end with the deadline", "+ wait >= progress.deadline", "+ wait > progress.deadline"),
    of("a wait may pass the deadline", "    if anyio.current_time() + wait >= progress.deadline:", "    if False:"),
    of("retries are not told", '    progress.tell("retrying", wait=wait)\n', ""),
    of("the wait is not told", 'progress.tell("retrying", wait=wait)', 'progress.tell("retrying")'),
    of("there is no waiting", "        await anyio.sleep(wait)\n", "        await checkpoint()\n"),
    of("a skipped wait does not count", "        progress.skip(wait)\n", ""),
    of("a skipped wait lets nobody else go on", "        await checkpoint()\n", "        pass\n"),
    of(
        "queueing may last for ever",
        "    with anyio.CancelScope(deadline=progress.deadline) as scope:\n        for place",
        "    with anyio.CancelScope() as scope:\n        for place",
    ),
    of("queueing is not counted", "await progress.queued_for(place.wait())", "await place.wait()"),
    of(
        "only the first of several places is waited for",
        "                await progress.queued_for(place.wait())\n",
        "                await progress.queued_for(place.wait())\n                break\n",
    ),
    of(
        "who waited is not brought up to date",
        "        if any(place.is_behind(progress.call.session) for place in progress.places):",
        "        if False:",
    ),
    of(
        "who did not have to is brought up to date",
        "        if any(place.is_behind(progress.call.session) for place in progress.places):",
        "        if True:",
    ),
    of(
        "who queued past the deadline appends",
        "            await _refresh_early(progress)\n    _give_up_if_late(progress, scope)",
        "            await _refresh_early(progress)",
    ),
    of(
        "an event inside the session is reloaded away",
        "progress.policy.refresh is None or progress.call.is_a_save",
        "progress.policy.refresh is None",
    ),
    of(
        "who waited is refreshed whatever on says",
        "    if not await progress.refreshes_early(waited):\n        return\n",
        "",
    ),
    of(
        "a reload before the first attempt that fails ends the call",
        "    except Exception:  # see above\n        return",
        "    except Exception:  # see above\n        raise",
    ),
    of(
        "a reload before the first attempt is thrown away",
        "        progress.call.session = fresh\n        await _ask_conflict_hooks(progress, waited, stale)",
        "        await _ask_conflict_hooks(progress, waited, stale)",
    ),
    of(
        "conflict hooks are not asked before the first attempt",
        "        await _ask_conflict_hooks(progress, waited, stale)",
        "        pass",
    ),
    of(
        "a reload before the first attempt that finds nothing is taken", "    if fresh is not None:\n", "    if True:\n"
    ),
    of(
        "gate and reload may last for ever",
        "    with anyio.CancelScope(deadline=progress.deadline) as scope:\n        await _enter_gates",
        "    with anyio.CancelScope() as scope:\n        await _enter_gates",
    ),
    of(
        "the clock is not looked at after the reload",
        "        reloaded = await _refresh(progress)\n    _give_up_if_late(progress, scope)",
        "        reloaded = await _refresh(progress)",
    ),
    of(
        "a reload that blocks past the deadline is followed by an attempt",
        "(scope.cancelled_caught or anyio.current_time() > progress.deadline)",
        "scope.cancelled_caught",
    ),
    of(
        "a reload that was cancelled at the deadline counts",
        "(scope.cancelled_caught or anyio.current_time() > progress.deadline)",
        "anyio.current_time() > progress.deadline",
    ),
    of("a call settled as the deadline passed gives up", " and progress.settled is None:", ":"),
    of(
        "a gate is known only once it is entered",
        "            progress.held.append(hold)\n            await progress.queued_for(hold.enter())\n",
        "            await progress.queued_for(hold.enter())\n            progress.held.append(hold)\n",
        "a hold that could not be entered is given back by `Hold.enter` itself",
    ),
    of("waiting at a shared gate is not counted", "await progress.queued_for(hold.enter())", "await hold.enter()"),
    of(
        "a gate that fails is not told",
        '            progress.tell("gave_up", error=raised, reason="gate_failed")\n',
        "",
    ),
    of(
        "a session that is gone is appended to",
        "        if fresh is None:\n            progress.give_up",
        "        if False:\n            progress.give_up",
    ),
    of(
        "an event inside the session is lost in silence",
        "        if call.is_a_save and fresh",
        "        if False and fresh",
    ),
    of(
        "a session updated in place is taken for another",
        "call.is_a_save and fresh is not stale and not",
        "call.is_a_save and not",
    ),
    of("a save with a conflict hook is refused", " and not progress.policy.on_conflict:", ":"),
    of(
        "the attempt goes through the stale session",
        "        call.session = fresh\n        await _ask_conflict_hooks(progress, cast",
        "        await _ask_conflict_hooks(progress, cast",
    ),
    of(
        "conflict hooks are not asked",
        "        await _ask_conflict_hooks(progress, cast(Exception, progress.failures.error), stale)\n",
        "",
    ),
    of(
        "a conflict's stale session is the fresh one",
        "Conflict(error, stale, call.session,",
        "Conflict(error, call.session, call.session,",
    ),
    of(
        "a failed reload is always an attempt",
        "        if not await progress.accepts_failed_refresh(failure):",
        "        await progress.accepts_failed_refresh(failure)\n        if False:",
    ),
    of(
        "a failed reload never is an attempt",
        "        if not await progress.accepts_failed_refresh(failure):",
        "        if True:",
    ),
    of("a refresh hook's error is not what is raised from", "SessionRefreshError, failure)", "SessionRefreshError)"),
    of(
        "a failed reload is followed by an attempt",
        "    finally:\n        del failure\n    return False",
        "    finally:\n        del failure\n    return True",
    ),
    of("what a conflict hook changed is thrown away", "            call.take_over(arguments)\n", ""),
    of(
        "a conflict hook may answer anything",
        "            if answer is not None and not isinstance(answer, Settled):",
        "            if False:",
    ),
    of(
        "a conflict hook that aborts is not told",
        '            progress.tell("gave_up", error=raised, reason="aborted")\n',
        "",
    ),
    of("what a conflict hook settled is forgotten", "            progress.settled = answer\n", ""),
    of(
        "hooks after the one that settled are asked",
        "            progress.settled = answer\n            return",
        "            progress.settled = answer",
    ),
    of(
        "who is cancelled while the gates are left keeps his place",
        "    except BaseException:\n        progress.end()\n        raise\n",
        "    except ZeroDivisionError:\n        raise\n",
    ),
    of("StopAsyncIteration is not behind what stands for it", "        error.__cause__ = raised\n", ""),
    of(
        "a save that is refused is not told",
        '                progress.tell("gave_up", error=error, reason="aborted")\n                raise error',
        "                raise error",
    ),
    context(
        "an inner limit does not override the policy's",
        "override.max_attempts or max_attempts, override.deadline or deadline",
        "max_attempts or override.max_attempts, deadline or override.deadline",
    ),
    context(
        "an inner block forgets what an outer one says",
        "self._max_attempts or outer.max_attempts, self._deadline or outer.deadline, outer",
        "self._max_attempts, self._deadline, outer",
    ),
    context("limits outlive their block", "_limits.set(_limits.get().outer or _NO_LIMITS)", "pass"),
]
