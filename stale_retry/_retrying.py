"""The policy for appends, and the three ways to use it."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Coroutine, Iterable, Sequence
from types import MethodType
from typing import TYPE_CHECKING, Any, ClassVar, ParamSpec, TypeVar, cast, overload
from weakref import WeakKeyDictionary

from . import _checks, _strategies
from ._block import Attempts
from ._call import Call, CallShape, block, block_shape, name_of
from ._decorated import decorate, with_retries
from ._policy import Policy, common_options
from ._types import ConflictHook, Gate, Jitter, Observer, On, Options, Refresh, Seconds, Stop, Wait
from .backoff import exponential, full_jitter
from .detection import is_stale_session_error

if TYPE_CHECKING:
    from typing_extensions import Unpack

P = ParamSpec("P")
R = TypeVar("R")
S = TypeVar("S")
F = TypeVar("F", bound=Callable[..., Coroutine[Any, Any, Any]])


class StaleSessionRetrying(Policy):
    """Retry an append that lost an optimistic-concurrency race, on the freshly reloaded session.

    Use it as a decorator, with `call`, or with `attempts`. It is frozen, it keeps nothing between calls, and any
    number of appends and tasks may share it. The append is called at once; only when it raises an error that `on`
    accepts does anything else happen: wait, enter the gate, refresh, ask the conflict hook, and append again, until
    it is stored once or the caller is told that it is not.

    Args:
        refresh: reloads the session; required. Called with the append's own leading arguments up to and including
            the session (`refresh(self, session)` for a method), after the wait and never after the last attempt.
            Async or plain. Returns the session for the next attempt, new or updated in place, or None when it is
            gone. If it raises, the call ends, unless `on` or `in_doubt` accepts the error, which then counts as a
            failed attempt.
        session: name of the append's parameter that carries the session.
        on: what counts as stale, so that nothing was stored: exception types, a function of the error, or a tenacity
            retry strategy, one for results included. A function whose parameter is called `retry_state` is taken for a
            strategy. Whatever it says, cancellation and the errors of giving up are never retried.
        in_doubt: what is retried although it may be stored, in the same forms; None for nothing. Refused without a
            conflict hook, because only looking can tell. Once an attempt was in doubt the call stays so until it is
            stored or settled, and giving up raises `InDoubtError`.
        backoff: the wait before each retry: any tenacity wait strategy. The default waits up to 0.05, 0.1, 0.2, 0.4,
            0.8, 1.6, 2, 2, … s.
        jitter: a function of the backoff's delay, in seconds; None waits exactly the backoff.
        max_attempts: calls of the append, the first included: 6 attempts are 5 retries. None for no limit.
        deadline: seconds or timedelta from the call's entry; None for no limit. It covers waits, gate, refresh and
            conflict hook. An append in flight is never cancelled by it, because it may or may not be stored.
        attempt_timeout: seconds or timedelta for one append, which is cancelled after that or after the time left,
            whichever is shorter, and raises `TimeoutError`, which is in doubt; None never cancels an append.
        stop: an extra tenacity stop strategy, asked after each stale attempt.
        gate: takes the session and returns an async context manager in which its contenders queue; one or several,
            the nearest first. Every attempt queues at a `local_gate`, from the first one on; at any other only retries
            do, after the wait, over refresh, conflict hook and append.
        on_conflict: a conflict hook or several, asked in order after each refresh.
        observers: functions that are told each `RetryEvent`; None logs to "stale_retry", () tells nobody.
        reraise: give up with the store's own error, the same facts in a note (Python 3.11 and later).
        name: for logs and metrics; the append's qualified name by default.

    Raises:
        TypeError, ValueError: an option is wrong; the message names it and its rule. Both limits off without a `stop`
            is refused too.
    """

    OPTIONS: ClassVar[tuple[str, ...]] = tuple(Options.__annotations__)

    refresh: Refresh  # pyright: ignore[reportIncompatibleVariableOverride]  # frozen, so it may be narrower
    _shapes: WeakKeyDictionary[Any, dict[bool, CallShape]]
    _refresh_takes: Callable[[int], bool]

    @_checks.naming_unknown_options
    def __init__(
        self,
        refresh: Refresh,
        *,
        session: str = "session",
        on: On = is_stale_session_error,
        in_doubt: On | None = None,
        backoff: Wait = exponential(0.05, max=2.0),
        jitter: Jitter | None = full_jitter,
        max_attempts: int | None = None,
        deadline: Seconds | None = 90.0,
        attempt_timeout: Seconds | None = None,
        stop: Stop | None = None,
        gate: Gate | Sequence[Gate] | None = None,
        on_conflict: ConflictHook | Iterable[ConflictHook] | None = None,
        observers: Observer | Iterable[Observer] | None = None,
        reraise: bool = False,
        name: str | None = None,
    ) -> None:
        hooks = _checks.as_functions("on_conflict", on_conflict, (), "a function of the conflict")
        if in_doubt is not None and not hooks:
            raise ValueError(
                "in_doubt needs an on_conflict hook, because only looking tells whether the event is stored"
            )
        self._freeze(
            refresh=_checks.is_function("refresh", refresh, "a function that reloads the session"),
            session=_checks.is_text("session", session),
            in_doubt=None if in_doubt is None else _strategies.retry_strategy("in_doubt", in_doubt),
            on_conflict=hooks,
            **common_options(
                on=on,
                backoff=backoff,
                jitter=jitter,
                max_attempts=max_attempts,
                deadline=deadline,
                attempt_timeout=attempt_timeout,
                stop=stop,
                gate=gate,
                observers=observers,
                reraise=reraise,
                name=name,
            ),
        )
        vars(self).update(
            _shapes=WeakKeyDictionary(),
            _refresh_takes=functools.cache(functools.partial(_checks.takes_last, refresh, session)),
        )

    def __call__(self, append: F, /) -> F:
        """Decorate an append: a coroutine function, a method, a classmethod or staticmethod, a partial, or an object
        with an async `__call__`. A function stays a function: signature, docstring, types and marks are kept.

        The result has `retrying`, this policy, and `retry_with(**changes)`, the same append under a changed one; on a
        method that is the function, to be called with the object first. `stale_retry.retry_with` is the typed form.

        Raises:
            TypeError: it is a plain function or a generator, or `refresh` cannot take its leading arguments.
            ValueError: it has no parameter that `session` names.
        """
        if isinstance(append, (staticmethod, classmethod)):
            wrapper = cast("Any", append)
            return cast("F", type(wrapper)(self(wrapper.__func__)))
        return cast("F", decorate(self, append, self.name or name_of(append), self._shape_of(append)))

    async def call(self, append: Callable[P, Coroutine[Any, Any, R]], /, *args: P.args, **kwargs: P.kwargs) -> R:
        """Call an append once, with retries: `await retrying.call(store.append, session, event)`.

        For a bound method or a partial, a refresh hook that takes what is already bound gets it too, so
        `refresh(store, session)` serves here as it does for the decorated method.

        Raises:
            TypeError, ValueError: as for decorating it.
        """
        called = with_retries(self, append, self.name or name_of(append), self._shape_of(append))
        return await called(*args, **kwargs)  # type: ignore[no-any-return]

    @overload
    def attempts(self, session: S, /) -> Attempts[S]: ...

    @overload
    def attempts(self, receiver: Any, session: S, /) -> Attempts[S]: ...

    @overload
    def attempts(self, receiver: Any, another: Any, /, *leading: Any) -> Attempts[Any]: ...

    def attempts(self, *leading: Any) -> Attempts[Any]:
        """Retry a block of code, in a runner's own loop::

            async for attempt in retrying.attempts(session):
                with attempt:
                    await store.append(attempt.session, event)

        After the loop `attempt.session` is the session that was stored through, and `attempt.settled` tells whether a
        conflict hook ended the call instead. What needs the append's success belongs after the loop, and what may fail
        or leave the loop belongs inside the block: gates are held when it begins.

        For a refresh hook that takes more than the session, put that before it: `attempts(store, session)`. With
        `async with attempt:` a gate between processes is left before the block's end is, with `with` soon after.

        Raises:
            TypeError: there is no session, `refresh` cannot take these arguments, or `on` judges results, which a
                block has not.
        """
        if not leading or not self._refresh_takes(len(leading)):
            raise TypeError(
                f"attempts takes the arguments of refresh, the session last: "
                f"{name_of(self.refresh)}{inspect.signature(self.refresh)}"
            )
        if self.needs_results:
            raise TypeError("on judges results, and a block has none: raise StaleSessionError inside the block instead")
        call = Call(block, block_shape(self.session), leading[-1:], {}, receivers=leading[:-1])
        return Attempts(self, self.name or "append", call)

    def replace(self, **changes: Unpack[Options]) -> StaleSessionRetrying:
        """The same policy with these options changed.

        Raises:
            TypeError, ValueError: as for a new policy.
        """
        options: dict[str, Any] = {**self._options(), **changes}
        return type(self)(**options)

    def _shape_of(self, append: Callable[..., Any]) -> CallShape:
        """The shape of a function that comes again with every call: inspecting it takes longer than an append may."""
        key = getattr(append, "__func__", append)
        try:
            known = self._shapes.setdefault(key, {})
        except TypeError:  # neither hashable nor open to weak references
            known = {}
        bound = key is not append
        if bound not in known:
            known[bound] = CallShape.of(append, self.session, self.refresh)
        return known[bound]


retry_on_stale_session = StaleSessionRetrying


def retry_with(append: F, /, **changes: Unpack[Options]) -> F:
    """The same decorated append under a policy with these options changed; the original keeps its own.

    `await retry_with(store.append, deadline=5)(session, event)`: a bound method stays bound.

    Raises:
        TypeError: it is not a decorated append.
        TypeError, ValueError: as for a new policy.
    """
    decorated = cast("Any", append)
    if not hasattr(decorated, "retry_with"):
        raise TypeError(f"{name_of(append)} is not decorated with retry_on_stale_session")
    changed = decorated.retry_with(**changes)
    return cast("F", MethodType(changed, decorated.__self__) if inspect.ismethod(append) else changed)
