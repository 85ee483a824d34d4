"""The gates: `gates/local.py`, `_hold.py`, and how they speak to a loop, `_tasks.py`."""

from functools import partial

from .mutant import Mutant

local = partial(Mutant, "gates/local.py")
hold = partial(Mutant, "_hold.py")
tasks = partial(Mutant, "_tasks.py")

MUTANTS = [
    local(
        "loops in several threads share one queue",
        "        queues = self.loops.get(loop)\n",
        "        loop = next(iter(self.loops), loop)\n        queues = self.loops.get(loop)\n",
    ),
    local("len counts loops", "sum(len(self.loops.get(loop, ())) for", "sum(1 for"),
    local("a gate cannot be pickled", "return LocalGate, (self._key,)", "return LocalGate, ()"),
    local("a nested call waits for itself", "        elif queue.hold in _holds.get():", "        elif False:"),
    local("everybody shares the place", "        elif queue.hold in _holds.get():", "        elif True:"),
    local(
        "who shares a place has none",
        "            self._queue = queue\n            return True\n        else",
        "            return True\n        else",
    ),
    local(
        "a place that is taken is not held",
        "        self._begin(queue)\n        self._note_hold()\n        return True",
        "        self._note_hold()\n        return True",
    ),
    local(
        "what is started in a place that was free does not share it",
        "        self._begin(queue)\n        self._note_hold()\n        return True",
        "        self._begin(queue)\n        return True",
    ),
    local(
        "what is started in a place that was waited for does not share it",
        "            raise\n        self._note_hold()",
        "            raise",
    ),
    local("it is not known who waited", "        self.waited = True\n", ""),
    local("who is cancelled while he waits is called", "            queue.waiting.pop(self, None)\n", ""),
    local(
        "who is cancelled as he is called keeps the place",
        "            queue.waiting.pop(self, None)\n            self.release()\n",
        "            queue.waiting.pop(self, None)\n",
    ),
    local(
        "who comes with the last session is refreshed",
        "return self.waited and (last is None or last() is not session)",
        "return self.waited",
    ),
    local(
        "who comes with another session is not refreshed",
        "return self.waited and (last is None or last() is not session)",
        "return self.waited and last is None",
    ),
    local("who did not wait is refreshed", "return self.waited and (last", "return (last"),
    local(
        "the last session is not noted",
        "                queue.last = weakref.ref(session)\n",
        "                queue.last = None\n",
    ),
    local("the last session is kept alive", "queue.last = weakref.ref(session)", "queue.last = lambda: session"),
    local(
        "the last session stays what it was where it cannot be noted",
        "            except TypeError:\n                queue.last = None",
        "            except TypeError:\n                pass",
    ),
    local(
        "a place may be given up twice",
        "        hold, self._hold = self._hold, None\n        if hold is None:\n            return\n        holds",
        "        hold = self._hold\n        if hold is None:\n            return\n        holds",
    ),
    local(
        "who has left still shares the place",
        (
            "        if len(holds) == 1 and holds[0] is hold:\n            _holds.set(())\n"
            "        elif hold in holds:\n"
            "            _holds.set(tuple(other for other in holds if other is not hold))\n"
        ),
        "",
    ),
    local(
        "who leaves one place leaves all",
        "_holds.set(tuple(other for other in holds if other is not hold))",
        "_holds.set(())",
    ),
    local(
        "a place is not given to the next", "        _leave(self._queues, self._key, hold)\n\n    async", "\n    async"
    ),
    local(
        "the context manager does not wait",
        "        if not self.take():\n            await self.wait()",
        "        self.take()",
    ),
    local(
        "the context manager keeps the place",
        "        self.release()\n\n    def _begin",
        "        pass\n\n    def _begin",
    ),
    local("who waits is not called", "        cast(anyio.Event, self._called).set()", "            pass"),
    local(
        "who is called does not hold the place",
        "        self._begin(queue)\n        cast",
        "        cast",
    ),
    local(
        "places that ended are remembered for ever",
        "(*(hold for hold in holds if not hold.ended), self._hold)",
        "(*holds, self._hold)",
    ),
    local(
        "an outer place is forgotten in an inner one",
        "(*(hold for hold in holds if not hold.ended), self._hold)",
        "(self._hold,)",
    ),
    local(
        "a place that is dropped is held for ever",
        "        _let_go(self.loop, self._queues, self._key, hold)\n        warnings",
        "        warnings",
    ),
    local(
        "nobody is warned of a place that was dropped",
        "            ResourceWarning,\n            stacklevel=2,",
        "            ImportWarning,\n            stacklevel=2,",
    ),
    local("it is not known that a place has ended", "    hold.ended = True\n", ""),
    local(
        "who has no place any more gives away that of another",
        "    if queue is None or queue.hold is not hold:",
        "    if queue is None:",
    ),
    local(
        "a queue without anybody is kept",
        "    if not queue.waiting:\n        del queues[key]\n        return\n",
        "    if not queue.waiting:\n        return\n",
    ),
    local(
        "the last to come is served first", "place = next(iter(queue.waiting))", "place = next(reversed(queue.waiting))"
    ),
    local("who is called goes on waiting too", "    del queue.waiting[place]\n", ""),
    local(
        "a closed loop's queue is kept",
        "    except RuntimeError:  # the loop is closed, and nobody waits any longer\n        del queues[key]",
        "    except RuntimeError:  # the loop is closed, and nobody waits any longer\n        pass",
    ),
    local(
        "a place dropped when its loop is over is held for ever", "        queues.pop(key, None)\n", "        pass\n"
    ),
    hold(
        "who is cancelled while he enters holds the gate",
        "        except BaseException:\n            state.give_back()\n            raise\n        error",
        "        except BaseException:\n            raise\n        error",
    ),
    hold(
        "a gate that fails is taken for entered",
        "        if error is not None:\n            try:",
        "        if False:\n            try:",
    ),
    hold(
        "an error of entering is kept", "        error, state.error = state.error, None", "        error = state.error"
    ),
    hold(
        "a gate is not left",
        "        self._state.give_back()\n\n    async def left",
        "        pass\n\n    async def left",
    ),
    hold(
        "a cancellation ends the waiting for a gate to be left",
        "anyio.move_on_after(RELEASE_GRACE, shield=True)",
        "anyio.move_on_after(RELEASE_GRACE)",
    ),
    hold(
        "a gate that hangs is waited for for ever",
        "anyio.move_on_after(RELEASE_GRACE, shield=True)",
        "anyio.CancelScope(shield=True)",
    ),
    hold(
        "a gate that hangs is not told of",
        '        logger.warning("the gate was not released within %.0f s", RELEASE_GRACE)',
        "        pass",
    ),
    hold("a gate that is dropped is held for ever", "        self._state.give_back_from_anywhere()", "        pass"),
    hold(
        "a gate that is entered in vain is left under a cancellation",
        "with anyio.CancelScope(shield=True) if self._entering.cancel_called else nullcontext():",
        "with nullcontext():",
    ),
    hold(
        "nobody learns that the gate is entered",
        "                self.entered.set()\n                # One",
        "                # One",
    ),
    hold(
        "the gate is left as soon as it is entered",
        "                        await self._given_back.wait()",
        "                        pass",
    ),
    hold(
        "a cancellation of the gate's own is told to nobody",
        "            if not self.entered.is_set():\n                self.error = raised\n            raise\n",
        "            raise\n",
    ),
    hold(
        "a gate that cannot be left is not told of",
        '                logger.warning("the gate could not be released", exc_info=raised)',
        "                pass",
    ),
    hold(
        "a gate that cannot be entered is only told of",
        "            if self.entered.is_set():\n                logger",
        "            if True:\n                logger",
    ),
    hold(
        "nobody learns that the gate failed", "        finally:\n            self.entered.set()\n", "        finally:\n"
    ),
    hold(
        "nobody learns that the gate is left",
        "            self.left.set()\n\n    def give_back(self)",
        "            pass\n\n    def give_back(self)",
    ),
    hold(
        "who gives up entering goes on waiting for the gate",
        "            self._entering.cancel()\n",
        "            pass\n",
    ),
    hold("a gate is given back only while it is entered", "        self._given_back.set()\n", ""),
    tasks(
        "what is dropped in its own loop is free only later",
        "    if current_loop() is loop:\n        function(*args)\n        return True\n",
        "",
    ),
    tasks(
        "what is dropped in another thread is freed there",
        "    if current_loop() is loop:\n        function",
        "    if True:\n        function",
    ),
    tasks(
        "the task that holds a gate may be collected",
        "        _spawned.add(task)  # a loop keeps weak references only\n",
        "",
    ),
]
