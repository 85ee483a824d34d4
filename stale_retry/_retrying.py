"""The policy: every option, checked once, and the three ways to use it."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Coroutine, Iterable
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar, overload
from weakref import WeakKeyDictionary

from . import _options
from ._call import Call, CallShape, name_of
from ._decorate import RetryingAppend, decorate, with_retries
from ._loop import Attempts
from ._options import On, Refresh, RetryStrategy, Seconds, Stop, Wait
from ._progress import retry_state
from .backoff import Jitter, exponential, full_jitter
from .conflict import ConflictHook
from .detection import is_stale_session_error
from .errors import StaleSessionError
from .events import Observer
from .gate import Gate
from .observers.logging import log_event

if TYPE_CHECKING:
    from typing_extensions import Never, Unpack

    from ._options import Options

P = ParamSpec("P")
R = TypeVar("R")
S = TypeVar("S")
T = TypeVar("T")


class StaleSessionRetrying:
    """Retry an append that lost an optimistic-concurrency race, on the freshly reloaded session.

    Use it as a decorator, with `call`, or with `attempts`. It is frozen, it keeps nothing between calls, and any
    number of appends and tasks may share it. The append is called at once; only when it raises an error that `on`
    accepts does anything else happen: wait, enter the gate, refresh, ask the conflict hook, and append again, until
    it is stored once or the caller is told that it is not.

    Args:
        refresh: reloads the session; required. Called with the append's own leading arguments up to and including
            the session (`refresh(self, session)` for a method), after the wait and never after the last attempt.
            Async or plain. Returns the session for the next attempt, new or updated in place, or None when it is
            gone. If it raises, the call ends, unless `on` accepts the error, which then counts as a failed attempt.
        session: name of the append's parameter that carries the session.
        on: what counts as stale: exception types, a function of the error, or a tenacity retry strategy. A function
            whose parameter is called `retry_state` is taken for a strategy. Whatever it says, cancellation and
            `StaleSessionRetryError` are never retried.
        backoff: the wait before each retry: any tenacity wait strategy. The default waits up to 0.05, 0.1, 0.2, 0.4,
            0.8, 1.6, 2, 2, … s.
        jitter: a function of the backoff's delay, in seconds; None waits exactly the backoff.
        max_attempts: calls of the append, the first included: 6 attempts are 5 retries. None for no limit.
        deadline: seconds or timedelta from the call's entry; None for no limit. It covers waits, gate, refresh and
            conflict hook. An append in flight is never cancelled by it, because it may or may not be stored.
        attempt_timeout: seconds or timedelta for one append, which is cancelled after that or after the time left,
            whichever is shorter, and raises `TimeoutError`; None never cancels an append.
        stop: an extra tenacity stop strategy, asked after each stale attempt.
        gate: takes the session and returns an async context manager in which its contenders take turns. Entered
            after the wait, held over refresh, conflict hook and append.
        on_conflict: a conflict hook or several, asked in order after each refresh.
        observers: functions that are told each `RetryEvent`; None logs to "stale_retry", () tells nobody.
        reraise: give up with the store's own error, the same facts in a note (Python 3.11 and later).
        name: for logs and metrics; the append's qualified name by default.

    Raises:
        TypeError, ValueError: an option is wrong; the message names it and its rule. Both limits off without a `stop`
            is refused too.
    """

    refresh: Refresh
    session: str
    on: RetryStrategy
    backoff: Wait
    jitter: Jitter | None
    max_attempts: int | None
    deadline: float | None
    attempt_timeout: float | None
    stop: Stop | None
    gate: Gate | None
    on_conflict: tuple[ConflictHook, ...]
    observers: tuple[Observer, ...]
    reraise: bool
    name: str | None
    _shapes: WeakKeyDictionary[Any, dict[bool, CallShape]]
    _refresh_takes: Callable[[int], bool]

    def __init__(
        self,
        refresh: Refresh,
        *,
        session: str = "session",
        on: On = is_stale_session_error,
        backoff: Wait = exponential(0.05, max=2.0),
        jitter: Jitter | None = full_jitter,
        max_attempts: int | None = None,
        deadline: Seconds | None = 90.0,
        attempt_timeout: Seconds | None = None,
        stop: Stop | None = None,
        gate: Gate | None = None,
        on_conflict: ConflictHook | Iterable[ConflictHook] | None = None,
        observers: Observer | Iterable[Observer] | None = None,
        reraise: bool = False,
        name: str | None = None,
        **unknown: Never,
    ) -> None:
        _options.refuse_unknown(unknown)
        options = {
            "refresh": _options.function("refresh", refresh, "a function that reloads the session"),
            "session": _options.text("session", session),
            "on": _options.retry_strategy("on", on),
            "backoff": _options.wait_strategy("backoff", backoff),
            "jitter": _options.optional_function("jitter", jitter, "a function of the delay"),
            "max_attempts": _options.attempts("max_attempts", max_attempts),
            "deadline": _options.seconds("deadline", deadline),
            "attempt_timeout": _options.seconds("attempt_timeout", attempt_timeout),
            "stop": _options.stop_strategy("stop", stop),
            "gate": _options.optional_function("gate", gate, "a function of the session"),
            "on_conflict": _options.functions("on_conflict", on_conflict, (), "a function of the conflict"),
            "observers": _options.functions(
                "observers", observers, (log_event,), "a function of the event", _options.plain_function
            ),
            "reraise": _options.flag("reraise", reraise),
            "name": name if name is None else _options.text("name", name),
        }
        if options["max_attempts"] is options["deadline"] is options["stop"] is None:
            raise ValueError("max_attempts and deadline are both None and there is no stop: would retry for ever")
        vars(self).update(
            options,
            _shapes=WeakKeyDictionary(),
            _refresh_takes=functools.cache(functools.partial(_options.accepts, refresh)),
        )

    def __setattr__(self, option: str, value: object) -> None:
        raise AttributeError(f"{type(self).__name__} is frozen; replace({option}=...) makes a changed one")

    def __delattr__(self, option: str) -> None:
        raise AttributeError(f"{type(self).__name__} is frozen")

    def __repr__(self) -> str:
        options = ", ".join(f"{option}={getattr(self, option)!r}" for option in _options.NAMES)
        return f"{type(self).__name__}({options})"

    @overload
    def __call__(  # type: ignore[overload-overlap]  # a staticmethod can be called as well, but stays one
        self, append: staticmethod[P, Coroutine[Any, Any, R]], /
    ) -> staticmethod[P, Coroutine[Any, Any, R]]: ...

    @overload
    def __call__(
        self, append: classmethod[T, P, Coroutine[Any, Any, R]], /
    ) -> classmethod[T, P, Coroutine[Any, Any, R]]: ...

    @overload
    def __call__(self, append: Callable[P, Coroutine[Any, Any, R]], /) -> RetryingAppend[P, R]: ...

    def __call__(self, append: Any, /) -> Any:
        """Decorate an append: a coroutine function, a method, a classmethod or staticmethod, a partial, or an object
        with an async `__call__`. Signature, docstring and types are kept.

        The result has `retrying`, this policy, and `retry_with(**changes)`, the same append under a changed one,
        which on a bound method stays bound.

        Raises:
            TypeError: it is a plain function or a generator, or `refresh` cannot take its leading arguments.
            ValueError: it has no parameter that `session` names.
        """
        return decorate(self, append)

    async def call(self, append: Callable[P, Coroutine[Any, Any, R]], /, *args: P.args, **kwargs: P.kwargs) -> R:
        """Call an append once, with retries: `await retrying.call(store.append, session, event)`.

        For a bound method or a partial, a refresh hook that takes what is already bound gets it too, so
        `refresh(store, session)` serves here as it does for the decorated method.

        Raises:
            TypeError, ValueError: as for decorating it.
        """
        return await with_retries(self, self.name or name_of(append), self._shape_of(append), append)(*args, **kwargs)

    @overload
    def attempts(self, session: S, /) -> Attempts[S]: ...

    @overload
    def attempts(self, receiver: Any, /, *leading: Any) -> Attempts[Any]: ...

    def attempts(self, *leading: Any) -> Attempts[Any]:
        """Retry a block of code, in a runner's own loop::

            async for attempt in retrying.attempts(session):
                with attempt:
                    await store.append(attempt.session, event)

        After the loop `attempt.session` is the session that was stored through, and `attempt.settled` tells whether a
        conflict hook ended the call instead. What needs the append's success belongs after the loop, and what may fail
        or leave the loop belongs inside the block: from the second attempt on the gate is held when the block begins.

        For a refresh hook that takes more than the session, put that before it: `attempts(store, session)`. With a
        gate other than a local one write `async with attempt:`, because leaving it takes an await.

        Raises:
            TypeError: there is no session, or `refresh` cannot take these arguments.
        """
        if not leading or not self._refresh_takes(len(leading)):
            raise TypeError(
                f"attempts takes the arguments of refresh, the session last: "
                f"{name_of(self.refresh)}{inspect.signature(self.refresh)}"
            )
        call = Call.of_block(self.session, leading[:-1], leading[-1])
        return Attempts(self, self.name or "append", call)

    def replace(self, **changes: Unpack[Options]) -> StaleSessionRetrying:
        """The same policy with these options changed.

        Raises:
            TypeError, ValueError: as for a new policy.
        """
        options: dict[str, Any] = {option: getattr(self, option) for option in _options.NAMES}
        return type(self)(**{**options, **changes})

    def schedule(self, n: int) -> list[float]:
        """The first n waits before jitter, in seconds, however many attempts there may be.

        Raises:
            TypeError: the backoff is async, so it cannot be asked here.
        """
        state = retry_state(self, (), {})
        waits: list[float] = []
        for attempt in range(1, n + 1):
            state.attempt_number = attempt
            state.set_exception((StaleSessionError, StaleSessionError(), None))
            wait: Any = self.backoff(state)
            if inspect.iscoroutine(wait):
                wait.close()
                raise TypeError("schedule needs a backoff that is not async")
            waits.append(float(wait))
        return waits

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
