"""A decorated function: free until its first attempt fails."""

from __future__ import annotations

import functools
import inspect
import time
from collections.abc import Callable, Coroutine, Mapping
from typing import Any, Protocol, cast

from ._call import Call, WrongCall
from ._checks import name_of
from ._limit import time_limit
from ._policy import Policy
from ._retry import judge, next_attempt
from ._run import Run
from .conflict import Settled

AsyncFunction = Callable[..., Coroutine[Any, Any, Any]]


class Shape(Protocol):
    """What is known of a function before any call of it."""

    @property
    def position(self) -> int | None:
        """Where the session, or the key, stands among the positional arguments, if it does."""

    def key_of(self, function: AsyncFunction, args: tuple[Any, ...], kwargs: Mapping[str, Any], /) -> Any:
        """What the policy's key is asked about; raises WrongCall where there is none."""


def with_retries(policy: Policy, function: AsyncFunction, name: str, shape: Any) -> AsyncFunction:
    """The whole of a call: the first attempt, and what follows if it fails."""
    if policy.asks_results or policy.attempt_timeout is not None:
        return _with_everything(policy, function, name, shape)
    return (_at_once if policy.queues is None else _in_the_queue)(policy, function, name, shape)


def _at_once(policy: Policy, function: AsyncFunction, name: str, shape: Any) -> AsyncFunction:
    async def call(*args: Any, **kwargs: Any) -> Any:
        entered = time.monotonic()
        try:
            # To pass no keywords on, where there are none, is a twentieth of the whole call.
            return await (function(*args, **kwargs) if kwargs else function(*args))
        except Exception as error:
            run = Run(policy, name, Call(function, shape, args, kwargs), entered=entered, attempts=1)
            if run.judge(error) == "raise":
                raise
        return await _go_on(run)

    return call


def _in_the_queue(policy: Policy, function: AsyncFunction, name: str, shape: Any) -> AsyncFunction:
    position, key, queues = shape.position, policy.session_key, cast(Any, policy.queues)

    async def call(*args: Any, **kwargs: Any) -> Any:
        entered = time.monotonic()
        if position is not None and position < len(args):
            session = args[position]
        else:
            try:
                session = shape.key_of(function, args, kwargs)
            except WrongCall:
                return await function(*args, **kwargs)
        slot = queues.slot(key(session))
        if not slot.take():
            run = Run(policy, name, Call(function, shape, args, kwargs), entered=entered, slot=slot)
            return await _go_on(run)
        try:
            result = await function(*args, **kwargs)
        except Exception as error:
            run = Run(policy, name, Call(function, shape, args, kwargs), entered=entered, attempts=1, slot=slot)
            if run.judge(error) == "raise":
                raise
        except BaseException:
            slot.release()
            raise
        else:
            slot.finish(session)
            return result
        return await _go_on(run)

    return call


def _with_everything(policy: Policy, function: AsyncFunction, name: str, shape: Any) -> AsyncFunction:
    key, queues = policy.session_key, policy.queues

    async def call(*args: Any, **kwargs: Any) -> Any:
        entered = time.monotonic()
        slot = None
        if queues is not None:
            try:
                slot = queues.slot(key(shape.key_of(function, args, kwargs)))
            except WrongCall:
                return await function(*args, **kwargs)
        return await _go_on(Run(policy, name, Call(function, shape, args, kwargs), entered=entered, slot=slot))

    return call


async def _go_on(run: Run) -> Any:
    """Every attempt that is still to be made."""
    while await next_attempt(run):
        try:
            with time_limit(run.time_limit()) as limit:
                result = await run.call.append(*run.call.args, **run.call.kwargs)
            if limit.is_over:
                raise run.timed_out()
        except Exception as error:
            verdict = await judge(run, error)
            if verdict == "raise":
                raise
            if verdict == "stored":
                return _settled(run)
        except BaseException:
            run.end()
            raise
        else:
            if not run.policy.asks_results or not run.rejected(result):
                if not run.ended:
                    run.stored()
                return result
            del result
    return _settled(run)


def _settled(run: Run) -> Any:
    return cast(Settled, run.settled).result


def decorate(policy: Any, function: Any, name: str, shape: Any) -> Any:
    """A plain function around an append of any kind, with the name, the signature and the marks of that.

    It has `retrying`, the policy.
    """
    call: Any = with_retries(policy, function, name, shape)
    if inspect.isroutine(function) and hasattr(function, "__qualname__"):  # since 3.14 a partial is a routine, without
        functools.update_wrapper(call, function)
    else:
        functools.update_wrapper(call, function, updated=())
        call.__name__ = call.__qualname__ = name_of(function)
    call.retrying = policy
    call.__stale_retry_append__ = function
    return call
