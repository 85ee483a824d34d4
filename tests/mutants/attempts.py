"""One call's attempts: `_attempts.py`."""

from functools import partial

from .mutant import Mutant

of = partial(Mutant, "_attempts.py")

MUTANTS = [
    of(
        "the time before the first failure does not count",
        "self._began = anyio.current_time() - (time.monotonic() - entered)",
        "self._began = anyio.current_time()",
    ),
    of(
        "the deadline counts from the first failure",
        "else self._began + deadline",
        "else anyio.current_time() + deadline",
    ),
    of(
        "one attempt more than max_attempts",
        "self.attempts >= self._max_attempts",
        "self.attempts > self._max_attempts",
    ),
    of(
        "the context's limits are ignored",
        "limits_in_force(policy.max_attempts, policy.deadline)",
        "(policy.max_attempts, policy.deadline)",
    ),
    of("a skipped wait does not count as elapsed", "        self._began -= seconds\n", ""),
    of("a skipped wait does not bring the deadline nearer", "        self.deadline -= seconds\n", ""),
    of("only the last queueing is counted", "self._queued += anyio", "self._queued = anyio"),
    of("what the caller is handling is not noted", "        self.failures.handled = being_handled()\n", ""),
    of(
        "a cancellation between two attempts is not noted",
        (
            "        self.failures.handled = being_handled()\n"
            "        self._cancellations = cancellations(current_loop())\n"
        ),
        "        self.failures.handled = being_handled()\n",
    ),
    of(
        "an attempt's cancellations are counted from the first one on",
        "        self._timed_out = False\n        self._cancellations = cancellations(current_loop())\n",
        "        self._timed_out = False\n",
    ),
    of(
        "attempts are not counted",
        "        self.attempts += 1\n        self._attempt_began",
        "        self._attempt_began",
    ),
    of("an attempt began with the call", "        self._attempt_began = time.monotonic()\n", ""),
    of("once timed out, always timed out", "        self._timed_out = False\n        self._c", "        self._c"),
    of(
        "attempt_timeout outlasts the deadline",
        "min(anyio.current_time() + timeout, self.deadline)",
        "anyio.current_time() + timeout",
    ),
    of("a time limit's end is not noted", "        self._timed_out = True\n", ""),
    of("an async verdict is asked for twice", "judged(judging, answer)", "judged(self._judging(error))"),
    of(
        "a strategy that raises does not end a block",
        (
            "        except BaseException as raised:\n            self.abandon(raised)\n            raise\n"
            "        self.unjudged"
        ),
        "        except BaseException:\n            raise\n        self.unjudged",
    ),
    of(
        "a strategy that raises does not end a call",
        (
            "            return await judged(self._judging(error))\n        except BaseException as raised:\n"
            "            self.abandon(raised)\n            raise"
        ),
        ("            return await judged(self._judging(error))\n        except ZeroDivisionError:\n            raise"),
    ),
    of(
        "a result is judged before it is known",
        "self.asked.note(self.attempts, self._began, None, result)",
        "self.asked.note(self.attempts, self._began, None, None)",
    ),
    of(
        "a rejecting result is no rejection",
        "self.failures.take_rejection(StaleSessionError(answered))",
        "self.failures.take_doubt(StaleSessionError(answered))",
    ),
    of("a rejected result is told", "with a {type(result).__name__} that", "with {result!r} that"),
    of(
        "a failed reload is retried although a call inside gave up",
        "        if self._is_final(error):\n            return False\n        self.asked",
        "        self.asked",
    ),
    of(
        "a failed reload is judged as the attempt before it",
        "self.asked.note(self.attempts + 1, self._began, error)",
        "self.asked.note(self.attempts, self._began, error)",
    ),
    of(
        "in_doubt is not asked about a reload",
        "for strategy in (self.policy.on, self.policy.in_doubt):",
        "for strategy in (self.policy.on,):",
    ),
    of(
        "on is not asked about a reload",
        "for strategy in (self.policy.on, self.policy.in_doubt):",
        "for strategy in (self.policy.in_doubt,):",
    ),
    of(
        "a failed reload is no attempt",
        "                self.attempts += 1\n                self.failures.take(error)",
        "                self.failures.take(error)",
    ),
    of(
        "a failed reload brings doubt",
        "                self.failures.take(error)\n                return True",
        "                self.failures.take_doubt(error)\n                return True",
    ),
    of("who waited is asked about although on looks at errors alone", "if not self.policy.asks_call:", "if False:"),
    of(
        "who waited is refreshed whatever on says",
        (
            "        self.asked.note(0, self._began, waited)\n"
            "        return await judged(self.asked.accepts(self.policy.on))"
        ),
        "        return True",
    ),
    of("TryAgain is nothing special", "isinstance(error, tenacity.TryAgain) or (yield", "(yield"),
    of(
        "a time limit's end that on accepts is no doubt",
        "                if self._timed_out:\n                    failures.take_doubt(error)\n",
        "",
    ),
    of(
        "doubt is taken for a rejection",
        "                failures.take_doubt(error)\n                return True\n        self",
        "                failures.take_rejection(error)\n                return True\n        self",
    ),
    of("in_doubt is never asked", "if policy.in_doubt is not None and (yield", "if False and (yield"),
    of(
        "an error that stands for a cancellation is judged",
        "            turned_a_cancellation(error, self._cancellations)\n            or gave_up_since",
        "            gave_up_since",
    ),
    of("what a call inside gave up with is judged", "            or gave_up_since(self._attempt_began, error)\n", ""),
    of(
        "no_waiting is told nothing",
        "observers = (*self.policy.observers, *recorders.get())",
        "observers = self.policy.observers",
    ),
    of(
        "observers are told nothing",
        "observers = (*self.policy.observers, *recorders.get())",
        "observers = recorders.get()",
    ),
    of(
        "a doubt is not told",
        "in_doubt, queued = self.failures.in_doubt, self._queued",
        "in_doubt, queued = False, self._queued",
    ),
    of(
        "the queueing is not told",
        "in_doubt, queued = self.failures.in_doubt, self._queued",
        "in_doubt, queued = self.failures.in_doubt, 0.0",
    ),
    of(
        "the error that is told is always the last attempt's",
        "error = self.failures.error if error is None else error",
        "error = self.failures.error",
    ),
    of(
        "who waits is not told what was stored through",
        "            place.stored_through(self.call.session)\n",
        "            pass\n",
    ),
    of(
        "a success at once is told as a recovery",
        "            if self.failures.error is not None:\n                self.tell",
        "            if True:\n                self.tell",
    ),
    of("a recovery is not told", '                self.tell("recovered")', "                pass"),
    of(
        "an observer that interrupts a recovery keeps the gates held",
        "        finally:\n            self.end()\n\n    def give_up",
        "        except BaseException:\n            raise\n        self.end()\n\n    def give_up",
    ),
    of("giving up is not told", '            self.tell("gave_up", error=cause, reason=reason)\n', ""),
    of(
        "the refresh hook's error is not told",
        'self.tell("gave_up", error=cause, reason=reason)',
        'self.tell("gave_up", reason=reason)',
    ),
    of("reraise is ignored", "                reraise=self.policy.reraise,\n", "                reraise=False,\n"),
    of(
        "a cancellation is chained to the stale error",
        "        if isinstance(raised, Exception):\n            for error",
        "        if True:\n            for error",
    ),
    of(
        "a hook's error is not chained to the stale one",
        "for error in (self.asked.error, self.failures.origin):",
        "for error in (self.asked.error,):",
    ),
    of(
        "a hook's error is chained into what the caller handles",
        "chain(raised, error, self.failures.handled)",
        "chain(raised, error)",
    ),
    of(
        "an attempt's own error is chained into what the caller handles",
        "chain(error, self.failures.origin, self.failures.handled)",
        "chain(error, self.failures.origin)",
    ),
    of(
        "an error that is not stale does not lead to the one that was",
        "            chain(error, self.failures.origin, self.failures.handled)\n",
        "            pass\n",
    ),
    of(
        "a call that is abandoned goes on",
        "                    chain(raised, error, self.failures.handled)\n        self.end()",
        "                    chain(raised, error, self.failures.handled)",
    ),
    of(
        "a call that ends with its own error keeps its gates",
        "            chain(error, self.failures.origin, self.failures.handled)\n        self.end()",
        "            chain(error, self.failures.origin, self.failures.handled)",
    ),
    of("what has ended does not say so", "        self.ended = True\n", ""),
    of("the shared gates are kept when it ends", "        for hold in self.held:\n            hold.release()\n", ""),
    of("the places are kept when it ends", "        for place in self.places:\n            place.release()\n", ""),
    of("errors are kept when it ends", "        self.failures.clear()\n", ""),
    of("the strategies' state is kept when it ends", "        self.asked.clear()\n", ""),
    of("a verdict is kept when it ends", "        self.unjudged = None\n", ""),
    of(
        "a result that came of a cancellation is judged",
        (
            "        if turned_a_cancellation(None, self._cancellations):\n            self.end()\n"
            "            return False\n"
        ),
        "",
    ),
    of(
        "a wrong call's TypeError is judged",
        "            or (isinstance(error, TypeError) and not self.call.fits)\n",
        "",
    ),
    of(
        "every TypeError is a wrong call's",
        "(isinstance(error, TypeError) and not self.call.fits)",
        "isinstance(error, TypeError)",
    ),
    of(
        "a time limit's doubt is not behind what reraise raises",
        "cause_of(self.failures, refresh_error, reraise=self.policy.reraise)",
        "cause_of(self.failures, refresh_error, reraise=False)",
    ),
]
