"""The decorated append: free until the first attempt fails."""

from __future__ import annotations

import functools
import inspect
import time
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, Protocol, TypeVar, cast, overload

import anyio

from ._call import CallShape, name_of
from ._context import limits_in_force
from ._loop import Attempts, attempt_timed_out

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from ._options import Options
    from ._retrying import StaleSessionRetrying
    from .conflict import Settled

P = ParamSpec("P")
Q = ParamSpec("Q")
R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)
T = TypeVar("T")

AsyncFunction = Callable[P, Coroutine[Any, Any, R]]


class RetryingAppend(Protocol[P, R_co]):
    """The type of a decorated append: called like the original, and it knows its policy."""

    @property
    def retrying(self) -> StaleSessionRetrying:
        """The policy it was decorated with."""
        ...

    def retry_with(self, **changes: Unpack[Options]) -> RetryingAppend[P, R_co]:
        """The same append under a policy with these options changed; the original keeps its own."""
        ...

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> Coroutine[Any, Any, R_co]: ...

    @overload
    def __get__(self, instance: None, owner: type[Any]) -> RetryingAppend[P, R_co]: ...

    @overload
    def __get__(
        self: RetryingAppend[Concatenate[T, Q], R_co], instance: T, owner: type[Any] | None = None
    ) -> RetryingAppend[Q, R_co]: ...

    @overload  # a classmethod, asked of an instance
    def __get__(
        self: RetryingAppend[Concatenate[type[T], Q], R_co], instance: T, owner: type[Any] | None = None
    ) -> RetryingAppend[Q, R_co]: ...

    @overload  # a staticmethod, asked of an instance
    def __get__(self, instance: object, owner: type[Any] | None = None) -> RetryingAppend[P, R_co]: ...


def with_retries(
    policy: StaleSessionRetrying, name: str, shape: CallShape, append: AsyncFunction[..., R]
) -> AsyncFunction[..., R]:
    """The whole of a call: one attempt, and what follows if it fails."""
    first = append if policy.attempt_timeout is None else _limited(append, policy.attempt_timeout, policy.deadline)

    async def call(*args: Any, **kwargs: Any) -> R:
        entered = time.monotonic()
        try:
            # To pass no keywords on, where there are none, is a twentieth of the whole call.
            return await (first(*args, **kwargs) if kwargs else first(*args))
        except Exception as error:
            attempts: Attempts[Any] = Attempts(
                policy, name, shape.bind(append, args, kwargs), attempts=1, entered=entered
            )
            if not await attempts.failed(error):
                raise
        async for attempt in attempts:
            async with attempt:
                return await append(*attempt.args, **attempt.kwargs)
        return cast(R, cast("Settled", attempts.settled).result)

    return call


def _limited(append: AsyncFunction[..., R], timeout: float, deadline: float | None) -> AsyncFunction[..., R]:
    async def limited(*args: Any, **kwargs: Any) -> R:
        _, left = limits_in_force(None, deadline)
        with anyio.move_on_after(timeout if left is None else min(timeout, left)):
            return await append(*args, **kwargs)
        raise attempt_timed_out()

    return limited


def decorate(policy: StaleSessionRetrying, append: Any) -> Any:
    """Wrap an append of any kind, keeping its kind: see `StaleSessionRetrying.__call__`."""
    if isinstance(append, staticmethod):
        return staticmethod(decorate(policy, append.__func__))
    if isinstance(append, classmethod):
        return _RetryingClassMethod(decorate(policy, append.__func__))
    shape = CallShape.of(append, policy.session, policy.refresh)
    call: Any = with_retries(policy, policy.name or name_of(append), shape, append)
    if inspect.isroutine(append):
        functools.update_wrapper(call, append)
    else:
        functools.update_wrapper(call, append, updated=())
        call.__name__ = call.__qualname__ = name_of(append)
    call.retrying = policy
    call.retry_with = lambda **changes: decorate(policy.replace(**changes), append)
    return functools.update_wrapper(_RetryingMethod(call), call) if _is_defined_in_a_class(append) else call


def _is_defined_in_a_class(append: Any) -> bool:
    namespace = append.__qualname__.rpartition(".")[0] if inspect.isfunction(append) else ""
    return bool(namespace) and not namespace.endswith("<locals>")


# A plain function is called faster than anything else, but a method made of one cannot know in
# `store.append.retry_with(...)` which `store` it was asked of. So functions stay functions, and only what is defined
# in a class becomes this. Both are partials because those are called without a Python frame of their own.


class _RetryingMethod(functools.partial):  # type: ignore[type-arg]
    def __get__(self, instance: Any, owner: type[Any] | None = None) -> Any:
        return self if instance is None else _BoundAppend(self.func, instance)


class _BoundAppend(functools.partial):  # type: ignore[type-arg]
    __slots__ = ()

    @property
    def retrying(self) -> StaleSessionRetrying:
        return self.func.retrying  # type: ignore[no-any-return, attr-defined]

    def retry_with(self, **changes: Unpack[Options]) -> Any:
        return self.func.retry_with(**changes).__get__(self.__self__)  # type: ignore[attr-defined]

    @property
    def __self__(self) -> Any:
        return self.args[0]

    @property
    def __func__(self) -> Any:
        return self.func

    def __getattr__(self, attribute: str) -> Any:
        if attribute in ("__name__", "__qualname__"):
            return getattr(self.func, attribute)
        raise AttributeError(f"a decorated append has no attribute {attribute!r}")

    @property
    def __doc__(self) -> str | None:  # type: ignore[override]
        return self.func.__doc__

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _BoundAppend) and self.func == other.func and self.__self__ is other.__self__

    def __hash__(self) -> int:
        return hash((self.func, id(self.__self__)))

    def __reduce__(self) -> Any:
        return getattr, (self.__self__, self.__name__)


class _RetryingClassMethod(classmethod):  # type: ignore[type-arg]
    def __get__(self, instance: Any, owner: type[Any] | None = None) -> Any:
        return self.__func__.__get__(type(instance) if owner is None else owner, type)
