"""The options of `retry_on_stale_session`: their types, and the rules each is checked against, once."""

from __future__ import annotations

import difflib
import functools
import inspect
import math
from collections.abc import Awaitable, Callable, Iterable
from datetime import timedelta
from numbers import Real
from typing import Any, TypedDict

from tenacity import RetryCallState, retry_if_exception, retry_if_exception_type
from tenacity.asyncio.retry import retry_if_exception as async_retry_if_exception
from tenacity.retry import retry_base
from tenacity.stop import stop_base
from tenacity.wait import wait_base

from .backoff import Jitter, constant, exponential, linear
from .conflict import ConflictHook
from .events import Observer
from .gate import Gate

Refresh = Callable[..., Any]
"""Takes the append's leading arguments up to and including the session; async or plain. Returns the session for the
next attempt, or None when it is gone."""

Wait = wait_base | Callable[[RetryCallState], float | Awaitable[float]]
Stop = stop_base | Callable[[RetryCallState], bool | Awaitable[bool]]
On = (
    type[Exception]
    | tuple[type[Exception], ...]
    | retry_base
    | Callable[[Exception], bool | Awaitable[bool]]
    | Callable[[RetryCallState], bool | Awaitable[bool]]
)
Seconds = float | timedelta
RetryStrategy = Callable[[RetryCallState], bool | Awaitable[bool]]


class OptionsButRefresh(TypedDict, total=False):
    """Every option but `refresh`, for an integration that brings its own."""

    session: str
    on: On
    backoff: Wait
    jitter: Jitter | None
    max_attempts: int | None
    deadline: Seconds | None
    attempt_timeout: Seconds | None
    stop: Stop | None
    gate: Gate | None
    on_conflict: ConflictHook | Iterable[ConflictHook] | None
    observers: Observer | Iterable[Observer] | None
    reraise: bool
    name: str | None


class Options(OptionsButRefresh, total=False):
    """Every option by name, for `replace`, `retry_with` and whoever passes options on."""

    refresh: Refresh


NAMES = tuple(Options.__annotations__)


def refuse_unknown(options: Iterable[str]) -> None:
    for option in options:
        close = difflib.get_close_matches(option, NAMES, n=1)
        hint = f"did you mean {close[0]!r}?" if close else f"there are {', '.join(NAMES)}"
        raise TypeError(f"unknown option {option!r}; {hint}")


def function(option: str, value: Any, rule: str) -> Any:
    if not callable(value):
        raise TypeError(f"{option} must be {rule}, got {value!r}")
    return value


def plain_function(option: str, value: Any, rule: str) -> Any:
    if is_async(function(option, value, rule)):
        raise TypeError(f"{option} must be {rule}, and must not be async; got {value!r}")
    return value


def optional_function(option: str, value: Any, rule: str) -> Any:
    return None if value is None else plain_function(option, value, f"{rule}, or None")


def text(option: str, value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{option} must be a string, got {value!r}")
    if not value:
        raise ValueError(f"{option} must not be empty")
    return value


def flag(option: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise TypeError(f"{option} must be True or False, got {value!r}")
    return value


def seconds(option: str, value: Any) -> float | None:
    """Seconds above zero, or None for no limit, which infinity means too."""
    if value is None:
        return None
    if isinstance(value, timedelta):
        value = value.total_seconds()
    if isinstance(value, bool) or not isinstance(value, Real):
        raise TypeError(f"{option} must be seconds, a timedelta or None, got {value!r}")
    value = float(value)
    if not value > 0:
        raise ValueError(f"{option} must be above zero, or None for no limit; got {value!r}")
    return None if math.isinf(value) else value


def attempts(option: str, value: Any) -> int | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{option} must be a whole number or None for no limit, got {value!r}")
    if value < 1:
        raise ValueError(f"{option} must be at least 1, which is the first call; got {value!r}")
    return value


def wait_strategy(option: str, value: Any) -> Wait:
    rule = "a tenacity wait strategy such as exponential(0.05, max=2.0), or a function of the retry state"
    if value in (linear, exponential, constant):
        raise TypeError(f"{option} must be {rule}; got {value.__name__} itself, call it first")
    return _strategy(option, value, wait_base, rule)  # type: ignore[no-any-return]


def stop_strategy(option: str, value: Any) -> Stop | None:
    if value is None:
        return None
    rule = "a tenacity stop strategy such as stop_when_event_set(event), or a function of the retry state"
    return _strategy(option, value, stop_base, rule)  # type: ignore[no-any-return]


def _strategy(option: str, value: Any, base: type, rule: str) -> Any:
    if isinstance(value, base):
        return value
    if isinstance(value, type) or not callable(value) or not accepts(value, 1):
        raise TypeError(f"{option} must be {rule}; got {value!r}")
    return value


def retry_strategy(option: str, value: Any) -> Any:
    rule = "exception types, a function of the error that answers True or False, or a tenacity retry strategy"
    if isinstance(value, retry_base):
        return value
    if isinstance(value, type):
        value = (value,)
    if isinstance(value, tuple):
        if not value or not all(isinstance(kind, type) and issubclass(kind, BaseException) for kind in value):
            raise TypeError(f"{option} must be {rule}; got {value!r}")
        return retry_if_exception_type(value)
    if not callable(value) or not accepts(value, 1):
        raise TypeError(f"{option} must be {rule}; got {value!r}")
    if _takes_retry_state(value):
        return _StrategyFunction(value)
    return retry_if_exception(value) if not is_async(value) else async_retry_if_exception(value)


class _StrategyFunction(retry_base):
    """A retry strategy written as a function, which tenacity allows and which takes the retry state."""

    def __init__(self, function: Callable[[RetryCallState], Any]) -> None:
        self._function = function

    def __call__(self, retry_state: RetryCallState) -> Any:
        return self._function(retry_state)


def _takes_retry_state(function: Callable[..., Any]) -> bool:
    try:
        parameters = list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):
        return False
    return parameters[0].name == "retry_state" or parameters[0].annotation in (RetryCallState, "RetryCallState")


def functions(
    option: str, value: Any, default: tuple[Any, ...], rule: str, check: Callable[[str, Any, str], Any] = function
) -> tuple[Any, ...]:
    """A function or several, as a tuple; None means the default."""
    if value is None:
        return default
    if callable(value):
        value = (value,)
    if isinstance(value, str) or not isinstance(value, Iterable):
        raise TypeError(f"{option} must be {rule} or a list of such, got {value!r}")
    return tuple(check(option, item, rule) for item in value)


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


def is_async(function: Any) -> bool:
    """Whether calling it gives a coroutine: a coroutine function, a partial of one, an object whose call is one."""
    while isinstance(function, functools.partial):
        function = function.func
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(type(function).__call__)
