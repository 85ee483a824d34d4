"""The policy for functions that load, decide and store by themselves."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Coroutine, Hashable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, ParamSpec, TypeVar, cast

from . import _checks
from ._call import CallShape, WrongCall
from ._checks import name_of
from ._decorated import decorate, with_retries
from ._policy import ALL, Option, Policy, Words, signature_of
from ._types import TransactionKey, TransactionOptions

if TYPE_CHECKING:
    from typing_extensions import Unpack

P = ParamSpec("P")
R = TypeVar("R")
F = TypeVar("F", bound=Callable[..., Coroutine[Any, Any, Any]])


def _key(option: str, key: Any) -> TransactionKey | None:
    if key is None or callable(key):
        return None if key is None else _checks.is_plain_function(option, key, "a function of the arguments")
    if isinstance(key, str):
        return _checks.is_text(option, key)
    names = cast("Sequence[object]", key) if isinstance(key, Sequence) else ()
    if not names or not all(isinstance(name, str) for name in names):
        raise TypeError(
            f"key must be the name of a parameter, the names of several, a function of the arguments, or None; "
            f"got {key!r}"
        )
    return cast("TransactionKey", tuple(names))


class TransactionRetrying(Policy):
    """Run a function again, from the beginning, when what it stored was rejected because others stored meanwhile::

        @retry_transaction(key="account_id")
        async def withdraw(account_id, amount):
            async with new_session() as session, session.begin():
                ...  # load, decide, store

    The same policy as `retry_on_stale_session`, without a session and a refresh hook: each attempt loads by itself.
    What the function must do: open a transaction of its own in each attempt; do nothing outside it that must not
    happen twice; keep no database session or loaded object from one attempt to the next.

    Args:
        key: what callers queue for, in this process: the name of a parameter, the names of several, which are one key
            together, or a function of the arguments. None for no queue.
        on: what counts as a conflict, so that nothing was committed.
        in_doubt: which errors are retried although an attempt may have been committed. Needs `find_stored`.
        find_stored: looks whether an earlier attempt's commit went through. Names the function's parameters that it
            needs, as `find_stored(account_id, amount)`.
        backoff, jitter, max_attempts, deadline, attempt_timeout, stop, observers, reraise, name: as for
            `retry_on_stale_session`.

    Raises:
        TypeError, ValueError: an option is wrong; the message names it, its rule and the cure.
    """

    OPTIONS: ClassVar[Mapping[str, Option]] = {
        **{name: option for name, option in ALL.items() if name not in ("session", "on_conflict")},
        "key": Option(None, _key),
    }
    WORDS = Words(
        "a transaction",
        "committed",
        "No attempt was acknowledged, so nothing of it was committed: call it again. If every attempt met the same "
        "conflict, check that each one loads what it changes.",
        "It may be committed: look before you call it again.",
    )

    def __init__(self, **options: Unpack[TransactionOptions]) -> None:
        self._freeze(options)

    if not TYPE_CHECKING:  # pragma: no branch

        def __new__(cls, *args, **options):
            if args:
                raise TypeError("retry_transaction takes its options by name; write @retry_transaction()")
            return super().__new__(cls)

    def __call__(self, function: F, /) -> F:
        """Decorate a coroutine function, a method, a classmethod or staticmethod, a partial, or an object with an async
        `__call__`. The result has `retrying`, as a decorated append has.

        Raises:
            TypeError: it is a plain function or a generator.
            ValueError: it has no parameter that `key` names.
        """
        if isinstance(function, (staticmethod, classmethod)):
            wrapper = cast("Any", function)
            return cast("F", type(wrapper)(self(wrapper.__func__)))
        return cast("F", decorate(self, function, self.name or name_of(function), _KeyShape(function, self)))

    async def call(self, function: Callable[P, Coroutine[Any, Any, R]], /, *args: P.args, **kwargs: P.kwargs) -> R:
        """Call a function once, with retries: `await policy.call(withdraw, account_id, amount)`.

        Raises:
            TypeError, ValueError: as for decorating it.
        """
        called = with_retries(self, function, self.name or name_of(function), _KeyShape(function, self))
        return await called(*args, **kwargs)  # type: ignore[no-any-return]

    def replace(self, **changes: Unpack[TransactionOptions]) -> TransactionRetrying:
        """The same policy with these options changed. With the same key, callers of both queue together.

        Raises:
            TypeError, ValueError: as for a new policy.
        """
        return self._replaced(changes)  # type: ignore[no-any-return]


TransactionRetrying.__signature__ = signature_of(  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue]
    TransactionRetrying.OPTIONS, TransactionOptions
)

retry_transaction = TransactionRetrying


class _KeyShape(CallShape):
    """Where the key stands in a call of a function."""

    def __init__(self, function: Callable[..., Any], policy: TransactionRetrying) -> None:
        super().__init__(function, policy)
        key = self._key = policy.key
        parameters = self.signature_of(function).parameters
        self._names: tuple[str, ...] = (key,) if isinstance(key, str) else () if key is None or callable(key) else key
        for name in self._names:
            if name not in parameters:
                called = f"{name_of(function)}{self.signature_of(function)}"
                raise ValueError(
                    f"key must name a parameter of the function, but {called} has no {name!r}; "
                    f"there are {', '.join(parameters)}"
                )
        if isinstance(key, str) and parameters[key].kind in (
            inspect.Parameter.POSITIONAL_ONLY,
            inspect.Parameter.POSITIONAL_OR_KEYWORD,
        ):
            self.position = list(parameters).index(key)

    def key_of(self, append: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Hashable:
        """The key of a call.

        Raises:
            WrongCall: the arguments do not fit.
            Exception: whatever the function of the arguments raised.
        """
        try:
            bound = self.signature_of(append).bind(*args, **kwargs)
        except TypeError:
            raise WrongCall from None
        if callable(self._key):
            return cast(Hashable, self._key(*args, **kwargs))
        bound.apply_defaults()
        values = tuple(bound.arguments[name] for name in self._names)
        return cast(Hashable, values[0] if isinstance(self._key, str) else values)
