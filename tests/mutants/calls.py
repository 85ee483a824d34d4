"""What is called and with what, and what a policy accepts."""

from functools import partial

from .mutant import Mutant

of = partial(Mutant, "_call.py")
policy = partial(Mutant, "_policy.py")
strategies = partial(Mutant, "_strategies.py")
retrying = partial(Mutant, "_retrying.py")
transaction = partial(Mutant, "_transaction.py")

MUTANTS = [
    of("a plain function is an append", "        refuse_plain_function(append)\n", ""),
    of("a partial takes no event", " or isinstance(append, functools.partial)", ""),
    of(
        "no append keeps its event inside the session",
        "takes_more = len(parameters) > len(before) + 1 or isinstance(append, functools.partial)",
        "takes_more = True",
    ),
    of(
        "a refresh hook may have the session elsewhere",
        "                if not takes_last(refresh, session, position + 1):",
        "                if False:",
    ),
    of(
        "refresh hooks get what is bound only",
        "for receivers in ((), bound) if bound else ((),):",
        "for receivers in (bound,):",
    ),
    of(
        "refresh hooks never get what is bound",
        "for receivers in ((), bound) if bound else ((),):",
        "for receivers in ((),):",
    ),
    of(
        "a session by keyword is not found",
        "        if self.session in kwargs:\n            return kwargs[self.session]\n",
        "",
    ),
    of("a session by default is not found", "        if default is Parameter.empty:\n", "        if True:\n"),
    of("the session stays the stale one", "        self._replace({self._shape.session: session})", "        pass"),
    of(
        "the refresh hook gets the session alone",
        "return (*receivers, *self.args[: position + 1])",
        "return self.args[position : position + 1]",
    ),
    of(
        "the refresh hook gets everything",
        "return (*receivers, *self.args[: position + 1])",
        "return (*receivers, *self.args)",
    ),
    of(
        "a conflict hook changes the caller's own keywords",
        "return {**self._arguments, **{name: dict(self._arguments[name]) for name in self._variadic_keywords()}}",
        "return dict(self._arguments)",
    ),
    of(
        "a conflict hook may add an argument",
        "            if name not in parameters:\n                raise",
        "            if False:\n                raise",
    ),
    of(
        "everything counts as changed, and defaults are said", "name not in before or before[name] is not value", "True"
    ),
    of("an argument that a hook took away stays", "if len(arguments) < len(before) or any(", "if any("),
    of(
        "what came by keyword goes by position",
        "            self._replace(changed)\n",
        "            self._rebuild(arguments)\n",
    ),
    of(
        "a changed positional argument goes by keyword too",
        "                args[position] = changed[name]\n",
        "                kwargs[name] = changed[name]\n",
    ),
    of(
        "changed keywords of any name are forgotten",
        "kwargs = {**{key: value for key, value in kwargs.items() if key in named}, **changed[name]}",
        "pass",
    ),
    of(
        "keywords of any name that a hook took away stay",
        "for key, value in kwargs.items() if key in named}",
        "for key, value in kwargs.items()}",
    ),
    of(
        "a positional-only default cannot be changed",
        "                return self._rebuild({**self._bound(), **changed})\n",
        "                kwargs[name] = changed[name]\n",
    ),
    of(
        "a partial's own arguments are not receivers",
        "return (*_receivers(append.func), *append.args)",
        "return _receivers(append.func)",
    ),
    of("a bound method has no receiver", "        return (append.__self__,)\n", "        return ()\n"),
    of(
        "every call fits",
        "        except TypeError:\n            return False\n        return True",
        "        except TypeError:\n            return True\n        return True",
    ),
    policy(
        "nothing ends the retries, and nobody is told",
        'if options["max_attempts"] is options["deadline"] is options["stop"] is None:',
        "if False:",
    ),
    policy(
        "local gates are entered as others",
        "local_gates=tuple(gate for gate in gates if isinstance(gate, LocalGate))",
        "local_gates=()",
    ),
    policy(
        "other gates are forgotten",
        "shared_gates=tuple(gate for gate in gates if not isinstance(gate, LocalGate))",
        "shared_gates=()",
    ),
    policy(
        "local gates are entered twice",
        "shared_gates=tuple(gate for gate in gates if not isinstance(gate, LocalGate))",
        "shared_gates=tuple(gates)",
    ),
    strategies(
        "a strategy that accepts every result is accepted",
        "    if accepts_every_result(strategy):\n        raise",
        "    if False:\n        raise",
    ),
    strategies(
        "a function of the state is taken for one of the error",
        "    if _takes_retry_state(function):\n",
        "    if False:\n",
    ),
    strategies(
        "a quoted annotation is not read",
        'isinstance(annotation, str) and annotation.rpartition(".")[2] == RetryCallState.__name__',
        "False",
    ),
    strategies(
        "of alternatives every one has to be of results to be asked",
        "return every(asks_results(part) for part in parts)",
        "return all(asks_results(part) for part in parts)",
    ),
    strategies(
        "of conjunctions one that is of results is enough to be asked",
        "return every(asks_results(part) for part in parts)",
        "return any(asks_results(part) for part in parts)",
    ),
    strategies("results are never asked about", "return type(strategy).__call__ not in _OF_THE_ERROR", "return False"),
    strategies("results are always asked about", "return type(strategy).__call__ not in _OF_THE_ERROR", "return True"),
    strategies(
        "a strategy never looks at the call",
        "return type(strategy).__call__ not in (*_OF_THE_ERROR, *_OF_THE_RESULT, *_OF_EVERY_RESULT)",
        "return False",
    ),
    strategies(
        "a block may have a strategy of results", "return type(strategy).__call__ in _OF_THE_RESULT", "return False"
    ),
    strategies(
        "strategies are told no function",
        "RetryCallState(retrying, cast(Any, append), (), {})",
        "RetryCallState(retrying, None, (), {})",
    ),
    strategies("strategies find no statistics", "    retrying.begin()\n", ""),
    strategies(
        "a policy with error types cannot be pickled",
        "        return _OfTypes, (self.exception_types,)",
        "        return retry_if_exception_type, ()",
    ),
    retrying("in_doubt needs no hook", "if in_doubt is not None and not hooks:", "if False:"),
    retrying(
        "a block takes any number of arguments",
        "if not leading or not self._refresh_takes(len(leading)):",
        "if not leading:",
    ),
    retrying("a block's receivers are forgotten", "receivers=leading[:-1])", "receivers=())"),
    retrying(
        "replace forgets the rest",
        "        options: dict[str, Any] = {**self._options(), **changes}\n",
        '        options: dict[str, Any] = {"refresh": self.refresh, **changes}\n',
    ),
    retrying(
        "the typed retry_with unbinds a method",
        "MethodType(changed, decorated.__self__) if inspect.ismethod(append) else changed",
        "changed",
    ),
    retrying("a method's shape is its function's", "bound = key is not append", "bound = False"),
    transaction("contenders of a key do not queue", "            gate = local_gate(_itself)\n", "            pass\n"),
    transaction("a gate needs no key", "        if gate and key is None:", "        if False:"),
    transaction("a default is no key", "        bound.apply_defaults()\n        values", "        values"),
    transaction(
        "of several keys the first counts",
        "return values[0] if isinstance(self._key, str) else values",
        "return values[0]",
    ),
    transaction(
        "a key that no parameter has is accepted",
        "            if name not in self.signature.parameters:\n                called",
        "            if False:\n                called",
    ),
    transaction(
        "a function of the arguments is told of a wrong call",
        "            raise WrongCall from None\n        if callable",
        "            pass\n        if callable",
    ),
]
