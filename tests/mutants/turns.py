"""The queue of whole turns: `turns/`."""

from functools import partial

from .mutant import Mutant

turn = partial(Mutant, "turns/_turn.py")
queues = partial(Mutant, "turns/_queues.py")
cancelling = partial(Mutant, "turns/_cancelling.py")
body = partial(Mutant, "turns/_body.py")
report = partial(Mutant, "turns/_report.py")
leases = partial(Mutant, "turns/_leases.py")
keeper = partial(Mutant, "turns/_keeper.py")
rows = partial(Mutant, "turns/_rows.py")
sql = partial(Mutant, "turns/sql.py")
redis = partial(Mutant, "turns/redis.py")
stream = partial(Mutant, "turns/_stream.py")
worker = partial(Mutant, "turns/_worker.py")
collect = partial(Mutant, "turns/_collect.py")
queue = partial(Mutant, "turns/queue.py")

MUTANTS = [
    turn(
        "a turn is entered twice",
        "        if self._report is not None:\n            raise",
        "        if False:\n            raise",
    ),
    turn("a turn inside a turn waits for itself", "slot = self._queues.join(self._key, body, around)", "slot = None"),
    turn("a task started inside a turn waits for it", "            enter_inside(Inside(self))\n", ""),
    turn(
        "a reader is always inside",
        "and other.is_open and other.slot.bodies)\n\n\ndef",
        "and other.slot.bodies)\n\n\ndef",
    ),
    turn(
        "a turn that is over is still around",
        "and other.is_open and other.slot.bodies)\n\n\ndef",
        "and other.is_open)\n\n\ndef",
    ),
    turn(
        "the deadline of waiting is ignored", "anyio.move_on_after(self._options.deadline)", "anyio.move_on_after(None)"
    ),
    turn("a refused turn goes on", "                raise report.refusal(refused)\n", "                pass\n"),
    turn(
        "a turn that is cancelled while it waits stays in the queue",
        "            self._queues.leave(slot, body)\n            if body.leave(error):",
        "            if body.leave(error):",
    ),
    turn(
        "a turn that is superseded while it waits is cancelled",
        "            if body.leave(error):\n                raise body.error() from error\n            raise",
        "            body.leave(error)\n            raise",
    ),
    turn("a start is not told", "        report.started()\n        return slot", "        return slot"),
    turn(
        "interrupting waits in the queue",
        'if self._options.when_busy == "interrupt":\n            arrival',
        "if False:\n            arrival",
    ),
    turn(
        "a refused turn waits",
        "        if arrival.refused is not None:\n            return arrival.refused\n",
        "",
    ),
    turn(
        "processes share nothing",
        "        if self._shared is None:\n            return None\n        # N",
        "        return None\n        # N",
    ),
    turn(
        "a wait that was given up is still a wait",
        "                self._queues.stop_waiting(slot, around)\n",
        "                pass\n",
    ),
    turn(
        "a long wait is not warned of",
        "                    report.waits()\n                    await",
        "                    await",
    ),
    turn("a lease that is asked to end ends nothing", "on_asked_to_end=slot.end", "on_asked_to_end=print"),
    turn("a lease that has ended frees no slot", "partial(self._queues.free, slot)", "print"),
    turn("reject waits for a lease", 'patiently=self._options.when_busy != "reject"', "patiently=True"),
    turn("a refused turn leaves its note", "        await slot.lease.end()  # so", "        pass  # so"),
    turn("a turn is left twice", "        self._body = self._slot = None\n        is_ours", "        is_ours"),
    turn(
        "a turn that was ended is told nothing",
        "            raise body.error() from error\n\n    async def _end",
        "            pass\n\n    async def _end",
    ),
    turn(
        "an error of the turn's own is hidden by its end",
        "if body.ended is not None and (is_ours or error is None):",
        "if body.ended is not None:",
    ),
    turn("a slot that was left is still inherited", "                _leave_inside(slot)\n", "                pass\n"),
    turn(
        "a lease is not given back before the block is left",
        "                await slot.lease.end()\n                if",
        "                if",
    ),
    turn(
        "a turn that is closed awaits",
        "if slot.lease is not None and not isinstance(error, GeneratorExit):",
        "if slot.lease is not None:",
    ),
    turn(
        "a lease that was lost is found out by nobody",
        '                    body.ended = "lost"\n',
        "                    pass\n",
    ),
    turn(
        "an end is not told",
        "        finally:\n            report.ended(body.ended)\n",
        "        finally:\n            pass\n",
    ),
    turn("release tells no end", "            run_in(body.loop, report.ended, body.ended)\n", "            pass\n"),
    turn("release leaves the cancelling entered", "        run_in(body.loop, body.leave, None)\n", ""),
    turn("a dropped turn keeps its slot for ever", "        self._queues.drop(slot, body)\n", ""),
    turn(
        "no check before a retry",
        "                check_before_retries(slot.lease)\n",
        "                pass\n",
    ),
    queues("a slot ends every body", "for body in self.bodies[:1]:", "for body in self.bodies:"),
    queues(
        "a loop that is gone is waited for", "return all(is_closed(body.loop) for body in self.bodies)", "return False"
    ),
    queues(
        "a lease's loop that is gone is waited for",
        "return self.lease is not None and is_closed(self.lease.loop)",
        "return False",
    ),
    queues("a task started inside is not inside", "return holder in around or any(", "return any("),
    queues(
        "a task that is waited for is not inside",
        "return holder in around or any(body.task() is task for body in holder.bodies)",
        "return holder in around",
    ),
    queues(
        "a slot that is being given back is shared",
        "    if not holder.bodies:  # it is being given back\n        return False\n",
        "",
        equivalent="only a race of two threads notices",
    ),
    queues("longest is one more", "if len(queue.waiters) >= longest:", "if len(queue.waiters) > longest:"),
    queues("being busy and being too many is one", 'refused="longest" if longest else "busy"', 'refused="busy"'),
    queues("no circle is seen", "            if _is_circle(queue, inherited):\n", "            if False:\n"),
    queues("only circles of two are seen", "            left += holder.waits_for\n", ""),
    queues(
        "no turn is known to wait for another",
        "                outer.waits_for.append(queue)\n",
        "                pass\n",
    ),
    queues("the running turn is not superseded", "ended += [queue.holder, *queue.waiters]", "ended += queue.waiters"),
    queues("waiting turns are not superseded", "ended += [queue.holder, *queue.waiters]", "ended += [queue.holder]"),
    queues("a superseded turn stays in the queue", "            queue.waiters.clear()\n", ""),
    queues("nothing is superseded", '            other.end("newer")\n', "            pass\n"),
    queues("a stop hits a turn that waits", "(slot.is_running if token is None else", "(True if token is None else"),
    queues(
        "a stop hits whichever turn", "(slot.is_running if token is None else slot.token == token)", "slot.is_running"
    ),
    queues("a stop never ends waiting turns", "or (waiting and not slot.is_running)", "or False"),
    queues("a stop always ends waiting turns", "or (waiting and not slot.is_running)", "or not slot.is_running"),
    queues("a stop tells nothing", '            slot.end("stopped")\n', "            pass\n"),
    queues(
        "a loop that is gone holds up everybody",
        "            self._hand_on(queue, queue.holder)\n            queue = self._queues",
        "            queue = self._queues",
    ),
    queues(
        "of a dropped turn the one around it is given away",
        "        if slot.bodies:\n            return False\n        if slot.lease",
        "        if slot.lease",
    ),
    queues(
        "the next turn begins before the lease is given back",
        "            slot.lease.stop()\n        else:\n            self._free(slot)",
        "            slot.lease.stop()\n        self._free(slot)",
    ),
    queues(
        "what was dropped is swept up by a thread that waits for the lock",
        "_lock.acquire(blocking=False)",
        "_lock.acquire()",
    ),
    queues("what was dropped meanwhile is left", "        if _dropped:\n            _sweep()\n", ""),
    queues("a message overtakes", "return token in tokens[:-1]", "return False"),
    cancelling("a cancellation of ours stays counted", "            task.uncancel()\n", "            pass\n"),
    cancelling(
        "another's cancellation is taken for ours",
        "return _cancellations(task) <= self._before and anyio.current_effective_deadline() != -math.inf",
        "return True",
    ),
    cancelling(
        "any error is taken for our cancellation",
        "        if not isinstance(error, asyncio.CancelledError):\n            return False\n",
        "",
    ),
    body(
        "the last reason counts",
        "        if self.ended is not None or self._cancelling is None:",
        "        if self._cancelling is None:",
    ),
    body("an interruption is not told", '        self._report("interrupted", reason)\n', ""),
    body(
        "abort is called before the block has begun",
        "if self._abort is None or not self.has_begun:",
        "if self._abort is None:",
    ),
    body("abort is never called", "if self._abort is None or not self.has_begun:", "if True:"),
    body(
        "an abort that is ignored is waited for on asyncio",
        "            self.loop.call_later(GRACE, self._cancel)\n",
        "            pass\n",
    ),
    body(
        "an abort that is ignored is waited for on trio",
        "            spawn(self._cancel_later)\n",
        "            pass\n",
    ),
    body("an interruption is taken for a loss", 'if self.ended == "lost":', "if True:"),
    body("a loss is taken for an interruption", 'if self.ended == "lost":', "if False:"),
    body("it is not told whether the turn had begun", "started=self.has_begun", "started=True"),
    body("a stop is taken for an interruption", '"newer" if self.ended == "newer" else "stopped"', '"newer"'),
    report(
        "the waiting goes on while it runs",
        "(time.monotonic() if self._started is None else self._started)",
        "time.monotonic()",
    ),
    report("waiting is told again and again", "            self._is_waiting = True\n", ""),
    report("a long wait is warned of again and again", "            self._has_warned = True\n", ""),
    report("a refusal is not told", '        self.tell("refused", reason)\n', ""),
    leases(
        "what the store raised is swallowed", "        if self.error is not None:\n            raise self.error\n", ""
    ),
    leases("a lease is not stopped", "        self._until_stopped.cancel()\n", "        pass\n"),
    leases(
        "a cancellation ends the giving back",
        "        self.stop()\n        with anyio.move_on_after(GRACE, shield=True):",
        "        self.stop()\n        with anyio.move_on_after(GRACE):",
    ),
    leases("a lease is not given back", "                    await self._release()\n", "                    pass\n"),
    leases("its end is told to nobody", "                self._on_end()\n", "                pass\n"),
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
    leases("an impatient turn waits", "            if not patiently:\n                return False\n", ""),
    leases(
        "the store is asked without a pause",
        "            await anyio.sleep(self._store.poll * random.uniform(0.5, 1.5))\n",
        "            await anyio.sleep(0)\n",
    ),
    leases("a lost turn frees its slot at once", "        await anyio.sleep(GRACE)\n", ""),
    leases(
        "a lost turn that never ends keeps its slot",
        "        await anyio.sleep(GRACE)\n",
        "        await anyio.sleep_forever()\n",
    ),
    leases(
        "a lease that was taken by another is noticed by nobody",
        "        if self.is_ours and not was_ours:\n            self.lose()\n",
        "",
    ),
    leases(
        "a release that fails late is no loss",
        "            was_ours = time.monotonic() < self.good_until\n",
        "            was_ours = True\n",
    ),
    leases("a loss is told to nobody", '        self._on_asked_to_end("lost")\n', ""),
    leases(
        "a superseded turn asks on",
        "                    self.is_superseded = True\n                    return False\n",
        "                    pass\n",
    ),
    leases(
        "a turn that ended well is a zombie",
        "        if self.is_lost or (not is_over and time.monotonic() >= self.good_until):",
        "        if self.is_lost or time.monotonic() >= self.good_until:",
    ),
    leases(
        "a zombie is let through",
        "        if self.is_lost or (not is_over and time.monotonic() >= self.good_until):",
        "        if False:",
    ),
    leases(
        "each retry asks the store",
        "and not is_over and time.monotonic() >= self.good_until and current_loop()",
        "and not is_over and current_loop()",
    ),
    leases(
        "half a question is cancelled at once",
        "with anyio.CancelScope(shield=True) as self._asking:",
        "with anyio.CancelScope() as self._asking:",
        equivalent="only a database that is locked by half a question notices",
    ),
    keeper(
        "a lease is never renewed",
        "renew = time.monotonic() + timeout * 2 / 3 >= min(lease.good_until for lease in held)",
        "renew = False",
    ),
    keeper(
        "a lease is renewed each second",
        "renew = time.monotonic() + timeout * 2 / 3 >= min(lease.good_until for lease in held)",
        "renew = True",
    ),
    keeper(
        "a lease is good for ever",
        "last_moments = [lease.good_until - timeout / 10 for lease in held]",
        "last_moments = [lease.good_until + timeout for lease in held]",
    ),
    keeper("a question may last for ever", "with anyio.fail_after(limit):", "with anyio.fail_after(None):"),
    keeper(
        "a renewed lease is good no longer than before",
        "                lease.good_until = asked + timeout\n",
        "                pass\n",
    ),
    keeper(
        "a renewal that fails once loses the lease",
        "                if now >= last_moment:\n",
        "                if True:\n",
    ),
    keeper(
        "a failed renewal is repeated without pause",
        "timeout / 3 if is_answered else timeout / 30)",
        "timeout / 3 if is_answered else 0)",
    ),
    keeper(
        "a lease that is not ours any more is kept",
        "            if heard is None:\n                self._lose(lease)\n                continue\n",
        "            if heard is None:\n                continue\n",
    ),
    keeper("nothing is heard of a stop", "            lease.hear(heard.stop, is_waited_for=heard.is_waited_for)\n", ""),
    keeper(
        "connections are closed at once",
        "            with anyio.move_on_after(LINGER):\n                await self._used.wait()\n",
        "            pass\n",
    ),
    keeper("connections are never closed", "                    await self._close()\n", "                    pass\n"),
    keeper("queues that share a lease are apart", "    shared = _all_shared.get(id(store))\n", "    shared = None\n"),
    rows(
        "acquire is not idempotent",
        "        if self.holder == token:\n            self.expires",
        "        if False:\n            self.expires",
    ),
    rows(
        "a held lease is given away",
        "        if not is_held and (interrupts or not is_requested):",
        "        if interrupts or not is_requested:",
    ),
    rows(
        "the next one is passed over",
        "        if not is_held and (interrupts or not is_requested):",
        "        if not is_held:",
    ),
    rows(
        "an interrupting one waits for the next one",
        "        if not is_held and (interrupts or not is_requested):",
        "        if not is_held and not is_requested:",
    ),
    rows("an older one is not superseded", "is_superseded=True)", "is_superseded=False)"),
    rows(
        "a stop outlives its holder",
        "self.expires, self.stop = token, arrived, now + lasts, None",
        "self.expires, self.stop = token, arrived, now + lasts, token",
    ),
    rows("a holder is not asked to end for a newer one", 'self.stop, self.reason = self.holder, "newer"', "pass"),
    rows(
        "no waiter is noted",
        "            self.request, self.request_arrived, self.request_expires = token, arrived, now + waits\n",
        "            pass\n",
    ),
    rows(
        "the last to ask is next",
        "        if interrupts or not is_requested:\n            self.request",
        "        if True:\n            self.request",
    ),
    rows(
        "a waiter that leaves stays noted",
        "        if self.request == token:\n            self.request = None\n        if self.holder",
        "        if self.holder",
    ),
    rows(
        "a note never runs out",
        "return self.request is not None and self.request_expires > now",
        "return self.request is not None",
    ),
    rows(
        "a lease never runs out",
        "return self.holder is not None and self.expires > now",
        "return self.holder is not None",
    ),
    rows(
        "a row that is waited for is deleted",
        "return self.holder is None and not self.is_requested(now)",
        "return self.holder is None",
    ),
    rows("no row is ever deleted", "return self.holder is None and not self.is_requested(now)", "return False"),
    sql(
        "another's lease is renewed",
        '{clock} + :timeout where name {names} and holder {tokens}"',
        '{clock} + :timeout where name {names}"',
    ),
    sql(
        "a lease that ran out is stopped",
        "where name = :name and expires > {clock} and holder",
        "where name = :name and holder",
    ),
    sql(
        "old rows stay",
        '"delete from {table} where expires < {clock} - :age and',
        '"delete from {table} where expires < 0 and',
    ),
    sql("young rows are swept up", "_OLD = 24 * 3600.0", "_OLD = 22 * 3600.0"),
    sql(
        "more than one question is left out",
        "for first in range(0, len(tokens), _AT_ONCE):",
        "for first in range(0, 1, _AT_ONCE):",
    ),
    sql(
        "two processes collide while they create the table",
        "            if self._dialect is _POSTGRESQL:",
        "            if False:",
    ),
    sql(
        "an engine of the caller's is disposed",
        "Connections(engine, _nothing, _dispose)",
        "Connections(None, lambda: engine, _dispose)",
    ),
    redis("keys of one lease lie on several nodes", "{self._prefix}{{{name}}}", "{self._prefix}{name}"),
    redis(
        "acquire is not idempotent",
        "if row.holder == token then\n    row.expires = text(t + lasts)",
        "if false then\n    row.expires = text(t + lasts)",
    ),
    redis(
        "the next one is passed over",
        "if not row.is_held and (interrupts or not is_requested) then",
        "if not row.is_held then",
    ),
    redis("an older one is not superseded", "    return {0, arrived, 1}\n", "    return {0, arrived, 0}\n"),
    redis("a stop hits another token", "(ARGV[1] ~= '' and ARGV[1] ~= row.holder)", "false"),
    redis("a killed process's keys stay", "    redis.call('PEXPIREAT', key, ", "    string.len("),
    redis(
        "a waiter that leaves stays noted",
        "    redis.call('HDEL', key, 'request')\nend\nlocal was_ours",
        "end\nlocal was_ours",
    ),
    stream("the reader's patience has no end", "            if self._turn.is_waited_for:\n", "            if False:\n"),
    stream(
        "the run goes on although no turn waits", "            if self._turn.is_waited_for:\n", "            if True:\n"
    ),
    stream(
        "a reader's cancellation lets the run wait for it",
        "                self._close()\n                await worker.ended(error)\n",
        "                await worker.ended(error)\n",
    ),
    stream("a stream that is closed runs on", "        self._is_closed = True\n", ""),
    stream(
        "an abort waits for the reader",
        "        self._runs_on = True\n        self._asked.set()\n        cast",
        "        cast",
    ),
    stream("abort is not called", '        cast("Callable[[], object]", self._abort)()\n', "        pass\n"),
    stream("a reader between two events is not inside", "                self._reader.is_open = True\n", ""),
    stream(
        "a reader keeps the slot of a stream that is over",
        "            self._reader.slot = self._reader.turn = None  # it stays in the reader's context\n",
        "",
        equivalent="only memory: a slot that was left shares nothing",
    ),
    stream("the generator is not closed", "                    await events.aclose()\n", "                    pass\n"),
    worker(
        "only one cancellation is passed on",
        "                cancelled = error\n                self.cancel()\n",
        "                cancelled = error\n",
    ),
    worker(
        "a scope gives no time to clean up",
        "if cancelled is not None and anyio.current_effective_deadline() == -math.inf:",
        "if False:",
    ),
    worker(
        "a scope is passed on once",
        "                    if not self.done.is_set():\n                        self.cancel()\n",
        "",
    ),
    worker(
        "a task that never began never ends",
        "            self._task.add_done_callback(self._end)  #",
        "            pass  #",
    ),
    collect("a message of another group joins", " and batch.group == group", ""),
    collect("a message overtakes a turn", " and not batch.turn.is_followed", ""),
    collect(
        "longest is ignored",
        "            if len(batch.messages) >= longest:\n                raise refuse()\n",
        "            pass\n",
    ),
    collect(
        "a caller that leaves leaves its message",
        "        if self.is_open:\n            del self.messages[caller]\n",
        "",
    ),
    collect(
        "a batch without callers goes on",
        "            if not batch.waiting:\n                await batch.worker.ended(error)\n",
        "",
    ),
    collect("a batch that began takes more", "            self.close()\n            return", "            return"),
    collect("a batch without callers takes more", "        if not self.waiting:\n            self.close()\n", ""),
    collect("a turn that waited pauses", "            if not turn.waited:\n", "            if True:\n"),
    collect("a pause has no end", "min(self._last + self._pause, end)", "self._last + self._pause"),
    collect(
        "a pause begins with the first message",
        "        self.waiting += 1\n        self._last = anyio.current_time()\n",
        "        self.waiting += 1\n",
    ),
    queue(
        "a message from inside waits for itself",
        "        if self._queues.is_inside(key, current_task(), slots_around()):",
        "        if False:",
    ),
    queue("a stop reaches this process only", "        if runs_here or self._shared is None:", "        if True:"),
]
