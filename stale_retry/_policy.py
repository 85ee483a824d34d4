"""The policy: every option, declared once, checked once and frozen. It lies below the loop and knows nothing of it."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, NamedTuple

from tenacity.retry import retry_base

from . import _checks, _strategies
from ._find import Finder
from ._queue import KeyedQueues
from ._types import ConflictHook, FindStored, Jitter, Observer, Refresh, Stop, Wait
from .backoff import exponential, full_jitter
from .detection import retry_if_conflict
from .errors import StaleSessionError
from .observers.logging import log_event


class Option(NamedTuple):
    """An option's default, in its normal form, and the check that brings a given value into that form."""

    default: Any
    check: Callable[[str, Any], Any]


def _or_none(check: Callable[[str, Any], Any]) -> Callable[[str, Any], Any]:
    return lambda option, value: None if value is None else check(option, value)


def _jitter(option: str, value: Any) -> Any:
    rule = "a function of the delay"
    if _checks.is_plain_function_or_none(option, value, rule) is None:
        return None
    return _checks.takes_one(option, value, rule)


def _observers(option: str, value: Any) -> Any:
    return _checks.as_functions(option, value, (log_event,), "a function of the event", _checks.is_observer)


def _find_stored(option: str, value: Any) -> Any:
    return _checks.is_function(option, value, "a function that looks for the event in the store, or None")


def _hooks(option: str, value: Any) -> Any:
    return _checks.as_functions(option, value, (), "a function of the conflict", _checks.takes_one)


ALL: Mapping[str, Option] = {
    "session": Option("session", _checks.is_text),
    "on": Option(retry_if_conflict(), _strategies.retry_strategy),
    "in_doubt": Option(None, _or_none(_strategies.retry_strategy)),
    "find_stored": Option(None, _or_none(_find_stored)),
    "key": Option(None, _checks.is_key),
    "backoff": Option(exponential(0.05, max=2.0), _strategies.wait_strategy),
    "jitter": Option(full_jitter, _jitter),
    "max_attempts": Option(None, _checks.is_count),
    "deadline": Option(90.0, _checks.as_seconds),
    "attempt_timeout": Option(None, _checks.as_seconds),
    "stop": Option(None, _strategies.stop_strategy),
    "on_conflict": Option((), _hooks),
    "observers": Option((log_event,), _observers),
    "reraise": Option(False, _checks.is_flag),
    "name": Option(None, _or_none(_checks.is_text)),
}
"""Every option but `refresh`. `retry_transaction` has no session and no conflict hooks, and other keys."""


class Words(NamedTuple):
    """How a policy's messages speak of what is retried."""

    append: str
    stored: str
    not_stored: str
    maybe_stored: str


class Policy:
    """What `retry_on_stale_session` and `retry_transaction` have in common.

    Frozen, keeps nothing between calls, and may be shared by any number of functions and tasks.
    """

    OPTIONS: ClassVar[Mapping[str, Option]]
    WORDS: ClassVar[Words]

    refresh: Refresh | None = None
    session: str = ""
    on: retry_base
    in_doubt: retry_base | None
    find_stored: FindStored | None
    key: Any
    backoff: Wait
    jitter: Jitter | None
    max_attempts: int | None
    deadline: float | None
    attempt_timeout: float | None
    stop: Stop | None
    on_conflict: tuple[ConflictHook, ...] = ()
    observers: tuple[Observer, ...]
    reraise: bool
    name: str | None

    finder: Finder | None
    """`find_stored`, and which parameters it needs."""
    queues: KeyedQueues | None
    """Where callers with the same key queue."""
    session_key: Callable[[Any], Any]
    """Makes the queue's key of the session, or of what the shape of a transaction's call answers."""
    asks_results: bool
    """Whether `on` has anything to say of an append that returned."""
    asks_call: bool
    """Whether `on` may look at more than the outcome."""
    needs_results: bool
    """Whether `on` has a part that looks at nothing but results."""
    knows_conflicts_only: bool
    """Whether what `on` accepts never leaves doubt."""

    def _freeze(self, given: Mapping[str, Any]) -> None:
        _checks.refuse_unknown_options(given, tuple(self.OPTIONS))
        options = vars(self)
        for name, option in self.OPTIONS.items():
            options[name] = option.check(name, given[name]) if name in given else option.default
        on = options["on"]
        if options["max_attempts"] is options["deadline"] is options["stop"] is None:
            raise ValueError(
                "max_attempts, deadline and stop are all None, so a call might be retried without end; give one of them"
            )
        if options["in_doubt"] is not None and options["find_stored"] is None and not self.on_conflict:
            raise ValueError(
                "in_doubt needs find_stored, because only looking into the store tells whether the event is stored; "
                "give find_stored, or an on_conflict hook that looks"
            )
        options.update(
            finder=None if self.find_stored is None else Finder(self.find_stored),
            queues=None if self.key is None else KeyedQueues(),
            session_key=self.key if self.refresh is not None and self.key is not None else _itself,
            asks_results=_strategies.asks_results(on),
            asks_call=_strategies.asks_call(on),
            needs_results=_strategies.needs_results(on),
            knows_conflicts_only=type(on) is retry_if_conflict,
        )

    def _replaced(self, changes: Mapping[str, Any]) -> Any:
        changed = type(self)(**{**self._options(), **changes})
        if "key" not in changes:  # append and changed append still queue together
            vars(changed)["queues"] = self.queues
        return changed

    def __setattr__(self, option: str, value: object) -> None:
        raise AttributeError(f"{type(self).__name__} is frozen; replace({option}=...) makes a changed one")

    def __delattr__(self, option: str) -> None:
        raise AttributeError(f"{type(self).__name__} is frozen")

    def __repr__(self) -> str:
        options = ", ".join(f"{option}={value!r}" for option, value in self._options().items())
        return f"{type(self).__name__}({options})"

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (type(self), self._options())

    def schedule(self, n: int) -> list[float]:
        """The first n waits before jitter, in seconds, however many attempts there may be."""
        state = _strategies.RetryState(self.on, self.backoff, None, None)
        waits: list[float] = []
        for attempt in range(1, n + 1):
            state.attempt_number = attempt
            state.set_exception((StaleSessionError, StaleSessionError(), None))
            waits.append(float(_strategies.answer_of(self.backoff, state)))
        return waits

    def _options(self) -> dict[str, Any]:
        return {option: getattr(self, option) for option in self.OPTIONS}


def _itself(key: Any) -> Any:
    return key


def _rebuild(kind: type[Any], options: dict[str, Any]) -> Any:
    return kind(**options)


def signature_of(options: Mapping[str, Option], types: type, *leading: inspect.Parameter) -> inspect.Signature:
    """The signature that shows every option with its default and type, for `help` and the documentation."""
    shown = [
        inspect.Parameter(
            name,
            inspect.Parameter.KEYWORD_ONLY,
            default=None if isinstance(option.default, tuple) else option.default,
            annotation=getattr(types.__annotations__[name], "__forward_arg__", Any),
        )
        for name, option in options.items()
    ]
    return inspect.Signature([*leading, *shown])
