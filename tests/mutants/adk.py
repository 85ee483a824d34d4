"""google-adk's runs in the queue: `adk/`."""

from functools import partial

from .mutant import Mutant

run = partial(Mutant, "adk/_run.py")
queueing = partial(Mutant, "adk/_queueing.py")
ledger = partial(Mutant, "adk/_ledger.py")
deliveries = partial(Mutant, "adk/_deliveries.py")
session_key = partial(Mutant, "adk/_session_key.py")
noting = partial(Mutant, "adk/_noting.py")
collecting = partial(Mutant, "adk/_collecting.py")
turns = partial(Mutant, "adk/turns.py")
http_errors = partial(Mutant, "adk/_http_errors.py")
registry = partial(Mutant, "adk/registry.py")

MUTANTS = [
    run("a run that was cut off is marked", 'return None if is_cut_off else "answered"', 'return "answered"'),
    run("a run that was ended is not marked", 'return ended if ended != "lost" else None', "return None"),
    run("a run that its client aborted is marked", "signal is not None and signal.is_set()", "False"),
    run("an old cut-off run is continued", "return record if record.is_latest else None", "return record"),
    run("an answer without a mark is not an answer", "if record.last_word is not None and _ends", "if False and _ends"),
    run("an answer ends a sequence of agents", " and not is_scoped and _only_talks(agent)", ""),
    run("a second cancellation leaves calls open", "await _to_the_end(_leave(", "await (_leave("),
    run("an event that was not seen is nobody's", " or event.invocation_id not in older", ""),
    run("an older invocation is nobody's", "event.invocation_id in self.invocations or ", ""),
    run("calls of everybody are answered", "if event.timestamp < self.began}", "if False}"),
    run("what may be resumed is answered for", "and not _is_resumable(asked.runner)", ""),
    run("a call that waits for somebody is answered for", "long_running=ended is not None", "long_running=True"),
    run("a continued run sees its window only", "at_least=length", "at_least=0"),
    run("a model is asked after its own answer", "    if record.last_word is not None:\n", "    if False:\n"),
    run("a run on another session is inside", "if outer is not None and outer.key != asked.key:", "if False:"),
    run("a run that is over has runs inside", "        run.is_over = True\n", ""),
    queueing("a delivery interrupts another process", "turns._patient() if asked.is_known else turns", "turns"),
    queueing(
        "a delivery takes a turn first",
        'if delivery.has_waited or self.collect or options.when_busy != "enqueue"',
        "if False",
    ),
    queueing("a session in memory asks for a lease", "return self.turns._unshared()", "return self.turns"),
    queueing("each inner run is looked up", "if inner_run_of() is None:", "if True:"),
    queueing("a known message is collected", "self.collect and not asked.is_known", "self.collect"),
    ledger("another message of the key is taken for it", "    if digest != message.digest:", "    if False:"),
    ledger("an answered message that was rewound is new", "if record.fate is None and any(", "if any("),
    ledger("an old error is replayed", "event.error_code is None or event.invocation_id == last", "True"),
    ledger("a run inside is another turn", "frozenset(own | inside)", "frozenset(own)"),
    ledger("later events are replayed", "            since = since[: since.index(event)]", "            since = since"),
    deliveries("a reader that is gone is waited for", "await asyncio.wait_for(outcome, patience)", "await outcome"),
    deliveries(
        "deliveries do not wait",
        "while (first := self._running.setdefault(self._key, self)) is",
        "while (first := self) is",
    ),
    session_key("all services are one home", "    return service\n\n\ndef is_in", "    return 1\n\n\ndef is_in"),
    session_key("a database is not known by its URL", "        return str(url)", "        return service"),
    noting(
        "a continued message is stored again",
        "            return event\n        if is",
        "            pass\n        if is",
    ),
    collecting("messages with state are joined", 'if arguments.pop("state_delta", None) or', "if"),
    collecting("messages of any config are joined", "repr(config), ", ""),
    collecting("a caller that leaves is answered", "        await _cancelled(waiting)\n", ""),
    collecting("an error is nobody's", "            caller.error = error\n", ""),
    collecting("two messages share a key", "check_digest(message, digests.setdefault", "(digests.setdefault"),
    collecting("a joined run tells nothing", '    if joined == "notice":\n', "    if False:\n"),
    turns("undo does nothing below another wrapper", "return self._is_on and not", "return not"),
    turns("undo takes another wrapper away", "if getattr(Runner, name) is wrapper:", "if True:"),
    turns("a queueing runner queues twice", " and not isinstance(runner, QueueingRunner)", ""),
    turns("another queue is accepted", "elif _installed._queueing != wanted:", "elif False:"),
    turns("a stream's error is logged twice", "isinstance(record.exc_info[1], TurnError)", "False"),
    http_errors("an error cannot be pickled", '        "__reduce__": _reduced_to(kind),\n', ""),
    registry("the schemes are registered unqueued", "        queue_all_runners(turns)\n", "        pass\n"),
]
