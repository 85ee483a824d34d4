"""tenacity's strategies: what is accepted as one, what it looks at, and the state it is handed."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, cast

import tenacity
from tenacity import RetryCallState, retry_if_exception, retry_if_exception_type
from tenacity.asyncio.retry import async_retry_base
from tenacity.retry import retry_all, retry_any, retry_base
from tenacity.stop import stop_base
from tenacity.wait import wait_base

from ._checks import accepts, is_async
from ._types import Stop, Wait
from .backoff import constant, exponential, linear


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
    if not isinstance(value, base) and (isinstance(value, type) or not callable(value) or not accepts(value, 1)):
        raise TypeError(f"{option} must be {rule}; got {value!r}")
    _refuse_async(option, value)
    return value


def _refuse_async(option: str, value: Any) -> None:
    parts = _parts(value) or ()
    if isinstance(value, async_retry_base) or is_async(value) or any(is_async(part) for part in parts):
        raise TypeError(
            f"{option} must be a plain function or strategy, got the async {value!r}; "
            f"an async look at the store belongs in find_stored or in on_conflict"
        )
    for part in parts:
        _refuse_async(option, part)


def retry_strategy(option: str, value: Any) -> retry_base:
    """What `on` and `in_doubt` may be, as a tenacity retry strategy."""
    rule = "exception types, a function of the error that answers True or False, or a tenacity retry strategy"
    _refuse_async(option, value)
    strategy = _retry_strategy(value)
    if strategy is None:
        raise TypeError(f"{option} must be {rule}; got {value!r}")
    if accepts_every_result(strategy):
        raise TypeError(f"{option} must not accept every result, or what is stored is stored again; got {value!r}")
    return strategy


def _retry_strategy(value: Any) -> retry_base | None:
    if isinstance(value, retry_base):
        return value
    if isinstance(value, type):
        value = (value,)
    if isinstance(value, tuple):
        kinds = cast("tuple[type[BaseException], ...]", value)
        return _OfTypes(kinds) if kinds and all(map(_is_exception_type, kinds)) else None
    if not callable(value) or not accepts(value, 1):
        return None
    function = cast("Callable[..., Any]", value)
    if _takes_retry_state(function):
        return _StrategyFunction(function)
    return retry_if_exception(function)


def _is_exception_type(value: object) -> bool:
    return isinstance(value, type) and issubclass(value, BaseException)


class _OfTypes(retry_if_exception_type):
    """tenacity's own, that can be pickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return _OfTypes, (self.exception_types,)


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
    annotation = parameters[0].annotation
    return (
        parameters[0].name == "retry_state"
        or annotation is RetryCallState
        or (isinstance(annotation, str) and annotation.rpartition(".")[2] == RetryCallState.__name__)
    )


# What a strategy looks at. Known are tenacity's own; whatever else may look at anything.

_OF_THE_ERROR = (
    retry_if_exception.__call__,
    tenacity.retry_if_exception_cause_type.__call__,
    type(tenacity.retry_never).__call__,
)
_OF_THE_RESULT = (
    tenacity.retry_if_result.__call__,
    tenacity.retry_if_not_result.__call__,
)
_OF_EVERY_RESULT = (
    type(tenacity.retry_always).__call__,
    tenacity.retry_unless_exception_type.__call__,
    tenacity.retry_if_not_exception_message.__call__,
)


def _parts(strategy: Any) -> tuple[Any, ...] | None:
    composed = isinstance(strategy, (retry_any, retry_all, async_retry_base))
    return getattr(strategy, "retries", None) if composed else None


def _is(strategy: Any, kinds: tuple[Any, ...], *, in_all: bool) -> bool:
    """Whether it is of these kinds. Of a union any part must be; of an intersection all, if `in_all`, or else any."""
    parts = _parts(strategy)
    if parts is None:
        return type(strategy).__call__ in kinds
    every = all if in_all and isinstance(strategy, retry_all) else any
    return every(_is(part, kinds, in_all=in_all) for part in parts)


def accepts_every_result(strategy: Any) -> bool:
    return _is(strategy, _OF_EVERY_RESULT, in_all=True)


def asks_results(strategy: Any) -> bool:
    """Whether it may have something to say of an append that returned."""
    parts = _parts(strategy)
    if parts is None:
        return type(strategy).__call__ not in _OF_THE_ERROR
    return (all if isinstance(strategy, retry_all) else any)(asks_results(part) for part in parts)


def asks_call(strategy: Any) -> bool:
    """Whether it may look at the call, and not at its outcome alone."""
    parts = _parts(strategy)
    if parts is None:
        return type(strategy).__call__ not in (*_OF_THE_ERROR, *_OF_THE_RESULT, *_OF_EVERY_RESULT)
    return any(asks_call(part) for part in parts)


def needs_results(strategy: Any) -> bool:
    """Whether it, or a part of it, looks at nothing but results."""
    return _is(strategy, _OF_THE_RESULT, in_all=False)


class RetryState(RetryCallState):
    """What tenacity's strategies are handed: made for each call, so that calls share nothing.

    `retry_object` takes longer to make than all the rest, and few strategies look at it.
    """

    def __init__(self, on: Any, backoff: Any, stop: Any, append: Any) -> None:
        self._strategies = on, backoff, stop
        self._retrying: tenacity.AsyncRetrying | None = None
        super().__init__(cast(Any, None), append, (), {})

    @property
    def retry_object(self) -> Any:
        if self._retrying is None:
            on, backoff, stop = self._strategies
            self._retrying = tenacity.AsyncRetrying(wait=backoff, stop=stop or tenacity.stop_never, retry=on)
            self._retrying.begin()
        self._retrying.statistics.update(
            start_time=self.start_time,
            attempt_number=self.attempt_number,
            idle_for=self.idle_for,
            delay_since_first_attempt=self.seconds_since_start,
        )
        return self._retrying

    @retry_object.setter
    def retry_object(self, value: Any) -> None:
        pass


_NUMBERS = (int, float)  # asked first, because `isawaitable` takes several times as long


def answer_of(strategy: Callable[[Any], Any], state: RetryCallState) -> Any:
    """What a plain strategy answers.

    Raises:
        TypeError: it answered with an awaitable.
    """
    answer = strategy(state)
    if not isinstance(answer, _NUMBERS) and inspect.isawaitable(answer):
        if inspect.iscoroutine(answer):
            answer.close()
        raise TypeError(f"{strategy!r} answered with an awaitable; strategies must be plain functions")
    return answer
