"""The loop, the state of one call, the queue, and the shapes of calls."""

from functools import partial

from .mutant import Mutant

retry = partial(Mutant, "_retry.py")
run = partial(Mutant, "_run.py")
clock = partial(Mutant, "_clock.py")
queue = partial(Mutant, "_queue.py")
call = partial(Mutant, "_call.py")
find = partial(Mutant, "_find.py")
decorated = partial(Mutant, "_decorated.py")
block = partial(Mutant, "_block.py")
failures = partial(Mutant, "_failures.py")
giving_up = partial(Mutant, "_giving_up.py")
chain = partial(Mutant, "_chain.py")
cancelled = partial(Mutant, "_cancelled.py")
limit = partial(Mutant, "_limit.py")
policy = partial(Mutant, "_policy.py")
retrying = partial(Mutant, "_retrying.py")
transaction = partial(Mutant, "_transaction.py")
checks = partial(Mutant, "_checks.py")
telling = partial(Mutant, "_telling.py")

MUTANTS = [
    # The way from one attempt to the next
    retry("attempts are not limited", "        if run.is_exhausted:\n", "        if False:\n"),
    retry("the stop strategy is not asked", "        if run.stops(wait):\n", "        if False:\n"),
    retry("the slot is kept over every backoff", "            slot.keep_or_release(wait)\n", "            pass\n"),
    retry(
        "the slot is not taken again",
        "if slot is not None and not slot.take():\n            clock",
        "if False:\n            clock",
    ),
    retry(
        "a caller back from a backoff queues as a new one", "clock.queue_until(), again=True)", "clock.queue_until())"
    ),
    retry(
        "nobody looks after a refresh",
        "                    elif await run.look():\n",
        "                    elif False:\n",
    ),
    retry(
        "a failed refresh is never retried",
        "                if run.takes_failed_refresh(error):\n",
        "                if False:\n",
    ),
    retry(
        "refresh may outlast the deadline",
        "        limit = time_limit(clock.deadline)\n",
        "        limit = time_limit(1e99)\n",
    ),
    retry(
        "a hook that blocks may outlast the deadline",
        "if reason is None and (limit.is_over or clock.is_late):",
        "if reason is None and limit.is_over:",
    ),
    retry("what would be lost is not refused", "        _refuse_what_would_be_lost(run, stale, rebuilt)\n", ""),
    retry(
        "a lost turn's retry is let through",
        "        await _check_turns()\n        return True\n",
        "        return True\n",
    ),
    retry(
        "a settled call makes one more attempt",
        "                if run.settled is not None:\n                    return False\n            if reason",
        "            if reason",
    ),
    retry(
        "a caller that waited is not brought up to date",
        "        await _refresh_early(run)\n",
        "        pass\n",
    ),
    retry(
        "an early refresh that was cut off counts",
        "        run.call.args, run.call.kwargs = before\n",
        "        pass\n",
    ),
    retry(
        "an early refresh swallows a cancellation",
        "await _reload(run)\n    except Exception as error:\n        if run.was_cancelled(error):\n            raise\n",
        "await _reload(run)\n    except Exception:\n        pass\n",
    ),
    retry("a rewind is refreshed early", "    if not run.accepts_early(waited):\n        return\n", ""),
    retry("an early abort has no cause", "        chain(error, waited, run.failures.handled, run.entered)\n", ""),
    retry("nobody looks before giving up", "        if run.looks and not run.has_looked and", "        if False and"),
    retry("everybody looks twice before giving up", "run.looks and not run.has_looked and", "run.looks and"),
    retry(
        "without the last look the event is not stored",
        "                run.failures.in_doubt = True\n",
        "                pass\n",
    ),
    retry(
        "the last look may last for ever",
        "with time_limit(run.clock.deadline + GRACE):\n                    looked",
        "with time_limit(1e99):\n                    looked",
    ),
    retry(
        "the last look swallows a cancellation",
        "                if run.was_cancelled(error):\n                    raise\n            if run.settled",
        "            if run.settled",
    ),
    retry(
        "what the last look finds is not returned",
        "            if run.settled is not None:\n                return False\n            if not looked",
        "            if not looked",
    ),
    retry("a refreshed session is not used", "    run.call.session = fresh\n", "    pass\n"),
    retry(
        "a session that is gone is kept",
        "    if fresh is None:\n        return False\n",
        "    if fresh is None:\n        return True\n",
    ),
    retry(
        "an error after doubt is not looked up",
        '    return "stored" if await is_stored(run, error) else "raise"',
        '    return "raise"',
    ),
    retry("hooks are not asked", "    for hook in run.policy.on_conflict:\n", "    for hook in ():\n"),
    retry("what a hook changed is lost", "            call.take_over(before, arguments)\n", "            pass\n"),
    retry("hooks are not told of doubt", "clock.elapsed, arguments, in_doubt)", "clock.elapsed, arguments, False)"),
    retry(
        "the hooks after one that settled are asked",
        "            run.settled = answer\n            break\n",
        "            run.settled = answer\n",
    ),
    retry(
        "a save is retried without its event",
        "    if call.is_a_save and call.session is not stale and not rebuilt:",
        "    if False:",
    ),
    retry("a hook that only looked saves a save", "and not rebuilt:", "and not run.policy.on_conflict:"),
    retry(
        "an iterator is read twice",
        "    elif (name := call.read_once()) is not None:",
        "    elif (name := None) is not None:",
    ),
    # What an attempt means
    run(
        "a cancellation is judged",
        "            self.was_cancelled(error)\n            or",
        "            False\n            or",
    ),
    run("an inner call's give-up is retried", "            or gave_up_since(self._attempt_began, error)\n", ""),
    run("a wrong call is judged", "            or (isinstance(error, TypeError) and not self.call.fits)\n", ""),
    run(
        "a transient error under `on` leaves no doubt",
        "in_doubt=not self.policy.knows_conflicts_only and leaves_doubt(error)",
        "in_doubt=False",
    ),
    run("what is in doubt leaves none", "in_doubt=leaves_doubt(error) or not is_known", "in_doubt=False"),
    run("a refused connection leaves doubt", "in_doubt=leaves_doubt(error) or not is_known", "in_doubt=True"),
    run("a timed-out append leaves no doubt", "        if in_doubt or self._timed_out:\n", "        if in_doubt:\n"),
    run(
        "a rejection is not told to the queue",
        "        self.failures.take_rejection(error)\n        if self.slot is not None:\n",
        "        self.failures.take_rejection(error)\n        if False:\n",
    ),
    run(
        "a rejection that swallowed a cancellation is not told to the queue",
        "            if self.slot is not None:\n                self.slot.was_rejected()\n            self.end()\n",
        "            self.end()\n",
    ),
    run("an error after doubt is raised at once", '                return "look"\n', "                pass\n"),
    run(
        "a swallowed cancellation is retried",
        "        if cancellations(current_loop()) > (self._cancellations or 0):",
        "        if False:",
    ),
    run(
        "a cancellation in the refresh is retried",
        "        if self.was_cancelled(error):\n            raise error\n",
        "",
    ),
    run(
        "a failed refresh does not count",
        "        self.tries += 1\n        self._note(error)\n",
        "        self._note(error)\n        self.tries += 0\n",
    ),
    run(
        "a failed refresh counts as a call",
        "        self.tries += 1\n        self._note(error)\n",
        "        self.tries += 1\n        self.attempts += 1\n        self._note(error)\n",
    ),
    run("a block is settled before its first attempt", " and not (self.is_block and policy.on_conflict)", ""),
    run("a save is refreshed early", "and not self.call.is_a_save and", "and"),
    run(
        "nobody has looked after a new attempt",
        "        self.has_looked = False\n        self._attempt_began",
        "        self._attempt_began",
    ),
    run(
        "a look that finds nothing clears every doubt", "        if self.failures.is_rejected:\n", "        if True:\n"
    ),
    run("a rejection never clears the doubt", "            self.failures.clear_doubt()\n", "            pass\n"),
    run(
        "what was found wins over a cancellation",
        "        if found and cancellations(current_loop()) > before:",
        "        if False:",
    ),
    run("`Settled` is returned as it is", "found if isinstance(found, Settled) else Settled(found)", "Settled(found)"),
    run(
        "what was found falsy ends the call",
        "        if found:\n            self.settled",
        "        if found is not None:\n            self.settled",
    ),
    run(
        "a block's own finder is not asked",
        "self._find(self.call.session) if self._find else",
        "None if self._find else",
    ),
    run("jitter is left out", "            wait = self.policy.jitter(wait)\n", "            pass\n"),
    run("negative waits", "max(0.0, float(wait))", "float(wait)"),
    run("stop does not see the wait", "        state.upcoming_sleep = wait\n", "        pass\n"),
    run("attempts are counted one too many", "self.tries >= self._max_attempts", "self.tries > self._max_attempts"),
    run(
        "a recovery is told of every success",
        "            if self.failures.error is not None:\n                self.tell",
        "            if True:\n                self.tell",
    ),
    run("the slot is kept after the call", "            self.slot.release()\n", "            pass\n"),
    run("errors are kept after the call", "        self.failures.clear()\n", "        pass\n"),
    run(
        "the state is kept after the call",
        "        self.failures.clear()\n        self._state = None\n",
        "        self.failures.clear()\n",
    ),
    run(
        "a give-up does not lead to the stale error",
        "                    chain(raised, error, handled, self.entered)\n",
        "                    pass\n",
    ),
    run(
        "an error does not lead to the stale error",
        "            chain(error, self.failures.origin, self.failures.handled, self.entered)\n",
        "            pass\n",
    ),
    run(
        "a hook's coroutine is taken for the session",
        "        while inspect.iscoroutine(value):\n            value = await value\n",
        "",
    ),
    run(
        "a timeout may outlast the deadline",
        "min(self.clock.now() + timeout, self.clock.deadline)",
        "self.clock.now() + timeout",
    ),
    # Time
    clock(
        "the last wait is not cut", "        if self.is_cut or left <= 0 or left == math.inf:\n", "        if True:\n"
    ),
    clock(
        "waits are cut again and again",
        "        if self.is_cut or left <= 0 or left == math.inf:\n",
        "        if left <= 0 or left == math.inf:\n",
    ),
    clock("a last attempt has no time", "1.5 * (self._append + self._reload)", "0.0"),
    clock("nothing is left for a quick attempt", "LEAST_RESERVE = 0.01", "LEAST_RESERVE = 0.0"),
    clock("how long appends take is forgotten", "self._append = max(self._append, seconds)", "pass"),
    clock("how long refreshes take is forgotten", "self._reload = max(self._reload, seconds)", "pass"),
    clock("a waiter waits until its deadline", "return self.deadline - self._total / 4 if", "return self.deadline if"),
    clock(
        "a waiter does not wait", "return self.deadline - self._total / 4 if", "return self.deadline - self._total if"
    ),
    clock("an early refresh takes all the time", "(self.now() + self.deadline) / 2", "self.deadline"),
    clock("skipped waits do not count", "        self.deadline -= seconds\n", ""),
    # The queue
    queue("the last waiter is next", "popitem(last=False)[0] if self.waiters", "popitem(last=True)[0] if self.waiters"),
    queue(
        "callers that return go last",
        "if self.returning and (self._returning_next or not self.waiters):",
        "if self.returning and not self.waiters:",
    ),
    queue(
        "callers that return go first",
        "if self.returning and (self._returning_next or not self.waiters):",
        "if self.returning:",
    ),
    queue("nobody is revoked", "if queue.is_waited_for and queue.patience_ends(time) <= time:", "if False:"),
    queue("patience does not shrink", "        queue.revoked += 1\n", ""),
    queue("patience stays short", "        queue.revoked = 0\n", ""),
    queue(
        "after a revocation nobody refreshes", "        queue.note_change()\n        _hand_over", "        _hand_over"
    ),
    queue("a revoked slot is still held", "        queue.grant.ended = True\n", ""),
    queue("a waiter never goes on without a slot", "            waiter._signal.set()\n", "            pass\n"),
    queue("circles wait", "(mine and queue.would_close_a_circle(mine))", "False"),
    queue("long circles wait", "            left.extend(queue.grant.waits_for)\n", ""),
    queue(
        "what a caller waits for is kept",
        "tuple(other for other in grant.waits_for if other is not queue)",
        "grant.waits_for",
    ),
    queue(
        "a nested call waits for itself",
        "        if queue.grant in _held.get():\n",
        "        if False:\n",
        equivalent="only slower: a call that waits for itself closes a circle, which nobody waits in",
    ),
    queue("the slot is kept over long backoffs", "KEPT = 0.25", "KEPT = 1e9"),
    queue("the slot is never kept", "KEPT = 0.25", "KEPT = -1.0"),
    queue("a stored event does not renew what may be kept", "        queue.kept = 0.0\n", ""),
    queue(
        "who stored last is forgotten", "                self.last = weakref.ref(session)\n", "                pass\n"
    ),
    queue(
        "a revoked holder's session counts as the latest",
        "None if self._grant is not None and self._grant.ended else session",
        "session",
    ),
    queue("everybody that waited is behind", "queue.changes == self._seen", "False"),
    queue("nobody that waited is behind", "return queue.last is None or queue.last() is not session", "return False"),
    queue(
        "a cancelled waiter stays in the queue",
        "            queue.remove(self)\n            self.release()\n            raise\n",
        "            self.release()\n            raise\n",
    ),
    queue(
        "a cancelled waiter keeps the slot",
        "            queue.remove(self)\n            self.release()\n            raise\n",
        "            queue.remove(self)\n            raise\n",
    ),
    queue(
        "a dropped slot stays held",
        "        grant.ended = True\n        self._leave_from_anywhere(grant)\n",
        "        grant.ended = True\n",
    ),
    queue(
        "an unhashable key names nothing",
        '            _checks.is_hashable("key must return a hashable value, but returned", self._key)\n',
        "",
    ),
    queue("keys are kept", "                del queues[key]\n                if queue", "                if queue"),
    queue(
        "a slot is left at once from any thread",
        "        if current_loop() is self.loop:\n            _leave",
        "        if True:\n            _leave",
    ),
    # How it ends, and what is behind it
    failures(
        "a doubt comes before the rejection it is about",
        "for error in (self.rejection, self.doubt):",
        "for error in (self.doubt, self.rejection):",
    ),
    failures("a doubt is forgotten", "        self.in_doubt = True\n", ""),
    failures(
        "a cleared doubt is still raised",
        "        previous, self.doubt = self.doubt, None\n",
        "        previous = self.doubt\n",
    ),
    failures(
        "the frames of every failure are kept",
        "            drop_frames(previous, self.handled)\n",
        "            pass\n",
    ),
    failures("a block's frames are kept", "            drop_frames(self.error, self.handled)\n", "            pass\n"),
    giving_up("what is in doubt is not stored", "InDoubtError if failures.in_doubt else kind", "kind"),
    giving_up(
        "`reraise` is ignored",
        "        if policy.reraise and last is not None and not would_deny:\n",
        "        if False:\n",
    ),
    giving_up(
        "`reraise` raises the last error",
        "_reraise(cause if failures.doubt is None else failures.doubt, facts, is_shared)",
        "_reraise(cause, facts, is_shared)",
    ),
    giving_up("a note is missing", "    note(error, facts)\n", ""),
    giving_up(
        "an inner give-up in a child task is retried",
        "(in_a_group or not is_shared or task == id(current_task()))",
        "(in_a_group or task == id(current_task()))",
    ),
    giving_up(
        "a shared error of another task is an inner give-up",
        "(in_a_group or not is_shared or task == id(current_task()))",
        "True",
    ),
    chain(
        "chains of shared errors grow",
        "    return bool(linked == id(following) and at < since)\n",
        "    return False\n",
    ),
    chain(
        "a circle is made",
        "    if id(raised) in others or any(link is origin for link in behind(raised)):\n        return\n",
        "",
    ),
    cancelled("a count alone is a cancellation", "    return bool(cancelled)\n", "    return True\n"),
    cancelled(
        "no error is a cancellation", "    if cancellations(current_loop()) <= (before or 0):\n", "    if True:\n"
    ),
    cancelled(
        "a cleanup's cancellation ends its calls",
        "return bool(cancelled) and not _are_of_a_cleanup(cancelled)",
        "return bool(cancelled)",
    ),
    cancelled(
        "a time limit inside the append is a cancellation",
        "        cancelled = [link for link in cancelled if id(link) not in of_limits]\n",
        "",
    ),
    limit(
        "a cancellation at the limit's instant is swallowed",
        "self._task.uncancel() <= self._before and isinstance",
        "isinstance",
    ),
    limit("the timer outlives the block", "        self._handle.cancel()\n", ""),
    # Calls, blocks, options
    call(
        "a bound method's object is not passed to refresh", "_receivers(append) if shape.with_receivers else ()", "()"
    ),
    call(
        "every call is a save",
        "        return self._shape.is_a_save and not self._has_variadic_arguments\n",
        "        return True\n",
    ),
    call(
        "no call is a save",
        "        return self._shape.is_a_save and not self._has_variadic_arguments\n",
        "        return False\n",
    ),
    call("files are read twice", "(Iterator, AsyncIterator, io.IOBase)", "(Iterator,)"),
    call("a misbound hook is taken", "                self._refuse_misbound(append, refresh, count)\n", ""),
    call("async generators have the wrong cure", "    if is_async_generator(function):\n", "    if False:\n"),
    call(
        "`find_stored` may name anything",
        "            policy.finder.refuse_unless_met(append, [*_receiver_names(append), *signature.parameters])\n",
        "            pass\n",
    ),
    find(
        "`find_stored` gets every argument",
        "{name: value for name, value in arguments.items() if name in self.names}",
        "arguments",
    ),
    find(
        "`find_stored` may take by position",
        "if parameter.kind in (Parameter.POSITIONAL_ONLY, Parameter.VAR_POSITIONAL):",
        "if False:",
    ),
    decorated("an append that is stored keeps its slot", "            slot.finish(session)\n", "            pass\n"),
    decorated(
        "a cancelled append keeps its slot",
        "        except BaseException:\n            slot.release()\n            raise\n",
        "        except BaseException:\n            raise\n",
    ),
    decorated(
        "attempts have no time limit",
        "            with time_limit(run.time_limit()) as limit:\n",
        '            with time_limit(float("inf")) as limit:\n',
    ),
    decorated("results are not judged", "if not run.policy.asks_results or not run.rejected(result):", "if True:"),
    block(
        "a loop may be used twice",
        "        if self._run is not None:\n            raise",
        "        if False:\n            raise",
    ),
    block(
        "an attempt may be left out",
        '        if self._state != "made":\n            error',
        "        if False:\n            error",
    ),
    block("another task may go on", "        if self._task != id(current_task()):\n", "        if False:\n"),
    block(
        "an error after doubt ends a block as stored",
        "                if not await is_stored(run, unresolved):\n                    raise unresolved\n",
        "                await is_stored(run, unresolved)\n",
    ),
    block(
        "a block's frames are kept by its failure",
        "            run.failures.let_go_of_frames()\n            return True\n",
        "            return True\n",
    ),
    policy(
        "a call may be retried for ever",
        'if options["max_attempts"] is options["deadline"] is options["stop"] is None:',
        "if False:",
    ),
    policy(
        "`in_doubt` alone is taken",
        'if options["in_doubt"] is not None and options["find_stored"] is None and not self.on_conflict:',
        "if False:",
    ),
    policy("a changed policy has a queue of its own", '        if "key" not in changes:', "        if False:"),
    retrying(
        "the append itself is taken for the hook", "        _refuse_the_append_itself(self.refresh, self.session)\n", ""
    ),
    retrying(
        "a bound method loses its object",
        "MethodType(changed, decorated.__self__) if inspect.ismethod(append) else changed",
        "changed",
    ),
    transaction(
        "several names are one after the other", "values[0] if isinstance(self._key, str) else values", "values[0]"
    ),
    transaction(
        "wrong arguments are the key's fault", "            raise WrongCall from None\n", "            raise\n"
    ),
    checks(
        "unknown options are taken",
        '        raise TypeError(f"unknown option {option!r}; {cure}")\n',
        "        continue\n",
    ),
    checks(
        "a hook's optional parameters are filled",
        "    return all(parameter.default is parameter.empty for parameter in parameters)\n",
        "    return True\n",
    ),
    telling(
        "an observer that raises ends the append",
        "        except BaseException as raised:\n",
        "        except ZeroDivisionError as raised:\n",
    ),
]
