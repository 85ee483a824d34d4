"""The rules that options are checked against, once, at decoration. Each check returns the value in its normal form."""

from __future__ import annotations

import difflib
import functools
import inspect
import math
from collections.abc import Callable, Iterable
from datetime import timedelta
from numbers import Real
from typing import Any, ParamSpec, cast

P = ParamSpec("P")


def naming_unknown_options(init: Callable[P, None]) -> Callable[P, None]:
    """An `__init__` that says of an unknown option what was probably meant."""
    names = list(inspect.signature(init).parameters)[1:]

    @functools.wraps(init)
    def checked(*args: P.args, **options: P.kwargs) -> None:
        for option in options:
            if option not in names:
                close = difflib.get_close_matches(option, names, n=1)
                hint = f"did you mean {close[0]!r}?" if close else f"there are {', '.join(names)}"
                raise TypeError(f"unknown option {option!r}; {hint}")
        init(*args, **options)

    return checked


def is_function(option: str, value: Any, rule: str) -> Any:
    if not callable(value):
        raise TypeError(f"{option} must be {rule}, got {value!r}")
    return value


def is_plain_function(option: str, value: Any, rule: str) -> Any:
    if is_async(is_function(option, value, rule)):
        raise TypeError(f"{option} must be {rule}, and must not be async; got {value!r}")
    return value


def is_plain_function_or_none(option: str, value: Any, rule: str) -> Any:
    return None if value is None else is_plain_function(option, value, f"{rule}, or None")


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
        raise TypeError(f"{option} must be {rule} or a list of such, got {value!r}")
    return tuple(check(option, item, rule) for item in cast("Iterable[object]", value))


def is_observer(option: str, value: Any, rule: str) -> Any:
    if isinstance(value, type):
        raise TypeError(f"{option} must be {rule}; got the class {value.__name__} itself, call it first")
    return is_plain_function(option, value, rule)


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


def takes_last(function: Callable[..., Any], name: str, count: int) -> bool:
    """Whether it can be called with that many positional arguments, and names none but the last one so."""
    if not accepts(function, count):
        return False
    try:
        names = list(inspect.signature(function).parameters)
    except (TypeError, ValueError):
        return True
    return name not in names or names.index(name) == count - 1


def is_async(function: Any) -> bool:
    """Whether calling it gives a coroutine: a coroutine function, a partial of one, an object whose call is one."""
    while isinstance(function, functools.partial):
        function = function.func
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(type(function).__call__)
