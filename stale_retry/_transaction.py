"""The policy for functions that load, decide and store by themselves."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Coroutine, Hashable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, ParamSpec, TypeVar, cast

from . import _checks
from ._call import Call, WrongCall, name_of, refuse_plain_function
from ._decorated import decorate, with_retries
from ._policy import Policy, common_options
from ._types import Gate, Jitter, Key, Observer, On, Seconds, Stop, TransactionOptions, Wait
from .backoff import exponential, full_jitter
from .detection import retry_if_conflict
from .gates.local import local_gate

if TYPE_CHECKING:
    from typing_extensions import Unpack

P = ParamSpec("P")
R = TypeVar("R")
F = TypeVar("F", bound=Callable[..., Coroutine[Any, Any, Any]])


class TransactionRetrying(Policy):
    """Run a function again, from the beginning, when what it stored was rejected because others stored meanwhile::

        @retry_transaction(key="account_id")
        async def withdraw(account_id, amount):
            async with new_session() as session, session.begin():
                ...  # load, decide, store

    The same policy as `retry_on_stale_session`, without a session and a refresh hook: each attempt loads by itself.
    What the function owes: a transaction of its own in each attempt; nothing outside it that must not happen twice; no
    database session or loaded object kept from one attempt to the next.

    Args:
        key: what the contenders want, to queue for it at a local gate: the name of a parameter, the names of several,
            or a function of the arguments. None for no gate.
        on: what counts as a conflict, so that nothing was stored. There is no `in_doubt`, since nobody can look: who
            made his function idempotent lists such errors here.
        gate: other gates than a local one; each is called with the key.
        backoff, jitter, max_attempts, deadline, attempt_timeout, stop, observers, reraise, name: as for
            `retry_on_stale_session`.

    Raises:
        TypeError, ValueError: an option is wrong; the message names it and its rule.
    """

    OPTIONS: ClassVar[tuple[str, ...]] = tuple(TransactionOptions.__annotations__)

    key: Key | None

    @_checks.naming_unknown_options
    def __init__(
        self,
        *,
        key: Key | None = None,
        on: On = retry_if_conflict(),
        backoff: Wait = exponential(0.05, max=2.0),
        jitter: Jitter | None = full_jitter,
        max_attempts: int | None = None,
        deadline: Seconds | None = 90.0,
        attempt_timeout: Seconds | None = None,
        stop: Stop | None = None,
        gate: Gate | Sequence[Gate] | None = None,
        observers: Observer | Iterable[Observer] | None = None,
        reraise: bool = False,
        name: str | None = None,
    ) -> None:
        key = _key(key)
        if gate is None and key is not None:
            gate = local_gate(_itself)
        if gate and key is None:
            raise ValueError("gate needs a key, which tells what the contenders queue for")
        self._freeze(
            key=key,
            refresh=None,
            session="",
            in_doubt=None,
            on_conflict=(),
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

    def __call__(self, function: F, /) -> F:
        """Decorate a coroutine function, a method, a classmethod or staticmethod, a partial, or an object with an async
        `__call__`. The result has `retrying` and `retry_with(**changes)`, as a decorated append has.

        Raises:
            TypeError: it is a plain function or a generator.
            ValueError: it has no parameter that `key` names.
        """
        if isinstance(function, (staticmethod, classmethod)):
            wrapper = cast("Any", function)
            return cast("F", type(wrapper)(self(wrapper.__func__)))
        return cast("F", decorate(self, function, self.name or name_of(function), _KeyShape(function, self.key)))

    async def call(self, function: Callable[P, Coroutine[Any, Any, R]], /, *args: P.args, **kwargs: P.kwargs) -> R:
        """Call a function once, with retries: `await retrying.call(withdraw, account_id, amount)`.

        Raises:
            TypeError, ValueError: as for decorating it.
        """
        called = with_retries(self, function, self.name or name_of(function), _KeyShape(function, self.key))
        return await called(*args, **kwargs)  # type: ignore[no-any-return]

    def replace(self, **changes: Unpack[TransactionOptions]) -> TransactionRetrying:
        """The same policy with these options changed.

        Raises:
            TypeError, ValueError: as for a new policy.
        """
        options: dict[str, Any] = {**self._options(), **changes}
        return type(self)(**options)


retry_transaction = TransactionRetrying


class _KeyShape:
    """Where the key stands in a call of a function."""

    def __init__(self, function: Callable[..., Any], key: Key | None) -> None:
        refuse_plain_function(function)
        self._key = key
        self.signature = inspect.signature(function)
        names = (key,) if isinstance(key, str) else () if key is None or callable(key) else tuple(key)
        for name in names:
            if name not in self.signature.parameters:
                called = f"{name_of(function)}{self.signature}"
                raise ValueError(f"key must name a parameter of the function, but {called} has no {name!r}")
        self._names = names
        self.position: int | None = None
        if isinstance(key, str):
            kind = self.signature.parameters[key].kind
            if kind in (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD):
                self.position = list(self.signature.parameters).index(key)

    def session_of(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Hashable:
        """The key of a call.

        Raises:
            WrongCall: the arguments do not fit.
            Exception: whatever the function of the arguments raised.
        """
        if self._key is None:
            return None
        try:
            bound = self.signature.bind(*args, **kwargs)
        except TypeError:
            raise WrongCall from None
        if callable(self._key):
            return self._key(*args, **kwargs)
        bound.apply_defaults()
        values = tuple(bound.arguments[name] for name in self._names)
        return values[0] if isinstance(self._key, str) else values

    def bind(self, function: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Call:
        # What the gates tell contenders apart by is all that is asked of the shape of a call without a session.
        return Call(function, cast("Any", self), args, kwargs, receivers=())


def _itself(key: Hashable) -> Hashable:
    return key


def _key(key: Any) -> Key | None:
    rule = "the name of a parameter, the names of several, a function of the arguments, or None"
    if key is None or callable(key):
        return key  # type: ignore[no-any-return]
    if isinstance(key, str):
        return _checks.is_text("key", key)
    names = cast("Sequence[object]", key) if isinstance(key, Sequence) else ()
    if not names or not all(isinstance(name, str) for name in names):
        raise TypeError(f"key must be {rule}, got {key!r}")
    return cast("Key", tuple(names))
