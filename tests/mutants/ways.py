"""The ways to make an append: `_decorated.py`, `_block.py`."""

from functools import partial

from .mutant import Mutant

of = partial(Mutant, "_decorated.py")
block = partial(Mutant, "_block.py")

MUTANTS = [
    of("the first attempt is not counted", "entered=entered, attempts=1)", "entered=entered)"),
    of(
        "an error that is not stale is retried",
        "entered=entered, attempts=1)\n            if not await progress.failed(error):\n                raise",
        "entered=entered, attempts=1)\n            await progress.failed(error)",
    ),
    of(
        "the first failed attempt of several is not judged",
        (
            "            await leave_gates(progress)\n            if not await progress.failed(error):\n"
            "                raise"
        ),
        "            await leave_gates(progress)\n            await progress.failed(error)",
    ),
    of(
        "attempt_timeout does not hold for the first attempt",
        "policy.asks_results or policy.attempt_timeout is not None or len(",
        "policy.asks_results or len(",
    ),
    of(
        "a result at once is not judged",
        "policy.asks_results or policy.attempt_timeout is not None or len(",
        "policy.attempt_timeout is not None or len(",
    ),
    of("the first attempt passes the gate by", "(_in_its_place if policy.local_gates else _at_once)", "_at_once"),
    of(
        "a wrong call is told of the key",
        "            except WrongCall:\n                return await function(*args, **kwargs)\n        place",
        "            except WrongCall:\n                raise\n        place",
    ),
    of(
        "a key is taken from the wrong argument",
        "            session = args[position]",
        "            session = args[0]",
    ),
    of(
        "nobody waits for his place",
        "        if not place.take():\n            progress",
        "        if not place.take() and False:\n            progress",
    ),
    of("an attempt in a place of its own is not counted", "                attempts=1,\n", ""),
    of(
        "a place is forgotten when the first attempt fails",
        "                places=(place,),\n                cancellations",
        "                cancellations",
    ),
    of(
        "cancellations before the first attempt in a place are not counted",
        "                cancellations=cancelled,\n",
        "                cancellations=0,\n",
    ),
    of(
        "who is cancelled in his place keeps it",
        "        except BaseException:\n            place.release()\n            raise",
        "        except BaseException:\n            raise",
    ),
    of("a success at once in a place is not told to those who wait", "            place.stored_through(session)\n", ""),
    of(
        "a place is kept after a success",
        "            place.stored_through(session)\n            place.release()\n",
        "            place.stored_through(session)\n",
    ),
    of(
        "a wrong call of a guarded append is told of the key",
        "        except WrongCall:\n            return await function(*args, **kwargs)\n        places",
        "        except WrongCall:\n            raise\n        places",
    ),
    of(
        "gates are kept over the judging",
        "        except Exception as error:\n            await leave_gates(progress)\n",
        "        except Exception as error:\n",
    ),
    of(
        "who is cancelled in a later attempt keeps everything",
        (
            "        except BaseException:\n            await leave_gates(progress)\n            progress.end()\n"
            "            raise"
        ),
        "        except BaseException:\n            raise",
    ),
    of(
        "who is cancelled in a later attempt keeps his place",
        "            await leave_gates(progress)\n            progress.end()\n",
        "            await leave_gates(progress)\n",
    ),
    of(
        "who is cancelled does not wait until the gate is left",
        "        except BaseException:\n            await leave_gates(progress)\n",
        "        except BaseException:\n",
    ),
    of(
        "a success does not wait until the gate is left",
        "        else:\n            await leave_gates(progress)\n",
        "        else:\n",
    ),
    of(
        "a rejecting result is returned",
        "if not progress.policy.asks_results or not await progress.rejected(result):",
        "if True:",
    ),
    of("a success does not end the call", "                    progress.stored()\n", "                    pass\n"),
    of("the settled result is thrown away", "    return cast(Settled, progress.settled).result", "    return None"),
    of("an attempt has no time limit", "    if limit is None:", "    if True:"),
    of(
        "an attempt's keywords are forgotten",
        "        return await call.append(*call.args, **call.kwargs)\n    with",
        "        return await call.append(*call.args)\n    with",
    ),
    of("retry_with changes nothing", "policy.replace(**changes)(function)", "policy(function)"),
    of(
        "what came of a cancellation is told as stored",
        "                if not progress.ended:\n                    progress.stored()",
        "                progress.stored()",
    ),
    block(
        "one object serves two loops",
        "        if self._progress is not None:\n            raise",
        "        if False:\n            raise",
    ),
    block("one object serves two tasks", "        if self._task != current_task():", "        if False:"),
    block(
        "the other task is found out only inside the block",
        "            raise StopAsyncIteration\n        self._refuse_other_task()\n",
        "            raise StopAsyncIteration\n",
    ),
    block("an attempt that was not made is not noticed", '        if self._state != "made":', "        if False:"),
    block(
        "who leaves an attempt out keeps his place",
        "            progress.abandon(error)\n            try:",
        "            try:",
    ),
    block("an attempt is entered twice", '        if self._state != "ready" or progress.ended:', "        if False:"),
    block("a block has no time limit", "        if limit is not None:", "        if False:"),
    block("with keeps the shared gates", "        for hold in progress.held:\n            hold.release()\n", ""),
    block(
        "async with does not wait until the gates are left",
        "            await leave_gates(progress)\n            return failure",
        "            return failure",
    ),
    block(
        "gates are not left at the end of the loop",
        "            await leave_gates(progress)\n            raise StopAsyncIteration",
        "            raise StopAsyncIteration",
    ),
    block(
        "the end of a time limit is taken for a cancellation",
        "                    failure = progress.timed_out()",
        "                    pass",
    ),
    block(
        "of a group the time limit's own cancellation is kept", "                failure = rest", "                pass"
    ),
    block("a scope is left twice", "        scope, self._scope = self._scope, None", "        scope = self._scope"),
    block("a block's success does not end the call", "                progress.stored()\n", "                pass\n"),
    block("who is cancelled in a block keeps his place", "            else:\n                progress.end()\n", ""),
    block(
        "a time limit's end that is not retried is swallowed",
        "            elif failure is not error:\n                raise failure\n",
        "",
    ),
    block(
        "a failure keeps its block", "                self._begin().failures.let_go_of_frames()", "                pass"
    ),
    block(
        "a settled block goes on",
        "        if not await prepare(progress):\n            raise StopAsyncIteration\n",
        "        await prepare(progress)\n",
    ),
    block(
        "a block's time begins with its first attempt",
        "entered=self._entered, places=places",
        "entered=time.monotonic(), places=places",
    ),
    block("a block passes the gate by", "entered=self._entered, places=places)", "entered=self._entered)"),
    block(
        "a block's failed attempt keeps its frames over the next", "        progress.failures.let_go_of_frames()\n", ""
    ),
    block(
        "a scope left in another task goes on",
        "                scope.deadline = math.inf  # it was not left, where another task closes a generator\n",
        "",
    ),
]
