"""The rules that options are checked against, once, at decoration. Each check returns the value in its normal form."""

from __future__ import annotations

import functools
import inspect
import math
from collections.abc import Callable, Iterable, Sequence
from datetime import timedelta
from numbers import Real
from typing import Any, cast

_ELSEWHERE = {
    "timeout": "the limit of the whole call is deadline (attempt_timeout is the limit of one append, which it cancels)",
    "max_delay": "the limit of the whole call is deadline",
    "max_time": "the limit of the whole call is deadline",
    "attempts": "use max_attempts, which counts the first call too",
    "max_tries": "use max_attempts, which counts the first call too",
    "tries": "use max_attempts, which counts the first call too",
    "max_retries": "use max_attempts, which counts the first call too: 5 retries are max_attempts=6",
    "retries": "use max_attempts, which counts the first call too: 5 retries are max_attempts=6",
    "wait": "use backoff, which takes tenacity's wait strategies",
    "wait_initial": "use backoff=exponential(initial, max=...)",
    "wait_max": "use backoff=exponential(initial, max=...)",
    "wait_exp_base": "use backoff=exponential(initial, factor=...)",
    "wait_jitter": "use jitter, a function of the delay",
    "delay": "use backoff=constant(seconds)",
    "retry": "use on, which takes tenacity's retry strategies",
    "exceptions": "use on, which takes exception types",
    "exception": "use on, which takes exception types",
    "giveup": "use on, a function of the error that answers True for what is to be retried",
    "before": "use observers, functions of each RetryEvent",
    "after": "use observers, functions of each RetryEvent",
    "before_sleep": "use observers: each is told of a retry before its wait",
    "on_backoff": "use observers: each is told of a retry before its wait",
    "on_giveup": "use observers: each is told when a call gives up",
    "retry_error_callback": "catch StaleSessionRetryError instead",
    "sleep": "stale_retry.testing.no_waiting() makes waits instant in a test",
    "gate": "use key, a function of the session: callers with the same key queue",
    "lock": "use key: callers with the same key queue",
}
"""Options of other libraries, and what serves here."""


def refuse_unknown_options(given: Iterable[str], known: Sequence[str]) -> None:
    """Raises:
    TypeError: an option is unknown; the message says what serves in its place.
    """
    for option in given:
        if option in known:
            continue
        cure = _ELSEWHERE.get(option)
        if cure is None:
            import difflib

            close = difflib.get_close_matches(option, known, n=1)
            cure = f"did you mean {close[0]!r}?" if close else f"there are {', '.join(known)}"
        raise TypeError(f"unknown option {option!r}; {cure}")


def is_function(option: str, value: Any, rule: str) -> Any:
    if not callable(value):
        raise TypeError(f"{option} must be {rule}, got {value!r}")
    return value


def is_plain_function(option: str, value: Any, rule: str) -> Any:
    if is_async(is_function(option, value, rule)):
        raise TypeError(f"{option} must be {rule}, and must not be async; got {value!r}")
    return value


def takes_one(option: str, value: Any, rule: str) -> Any:
    if not accepts(is_function(option, value, rule), 1):
        raise TypeError(f"{option} must be {rule}; {name_of(value)} cannot be called with that alone")
    return value


def is_plain_function_or_none(option: str, value: Any, rule: str) -> Any:
    return None if value is None else is_plain_function(option, value, f"{rule}, or None")


def is_key(option: str, value: Any) -> Any:
    if value is None:
        return None
    rule = "a function of the session that returns what tells sessions apart, such as lambda session: session.id"
    if not callable(value):
        raise TypeError(f"{option} must be {rule}; got {value!r}")
    is_plain_function(option, value, rule)
    if not accepts(value, 1):
        raise TypeError(f"{option} must be {rule}; {name_of(value)} cannot be called with the session alone")
    return value


def is_hashable(problem: str, key: Any) -> Any:
    try:
        hash(key)
    except TypeError:
        kind = type(key).__name__
        raise TypeError(f"{problem} a {kind}; use a string, a number, or a tuple of these") from None
    return key


def is_text(option: str, value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{option} must be a string, got {value!r}")
    if not value:
        raise ValueError(f"{option} must not be empty")
    return value


def is_flag(option: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise TypeError(f"{option} must be True or False, got {value!r}")
    return value


def as_seconds(option: str, value: Any) -> float | None:
    """Seconds above zero, or None for no limit, which infinity means too."""
    if value is None:
        return None
    if isinstance(value, timedelta):
        value = value.total_seconds()
    if isinstance(value, bool) or not isinstance(value, Real):
        raise TypeError(f"{option} must be seconds, a timedelta or None, got {value!r}")
    seconds = as_float(value)
    if not seconds > 0:
        raise ValueError(f"{option} must be above zero, or None for no limit; got {value!r}")
    return None if math.isinf(seconds) else seconds


def as_float(number: Real) -> float:
    """The number as a float, where it is too large for one as infinity of its sign."""
    try:
        return float(number)
    except OverflowError:
        return math.inf if cast(int, number) > 0 else -math.inf


def is_count(option: str, value: Any) -> int | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{option} must be a whole number or None for no limit, got {value!r}")
    if value < 1:
        raise ValueError(f"{option} must be at least 1, which is the first call; got {value!r}")
    return value


def as_functions(
    option: str, value: Any, default: tuple[Any, ...], rule: str, check: Callable[[str, Any, str], Any] = is_function
) -> tuple[Any, ...]:
    """A function or several, as a tuple; None means the default."""
    if value is None:
        return default
    if callable(value):
        value = (value,)
    if isinstance(value, str) or not isinstance(value, Iterable):
        raise TypeError(f"{option} must be {rule} or a list of these, got {value!r}")
    return tuple(check(option, item, rule) for item in cast("Iterable[object]", value))


def is_observer(option: str, value: Any, rule: str) -> Any:
    if isinstance(value, type):
        raise TypeError(f"{option} must be {rule}; got the class {value.__name__} itself, call it first")
    return takes_one(option, is_plain_function(option, value, rule), rule)


def accepts(function: Callable[..., Any], count: int) -> bool:
    """Whether the function can be called with that many positional arguments. True where it cannot be told."""
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):
        return True
    try:
        signature.bind(*range(count))
    except TypeError:
        return False
    return True


def takes_exactly(function: Callable[..., Any], count: int) -> bool:
    """Whether it takes that many positional arguments, and none of them in a parameter that has a default."""
    if not accepts(function, count):
        return False
    try:
        parameters = list(inspect.signature(function).parameters.values())[:count]
    except (TypeError, ValueError):
        return True
    return all(parameter.default is parameter.empty for parameter in parameters)


def is_async(function: Any) -> bool:
    """Whether calling it gives a coroutine: a coroutine function, a partial of one, an object whose call is one."""
    return inspect.iscoroutinefunction(_unwrapped(function)) or inspect.iscoroutinefunction(
        type(_unwrapped(function)).__call__
    )


def is_async_generator(function: Any) -> bool:
    return inspect.isasyncgenfunction(_unwrapped(function)) or inspect.isasyncgenfunction(
        type(_unwrapped(function)).__call__
    )


def name_of(function: Any) -> str:
    """A function's qualified name; for a partial its function's, for a callable object its class's."""
    function = _unwrapped(function)
    name: str = getattr(function, "__qualname__", None) or type(function).__qualname__
    return name


def _unwrapped(function: Any) -> Any:
    while isinstance(function, functools.partial):
        function = function.func
    return function
