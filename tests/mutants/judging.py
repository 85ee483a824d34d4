"""How failures are judged, chained, told, and given up with."""

from functools import partial

from .mutant import Mutant

failures = partial(Mutant, "_failures.py")
giving_up = partial(Mutant, "_giving_up.py")
chain = partial(Mutant, "_chain.py")
tasks = partial(Mutant, "_tasks.py")
telling = partial(Mutant, "_telling.py")
asking = partial(Mutant, "_asking.py")
errors = partial(Mutant, "errors.py")
detection = partial(Mutant, "detection.py")

MUTANTS = [
    failures(
        "a doubt comes before the rejection it is about",
        "for error in (self.rejection, self.doubt):",
        "for error in (self.doubt, self.rejection):",
    ),
    failures(
        "without a rejection nothing is what it is about",
        "        return self.error\n\n    def take(",
        "        return None\n\n    def take(",
    ),
    failures("a doubt is forgotten", "        self.in_doubt = True\n", ""),
    failures(
        "a rejection takes the doubt away",
        "        previous, self.rejection = self.rejection, error\n",
        "        previous, self.rejection = self.rejection, error\n        self.in_doubt = False\n",
    ),
    failures(
        "of a rejection it is not noted",
        "previous, self.rejection = self.rejection, error",
        "previous = self.rejection",
    ),
    failures("the error of a doubt is not noted", "previous, self.doubt = self.doubt, error", "previous = self.doubt"),
    failures("the last error is not noted", "previous, self.error = self.error, error", "previous = self.error"),
    failures("errors are kept", "        self.error = self.rejection = self.doubt = None\n", "        pass\n"),
    failures(
        "the frames of every failure are kept",
        "            drop_frames(previous, self.handled)\n",
        "            pass\n",
    ),
    failures(
        "the frames of the last failure are let go of too",
        "not any(link is self.error for link in behind(previous))",
        "True",
    ),
    failures("a block's frames are kept", "            drop_frames(self.error, self.handled)\n", "            pass\n"),
    giving_up(
        "what a call gave up with does not lead to the stale error",
        "            chain(raised, error, handled)\n",
        "            pass\n",
    ),
    giving_up(
        "a refresh hook's error is not what is raised from",
        "cause = failures.error if refresh_error is None else refresh_error",
        "cause = failures.error",
    ),
    giving_up(
        "a queue's end has no cause", 'return TimeoutError("the place at the gate was not had in time")', "return None"
    ),
    giving_up(
        "reraise in doubt raises the last rejection",
        "_reraise(cause if failures.doubt is None else failures.doubt, facts)",
        "_reraise(cause, facts)",
    ),
    giving_up(
        "with reraise nothing is raised for who made no attempt", "if reraise and last is not None:", "if reraise:"
    ),
    giving_up(
        "a doubt is given up with as if nothing were stored", "InDoubtError if failures.in_doubt else kind", "kind"
    ),
    giving_up(
        "the last error is what it was raised from", "last_error=cause if last is None else last", "last_error=cause"
    ),
    giving_up("the reason is not told", "            reason=reason,\n        ) from cause", "        ) from cause"),
    giving_up("an error of giving up has no cause", "        ) from cause", "        ) from None"),
    giving_up(
        "one attempt is called attempts",
        'if attempts == 1 else f"{attempts} attempts"',
        'if attempts == 0 else f"{attempts} attempts"',
    ),
    giving_up(
        "reraise leaves no trace",
        "    BaseException.__setattr__(error, _GAVE_UP, (current_task(), time.monotonic()))\n",
        "",
    ),
    giving_up("reraise leaves no note", "    note(error, facts)\n", ""),
    giving_up(
        "reraise puts what the caller handles behind the store's error",
        '        BaseException.__setattr__(error, "__context__", context)\n',
        "        pass\n",
    ),
    giving_up(
        "a doubt is advised on as if nothing were stored",
        "    if in_doubt:\n        return",
        "    if False:\n        return",
    ),
    giving_up("a session that is gone is advised to be reloaded", '    if reason == "session_gone":', "    if False:"),
    giving_up(
        "a group is given up with only if all of it is",
        "return any(gave_up_since(began",
        "return all(gave_up_since(began",
    ),
    giving_up(
        "errors of giving up are judged",
        "    if isinstance(error, (StaleSessionRetryError, InDoubtError)):\n        return True\n",
        "",
    ),
    giving_up("InDoubtError is judged", "(StaleSessionRetryError, InDoubtError)", "(StaleSessionRetryError,)"),
    giving_up("who gave up at the instant the attempt began did not", "bool(at >= began)", "bool(at > began)"),
    giving_up("who ever gave up with an error always does", "bool(at >= began)", "True"),
    giving_up("another task's giving up is this one's", "(in_a_child or task == current_task())", "True"),
    giving_up(
        "a child's giving up in a group is none", "(in_a_child or task == current_task())", "task == current_task()"
    ),
    giving_up(
        "of rejection and doubt only the cause is reachable",
        "    for error in (cause, failures.rejection, failures.doubt):",
        "    for error in (cause,):",
    ),
    giving_up(
        "the doubt is not reachable",
        "    for error in (cause, failures.rejection, failures.doubt):",
        "    for error in (cause, failures.rejection):",
    ),
    chain(
        "what leads there already is chained again",
        "    if id(raised) in others or any(link is origin for link in behind(raised)):\n        return\n",
        "    if id(raised) in others:\n        return\n",
    ),
    chain("the chain of what the caller handles is rewritten", "others = handled | {id(link)", "others = {id(link)"),
    chain(
        "the chain of the stale error is rewritten",
        "others = handled | {id(link) for link in behind(origin)}",
        "others = handled",
    ),
    chain(
        "what a traceback does not show is followed",
        "if following is None and not tail.__suppress_context__:",
        "if following is None:",
    ),
    chain("a chain that bites its tail is followed for ever", " or id(following) in known:", ":"),
    chain(
        "a frozen error breaks the chaining",
        'BaseException.__setattr__(tail, "__cause__", origin)',
        "tail.__cause__ = origin",
    ),
    chain(
        "frames are dropped of the error alone",
        "    for link in behind(error):\n        if id(link) not in handled:",
        "    for link in [error]:\n        if id(link) not in handled:",
    ),
    chain(
        "what is behind a cause is all there is",
        "for other in (link.__cause__, link.__context__) if other",
        "for other in (link.__cause__,) if other",
    ),
    chain("one error object collects notes", "if not str(text).startswith(NOTE)]", "]"),
    chain("others' notes are lost", "[*notes, NOTE + facts]", "[NOTE + facts]"),
    chain(
        "a frozen error cannot take a note",
        'BaseException.__setattr__(error, "__notes__", [*notes, NOTE + facts])',
        "error.__notes__ = [*notes, NOTE + facts]",
    ),
    chain(
        "a log of an observer's error quotes its cause",
        "            if id(link.__cause__) in theirs:",
        "            if False:",
    ),
    chain(
        "a log of an observer's error quotes what was handled",
        "            if id(link.__context__) in theirs:",
        "            if False:",
    ),
    chain(
        "a group is not looked into",
        "        if isinstance(link, BaseExceptionGroup):\n            left += cast",
        "        if False:\n            left += cast",
    ),
    chain("a chain is made a circle", "    if id(raised) in others or any(", "    if any("),
    chain(
        "the frames of what the caller handles are dropped",
        "        if id(link) not in handled:\n",
        "        if True:\n",
    ),
    chain(
        "a log of an observer's error cuts up what the caller handles",
        "        if id(link) not in theirs:\n",
        "        if True:\n",
    ),
    tasks("every error stands for a cancellation", "return now > before", "return now >= before"),
    tasks(
        "of who was cancelled before nothing stands for one",
        "return now > 0 and not _is_of_a_cleanup(error)",
        "return False",
    ),
    tasks("a cleanup's error stands for its cancellation", " and not _is_of_a_cleanup(error)", ""),
    tasks(
        "an error that goes back to no cancellation is a cleanup's", "return bool(cancelled) and all(", "return all("
    ),
    tasks("trio has no loop", '    if loop is None and "trio" in sys.modules:', "    if False:"),
    telling(
        "an interrupt out of an observer is swallowed",
        "(KeyboardInterrupt, SystemExit, anyio.get_cancelled_exc_class())",
        "(SystemExit, anyio.get_cancelled_exc_class())",
    ),
    telling(
        "a cancellation out of an observer is swallowed",
        "(KeyboardInterrupt, SystemExit, anyio.get_cancelled_exc_class())",
        "(KeyboardInterrupt, SystemExit)",
    ),
    telling(
        "an observer disturbs the append",
        "        except BaseException as raised:\n            logger",
        "        except ValueError as raised:\n            logger",
    ),
    telling(
        "a log of an observer's error quotes the store",
        "apart_from(raised, event.error, handled)",
        "apart_from(raised, handled)",
    ),
    telling(
        "a log of an observer's error quotes what the caller handles",
        "apart_from(raised, event.error, handled)",
        "apart_from(raised, event.error)",
    ),
    telling(
        "an observer that raises silences the next",
        (
            '"the observer %s raised", name_of(observer), exc_info=apart_from(raised, event.error, handled)\n'
            "            )"
        ),
        (
            '"the observer %s raised", name_of(observer), exc_info=apart_from(raised, event.error, handled)\n'
            "            )\n            break"
        ),
    ),
    asking(
        "the state is made anew for each failure",
        "        if self._state is None:\n            policy, call",
        "        if True:\n            policy, call",
    ),
    asking("strategies see the wrong attempt", "        state.attempt_number = attempts\n", ""),
    asking("strategies see the wrong beginning", "        state.start_time = began\n", ""),
    asking("strategies see the clock of the machine", "        state.outcome_timestamp = anyio.current_time()\n", ""),
    asking(
        "strategies see the error without its traceback",
        "(type(error), error, error.__traceback__)",
        "(type(error), error, None)",
    ),
    asking(
        "strategies see no result", "            state.set_result(result)\n", "            state.set_result(None)\n"
    ),
    asking(
        "an async strategy's answer is not awaited",
        "        if inspect.isawaitable(answer):\n            answer = yield answer\n",
        "",
    ),
    asking("the waits are not summed up", "        state.idle_for += state.upcoming_sleep\n", ""),
    asking("there is no jitter", "        if self._policy.jitter is not None:", "        if False:"),
    asking("a wait may be negative", "max(0.0, float(delay))", "float(delay)"),
    asking(
        "the coming wait is not told to stop",
        "        state.upcoming_sleep = max(0.0, float(delay))\n        return state.upcoming_sleep",
        "        return max(0.0, float(delay))",
    ),
    asking("an async stop is always true", "bool(await resolved(stop(self.state)))", "bool(stop(self.state))"),
    asking(
        "strategies see the first attempt's arguments",
        "        state.args, state.kwargs = self._call.args, self._call.kwargs\n",
        "        state.args, state.kwargs = state.args or self._call.args, state.kwargs or self._call.kwargs\n",
    ),
    asking("the statistics stay at the first attempt", "            attempt_number=state.attempt_number,\n", ""),
    errors("a pickled error of giving up has no cause", '    error.__cause__ = facts["last_error"]\n', ""),
    errors(
        "an error that cannot be pickled is pickled",
        '"last_error": _that_can_be_pickled(self.last_error)',
        '"last_error": self.last_error',
    ),
    errors("a pickled error of giving up has no reason", '            "reason": self.reason,\n        }', "        }"),
    detection(
        "the words of a release anywhere in a text are enough",
        "str(error).startswith(_BEGINNINGS_OF_KNOWN_RELEASES)",
        "any(words in str(error) for words in _BEGINNINGS_OF_KNOWN_RELEASES)",
    ),
    detection(
        "any kind of ValueError with the words is stale",
        "return kind is ValueError and",
        "return issubclass(kind, ValueError) and",
    ),
    detection(
        "errors of giving up are stale",
        (
            "    if issubclass(kind, facts.GAVE_UP):\n        return False\n    if facts.is_group(error):\n"
            "        return facts.each_leaf(error, is_st"
        ),
        "    if facts.is_group(error):\n        return facts.each_leaf(error, is_st",
    ),
    detection(
        "a group is not looked into",
        "    if facts.is_group(error):\n        return facts.each_leaf(error, is_stale_session_error)\n",
        "",
    ),
    detection(
        "a class of the name among the bases is not enough",
        "any(base.__name__ == StaleSessionError.__name__ for base in kind.__mro__)",
        "kind.__name__ == StaleSessionError.__name__",
    ),
]
