"""The queue of whole turns: `turns/`."""

from functools import partial

from .mutant import Mutant

turn = partial(Mutant, "turns/_turn.py")
lines = partial(Mutant, "turns/_lines.py")
loops = partial(Mutant, "turns/_loops.py")
body = partial(Mutant, "turns/_body.py")
report = partial(Mutant, "turns/_report.py")
leases = partial(Mutant, "turns/_leases.py")

MUTANTS = [
    turn(
        "a turn is entered twice",
        "        if self._report is not None:\n            raise",
        "        if False:\n            raise",
    ),
    turn(
        "nothing can be interrupted",
        'can_end = self._options.when_busy == "interrupt" or self._options.shared is not None',
        "can_end = self._options.shared is not None",
    ),
    turn(
        "no lease can be lost",
        'can_end = self._options.when_busy == "interrupt" or self._options.shared is not None',
        'can_end = self._options.when_busy == "interrupt"',
    ),
    turn(
        "a turn inside a turn waits for itself",
        "place = self._lines.join(self._key, body, _inside.get())",
        "place = None",
    ),
    turn("a task started inside a turn waits for it", "        _inside.set((*(other", "        str((*(other"),
    turn(
        "the deadline of waiting is ignored", "anyio.move_on_after(self._options.deadline)", "anyio.move_on_after(None)"
    ),
    turn("who is refused goes on", "                raise report.refusal(refused)\n", "                pass\n"),
    turn(
        "who is cancelled while he waits keeps his place in the line",
        "            self._give_back(place, body)\n            if body.leave(error):",
        "            if body.leave(error):",
    ),
    turn(
        "who is superseded while he waits is cancelled",
        "            if body.leave(error):\n                raise body.error() from error\n            raise",
        "            body.leave(error)\n            raise",
    ),
    turn("a start is not told", "        report.started()\n        return place", "        return place"),
    turn(
        "interrupting waits in line",
        'if self._options.when_busy == "interrupt":\n            arrival',
        "if False:\n            arrival",
    ),
    turn(
        "who is refused stands in line",
        "        if arrival.refused is not None:\n            return arrival.refused\n",
        "",
    ),
    turn("nobody waits", "            await arrival.granted.wait()\n", "            pass\n"),
    turn("waiting is not told", "            report.waits()\n            await arrival", "            await arrival"),
    turn(
        "processes share nothing",
        "        if self._options.shared is None:\n            return None\n",
        "        return None\n",
    ),
    turn("a lease that is lost ends nothing", 'partial(place.end, "lost")', "print"),
    turn("a lease that has ended frees no place", "partial(self._lines.free, place)", "print"),
    turn("reject waits for a lease", 'patiently=self._options.when_busy != "reject"', "patiently=True"),
    turn(
        "a turn is left twice",
        "        self._body = self._place = None\n        is_ours = False",
        "        is_ours = False",
    ),
    turn(
        "who was ended is told nothing",
        "            raise body.error() from error\n\n    async def _leave",
        "            pass\n\n    async def _leave",
    ),
    turn(
        "an error of the turn's own is hidden by its end",
        "if body.ended is not None and (is_ours or error is None):",
        "if body.ended is not None:",
    ),
    turn(
        "a place that was left is still inherited",
        "        self._forget(place, body)\n        if not",
        "        if not",
    ),
    turn(
        "who leaves a turn inside a turn gives the place away",
        (
            "        if not self._give_back(place, body):\n"
            "            return  # others of the same turn are inside still\n"
        ),
        "        self._lines.free(place)\n",
    ),
    turn(
        "a lease is not given back before the block is left",
        "                await place.lease.end()\n",
        "                pass\n",
    ),
    turn(
        "a turn that is closed awaits",
        "if place.lease is not None and not isinstance(error, GeneratorExit):",
        "if place.lease is not None:",
    ),
    turn(
        "a lease that was lost is found out by nobody",
        '                    body.ended = "lost"\n',
        "                    pass\n",
    ),
    turn(
        "an end is not told",
        "            report.ended(body.ended)\n\n    def release",
        "            pass\n\n    def release",
    ),
    turn(
        "release keeps the place",
        "        if self._give_back(place, body):\n            body.loop.call(report.ended, body.ended)",
        "        pass",
    ),
    turn("release leaves the cancelling entered", "        body.loop.call(body.leave, None)\n", ""),
    turn(
        "the place of a lease is free before the lease is",
        (
            "        if is_empty and place.lease is not None:\n            place.lease.stop()\n"
            "        elif is_empty:\n            self._lines.free(place)"
        ),
        (
            "        if is_empty and place.lease is not None:\n            place.lease.stop()\n"
            "        if is_empty:\n            self._lines.free(place)"
        ),
    ),
    turn("a dropped turn holds its place for ever", "        self._lines.drop(place, body)\n", ""),
    turn(
        "nobody is warned of a dropped turn",
        "ResourceWarning, stacklevel=2, source=self)",
        "ImportWarning, stacklevel=2, source=self)",
    ),
    lines("a place ends every body", "for body in self.bodies[:1]:", "for body in self.bodies:"),
    lines("a loop that is gone is waited for", "return all(body.loop.closed for body in self.bodies)", "return False"),
    lines(
        "one loop of several that is gone is enough",
        "return all(body.loop.closed for body in self.bodies)",
        "return any(body.loop.closed for body in self.bodies)",
    ),
    lines("a task started inside is not inside", "if line.holder in inherited or any(", "if any("),
    lines(
        "a task that is waited for is not inside",
        "if line.holder in inherited or any(inside.is_in(body) for inside in line.holder.bodies):",
        "if line.holder in inherited:",
    ),
    lines(
        "who comes to a place that is being given back shares it",
        "if line is None or not line.holder.bodies:",
        "if line is None:",
    ),
    lines("a turn inside is not counted", "                line.holder.bodies.append(body)\n", ""),
    lines("longest is one more", "if len(line.waiting) >= longest:", "if len(line.waiting) > longest:"),
    lines("being busy and being too many is one", 'refused="longest" if longest else "busy"', 'refused="busy"'),
    lines("who runs is not superseded", "ended += [line.holder, *line.waiting]", "ended += line.waiting"),
    lines("who waits is not superseded", "ended += [line.holder, *line.waiting]", "ended += [line.holder]"),
    lines("who is superseded stays in line", "            line.waiting.clear()\n", ""),
    lines("nobody is superseded", '            other.end("interrupted")\n', "            pass\n"),
    lines(
        "a loop that is gone holds up everybody",
        "            self._hand_on(line, line.holder)\n            line = self._lines",
        "            line = self._lines",
    ),
    lines("the last to come is next", "line.holder = line.waiting.popleft()", "line.holder = line.waiting.pop()"),
    lines(
        "who leaves is the last one",
        "                return not place.bodies\n            return False",
        "                return True\n            return False",
    ),
    lines(
        "who leaves twice is the last one again",
        "                return not place.bodies\n            return False",
        "                return not place.bodies\n            return True",
    ),
    lines(
        "who gives up waiting stays in line", "                line.waiting.remove(place)\n", "                pass\n"
    ),
    lines(
        "who gives up waiting gives the place away",
        (
            "        if line.holder is not place:\n            if place in line.waiting:\n"
            "                line.waiting.remove(place)\n            return\n"
        ),
        "",
    ),
    lines(
        "the next one's loop may be gone",
        "            if line.holder.grant():\n                return\n",
        "            line.holder.grant()\n            return\n",
    ),
    lines("a line without anybody is kept", "        del self._lines[place.key]\n", ""),
    lines("what was dropped is swept up only once", "            yield\n        self._sweep()", "            yield"),
    lines(
        "what was dropped is swept up by whoever waits for the lock",
        "self._lock.acquire(blocking=False)",
        "self._lock.acquire()",
    ),
    lines(
        "of a dropped turn the one around it is given away",
        "        if place.bodies:\n            return\n        line",
        "        line",
    ),
    lines(
        "a dropped lease is kept",
        "        if place.lease is not None:\n            place.lease.stop()\n        elif line",
        "        if line",
    ),
    loops(
        "a loop is spoken to from its own thread only",
        "            self._loop.call_soon_threadsafe(function, *args)\n",
        "            function(*args)\n",
    ),
    loops(
        "a loop that is gone is spoken to",
        "        except RuntimeError:\n            return False\n        return True\n\n    def time",
        "        except RuntimeError:\n            return True\n        return True\n\n    def time",
    ),
    loops("a cancellation of ours stays counted", "            task.uncancel()\n", "            pass\n"),
    loops(
        "another's cancellation is taken for ours",
        "return isinstance(error, asyncio.CancelledError) and not is_cancelled_by_others",
        "return isinstance(error, asyncio.CancelledError)",
    ),
    loops(
        "any error is taken for our cancellation",
        "return isinstance(error, asyncio.CancelledError) and not is_cancelled_by_others",
        "return not is_cancelled_by_others",
    ),
    loops(
        "a scope of ours takes what is left without an error",
        "return bool(self._scope.__exit__(*details)) and error is not None",
        "return bool(self._scope.__exit__(*details))",
    ),
    body("every task is in every other", "return self.task() is other.task()", "return True"),
    body(
        "the last reason counts",
        "        if self.ended is not None or self._cancelling is None:",
        "        if self._cancelling is None:",
    ),
    body(
        "what has ended is ended",
        "        if self.ended is not None or self._cancelling is None:",
        "        if self.ended is not None:",
    ),
    body("an interruption is not told", '        self._report("interrupted", why)\n', ""),
    body(
        "abort is called before the block has begun",
        "if self._abort is None or not self.has_begun:",
        "if self._abort is None:",
    ),
    body("abort is never called", "if self._abort is None or not self.has_begun:", "if True:"),
    body(
        "an abort that raises lets the turn go on",
        (
            "        except Exception:\n"
            '            logger.exception("the abort hook of a turn raised; the turn is cancelled instead")\n'
            "            self._cancelling.cancel()"
        ),
        (
            "        except Exception:\n"
            '            logger.exception("the abort hook of a turn raised; the turn is cancelled instead")'
        ),
    ),
    body("an interruption is taken for a loss", 'if self.ended == "lost":', "if True:"),
    body("a loss is taken for an interruption", 'if self.ended == "lost":', "if False:"),
    body("it is not told whether the turn had begun", "started=self.has_begun", "started=True"),
    report(
        "the waiting goes on while it runs",
        "(self._loop.time() if self._started is None else self._started)",
        "self._loop.time()",
    ),
    report("waiting is told again and again", "            self._is_waiting = True\n", ""),
    report(
        "how long it ran is not told",
        "running = None if self._started is None else self._loop.time() - self._started",
        "running = None",
    ),
    report("a refusal is not told", '        self.tell("refused", reason)\n', ""),
    leases(
        "what the store raised is swallowed", "        if self.error is not None:\n            raise self.error\n", ""
    ),
    leases("a lease is not stopped", "        self.loop.call(self._until_stopped.cancel)", "        pass"),
    leases(
        "a cancellation ends the giving back",
        "        self.stop()\n        with anyio.move_on_after(GRACE, shield=True):",
        "        self.stop()\n        with anyio.move_on_after(GRACE):",
    ),
    leases(
        "a lease is not kept alive", "                if self.is_ours:\n                    await self._keep()\n", ""
    ),
    leases("a lease is not given back", "                    await self._release()\n", "                    pass\n"),
    leases("its end is told to nobody", "                self._on_end()\n", "                pass\n"),
    leases(
        "a lease is good from when the answer came",
        "self._good_until = asked + self._store.timeout\n                    return True",
        "self._good_until = anyio.current_time() + self._store.timeout\n                    return True",
    ),
    leases(
        "a store that is away for long is asked for ever",
        "                if asked > answered + self._store.timeout:\n                    raise\n",
        "",
    ),
    leases(
        "a store that does not answer once is given up on",
        "                if asked > answered + self._store.timeout:\n                    raise\n",
        "                raise\n",
    ),
    leases("who is not patient waits", "            if not patiently:\n                return False\n", ""),
    leases(
        "the store is asked without a pause",
        "            await anyio.sleep(self._store.poll * random.uniform(0.5, 1.5))\n",
        "            await anyio.sleep(0)\n",
    ),
    leases("a lease is renewed too late", "pause = timeout / 3\n        while", "pause = timeout\n        while"),
    leases(
        "the lease is taken for ours to its last moment",
        "last_moment = self._good_until - timeout / 10",
        "last_moment = self._good_until + timeout",
    ),
    leases(
        "a renewal may last for ever",
        "anyio.fail_after(max(last_moment - asked, timeout / 10))",
        "anyio.fail_after(None)",
    ),
    leases(
        "a renewed lease is good no longer than before",
        "self._good_until, pause = asked + timeout, timeout / 3",
        "pause = timeout / 3",
    ),
    leases(
        "a renewal that fails once loses the lease",
        "is_ours, pause = anyio.current_time() < last_moment, timeout / 30",
        "is_ours, pause = False, timeout / 30",
    ),
    leases("a lease that was lost is kept", "            if not is_ours:\n                return self._lose()\n", ""),
    leases(
        "a lease that was taken by another is noticed by nobody",
        "        if self.is_ours and not was_ours and not self.is_lost:\n            self._lose()\n",
        "",
    ),
    leases("a loss is told to nobody", "        self._on_lost()\n", ""),
]
