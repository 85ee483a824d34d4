"""A decorated function: free until its first attempt fails."""

from __future__ import annotations

import functools
import inspect
import time
from collections.abc import Callable, Coroutine, Mapping
from typing import Any, Protocol, cast

import anyio

from ._attempts import Progress
from ._between import leave_gates, prepare
from ._call import Call, WrongCall, name_of
from ._cancelled import cancellations
from ._policy import Policy
from .conflict import Settled

AsyncFunction = Callable[..., Coroutine[Any, Any, Any]]


class Shape(Protocol):
    """What is known of a function before any call of it."""

    @property
    def position(self) -> int | None:
        """Where the session stands, or the key, if it is a positional argument."""

    def session_of(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        """What the gates tell contenders apart by; raises WrongCall where there is none."""

    def bind(self, function: AsyncFunction, args: tuple[Any, ...], kwargs: Mapping[str, Any], /) -> Call: ...


def with_retries(policy: Policy, function: AsyncFunction, name: str, shape: Shape) -> AsyncFunction:
    """The whole of a call: the first attempt, and what follows if it fails."""
    if policy.asks_results or policy.attempt_timeout is not None or len(policy.local_gates) > 1:
        return _with_everything(policy, function, name, shape)
    return (_in_its_place if policy.local_gates else _at_once)(policy, function, name, shape)


def _at_once(policy: Policy, function: AsyncFunction, name: str, shape: Shape) -> AsyncFunction:
    async def call(*args: Any, **kwargs: Any) -> Any:
        entered = time.monotonic()
        try:
            # To pass no keywords on, where there are none, is a twentieth of the whole call.
            return await (function(*args, **kwargs) if kwargs else function(*args))
        except Exception as error:
            progress = Progress(policy, name, shape.bind(function, args, kwargs), entered=entered, attempts=1)
            if not await progress.failed(error):
                raise
        return await _go_on(progress)

    return call


def _in_its_place(policy: Policy, function: AsyncFunction, name: str, shape: Shape) -> AsyncFunction:
    (gate,) = policy.local_gates
    position = shape.position

    async def call(*args: Any, **kwargs: Any) -> Any:
        entered = time.monotonic()
        if position is not None and position < len(args):
            session = args[position]
        else:
            try:
                session = shape.session_of(args, kwargs)
            except WrongCall:
                return await function(*args, **kwargs)
        place = gate(session)
        if not place.take():
            progress = Progress(policy, name, shape.bind(function, args, kwargs), entered=entered, places=(place,))
            return await _go_on(progress)
        cancelled = cancellations(place.loop)
        try:
            result = await function(*args, **kwargs)
        except Exception as error:
            progress = Progress(
                policy,
                name,
                shape.bind(function, args, kwargs),
                entered=entered,
                attempts=1,
                places=(place,),
                cancellations=cancelled,
            )
            if not await progress.failed(error):
                raise
        except BaseException:
            place.release()
            raise
        else:
            place.stored_through(session)
            place.release()
            return result
        return await _go_on(progress)

    return call


def _with_everything(policy: Policy, function: AsyncFunction, name: str, shape: Shape) -> AsyncFunction:
    async def call(*args: Any, **kwargs: Any) -> Any:
        entered = time.monotonic()
        try:
            session = shape.session_of(args, kwargs)
        except WrongCall:
            return await function(*args, **kwargs)
        places = [gate(session) for gate in policy.local_gates]
        return await _go_on(Progress(policy, name, shape.bind(function, args, kwargs), entered=entered, places=places))

    return call


async def _go_on(progress: Progress) -> Any:
    """Every attempt that is still to be made."""
    while await prepare(progress):
        try:
            result = await _attempt(progress)
        except Exception as error:
            await leave_gates(progress)
            if not await progress.failed(error):
                raise
        except BaseException:
            await leave_gates(progress)
            progress.end()
            raise
        else:
            await leave_gates(progress)
            if not progress.policy.asks_results or not await progress.rejected(result):
                if not progress.ended:
                    progress.stored()
                return result
            del result
    return cast(Settled, progress.settled).result


async def _attempt(progress: Progress) -> Any:
    call, limit = progress.call, progress.time_limit()
    if limit is None:
        return await call.append(*call.args, **call.kwargs)
    with anyio.CancelScope(deadline=limit):
        return await call.append(*call.args, **call.kwargs)
    raise progress.timed_out()


def decorate(policy: Any, function: Any, name: str, shape: Shape) -> Any:
    """A plain function around an append of any kind, with the name, the signature and the marks of that.

    It has `retrying`, the policy, and `retry_with(**changes)`, the same function under a changed one.
    """
    call: Any = with_retries(policy, function, name, shape)
    if inspect.isroutine(function) and hasattr(function, "__qualname__"):  # since 3.14 a partial is a routine, without
        functools.update_wrapper(call, function)
    else:
        functools.update_wrapper(call, function, updated=())
        call.__name__ = call.__qualname__ = name_of(function)
    call.retrying = policy

    def retry_with(**changes: Any) -> Any:
        return policy.replace(**changes)(function)

    call.retry_with = retry_with
    return call
