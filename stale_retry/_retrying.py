"""The policy for appends, and the three ways to use it."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Coroutine, Mapping
from types import MethodType
from typing import TYPE_CHECKING, Any, ClassVar, ParamSpec, TypeVar, cast, overload
from weakref import WeakKeyDictionary

from . import _checks
from ._block import Attempts
from ._call import CallShape, block_call
from ._checks import name_of
from ._decorated import decorate, with_retries
from ._policy import ALL, Option, Policy, Words, signature_of
from ._types import FindStored, Options, OptionsButRefresh, Refresh

if TYPE_CHECKING:
    from typing_extensions import Unpack

P = ParamSpec("P")
R = TypeVar("R")
S = TypeVar("S")
F = TypeVar("F", bound=Callable[..., Coroutine[Any, Any, Any]])


def _refresh(option: str, value: Any) -> Any:
    return _checks.is_function(option, value, "a function that reloads the session")


class StaleSessionRetrying(Policy):
    """Retry an append that lost an optimistic-concurrency race, on the freshly reloaded session.

    Use it as a decorator, with `call`, or with `attempts`. It is frozen, it keeps nothing between calls, and any
    number of appends and tasks may share it. The append is called at once. Only if it raises an error that `on`
    accepts does anything else happen: wait, refresh, look whether the event is stored, ask the conflict hooks, and
    append again, until the event is stored once or the caller is told that it is not, or that nobody can know.

    Args:
        refresh: reloads the session; required. Called with the append's own leading arguments up to and including
            the session (`refresh(self, session)` for a method), after the wait. Async or plain. Returns the session
            for the next attempt, new or updated in place, or None if it is gone. If it raises, the call ends, unless
            `on` or `in_doubt` accepts the error, which then counts as a failed attempt.
        session: name of the append's parameter that carries the session.
        on: what counts as a conflict, so that nothing was stored: exception types, a function of the error, or a
            tenacity retry strategy, one for results included. A function whose parameter is called `retry_state` is
            taken for a strategy. A transient error leaves doubt even if it is listed here. Whatever `on` says,
            cancellation and the errors of giving up are never retried.
        in_doubt: which errors are retried although the event may be stored, in the same forms; None for none. Needs
            `find_stored` or a conflict hook. Once an attempt ended in doubt, giving up raises `InDoubtError`, unless
            a later rejection and a look settle the doubt.
        find_stored: looks for the event in the store, by its id. Names the append's parameters that it needs, as
            `find_stored(session, event)`, and is called by name with the refreshed session. Async or plain. Called
            after every failed attempt and refresh, and once more before giving up. Falsy means not found; anything
            else ends the call as a success and is returned, `Settled(x)` returns x.
        key: a function of the session that tells sessions apart, such as `lambda session: session.id`: callers with
            the same key queue, in this process. None for no queue.
        backoff: the wait before each retry: any tenacity wait strategy. The default waits up to 0.05, 0.1, 0.2, 0.4,
            0.8, 1.6, 2, 2, … s.
        jitter: a function of the backoff's delay, in seconds; None waits exactly the backoff.
        max_attempts: calls of the append, the first included: 6 attempts are 5 retries. None for no limit.
        deadline: seconds or timedelta from the call's entry; None for no limit. It covers waits, queue, refresh and
            hooks. The last wait is cut so that a last attempt fits in. An append in flight is never cancelled by the
            deadline, because it may or may not be stored.
        attempt_timeout: seconds or timedelta for one append, which is cancelled after that or after the time left,
            whichever is shorter, and raises `TimeoutError`, which leaves doubt; None never cancels an append.
        stop: an extra tenacity stop strategy, asked before each wait.
        on_conflict: a conflict hook or several, asked in order after each refresh: it may change the call, settle it,
            or abort it by raising.
        observers: functions that are told each `RetryEvent`; None logs to "stale_retry", () tells nobody.
        reraise: give up with the store's own error, the facts in a note (Python 3.11 and later).
        name: for logs and metrics; the append's qualified name by default.

    Raises:
        TypeError, ValueError: an option is wrong; the message names it, its rule and the cure.
    """

    OPTIONS: ClassVar[Mapping[str, Option]] = {"refresh": Option(None, _refresh), **ALL}
    WORDS = Words(
        "an append",
        "stored",
        "No attempt was acknowledged: reload the session, and send the event again if it lacks it.",
        "The event may be stored: look before you send it again.",
    )

    refresh: Refresh  # pyright: ignore[reportIncompatibleVariableOverride]  # frozen, so it may be narrower
    _shapes: WeakKeyDictionary[Any, dict[bool, CallShape]]
    _lengths: set[int]

    def __init__(self, refresh: Refresh, **options: Unpack[OptionsButRefresh]) -> None:
        self._freeze({"refresh": refresh, **options})
        _refuse_the_append_itself(self.refresh, self.session)
        vars(self)["_shapes"] = WeakKeyDictionary()
        vars(self)["_lengths"] = set()

    if TYPE_CHECKING:

        def __call__(self, append: F, /) -> F: ...

    else:

        def __new__(cls, *refresh, **options):
            if cls.__init__ is StaleSessionRetrying.__init__ and len(refresh) + ("refresh" in options) != 1:
                raise TypeError(
                    "retry_on_stale_session needs one refresh hook, which reloads the session, and takes its options "
                    "by name: @retry_on_stale_session(refresh, deadline=30)"
                )
            return super().__new__(cls)

        def __call__(self, append, /, *args, **kwargs):
            """Decorate an append: a coroutine function, a method, a classmethod or staticmethod, a partial, or an
            object with an async `__call__`. A function stays a function: signature, docstring, types and marks are
            kept. The result has `retrying`, this policy.

            Raises:
                TypeError: it is a plain function or a generator, or `refresh` or `find_stored` does not fit it.
                ValueError: it has no parameter that `session` names.
            """
            is_wrapped = isinstance(append, (staticmethod, classmethod))
            if args or kwargs or not (is_wrapped or callable(append)):
                raise TypeError(
                    "retry_on_stale_session was used as a bare decorator; "
                    "give it the refresh hook: @retry_on_stale_session(refresh)"
                )
            if is_wrapped:
                return type(append)(self(append.__func__))
            return decorate(self, append, self.name or name_of(append), CallShape(append, self))

    async def call(self, append: Callable[P, Coroutine[Any, Any, R]], /, *args: P.args, **kwargs: P.kwargs) -> R:
        """Call an append once, with retries: `await policy.call(store.append, session, event)`.

        For a bound method or a partial, a refresh hook that takes what is already bound gets it too, so
        `refresh(store, session)` serves here as it does for the decorated method.

        Raises:
            TypeError, ValueError: as for decorating it.
        """
        called = with_retries(self, append, self.name or name_of(append), self._shape_of(append))
        return await called(*args, **kwargs)  # type: ignore[no-any-return]

    @overload
    def attempts(self, session: S, /, *, find_stored: FindStored | None = None) -> Attempts[S]: ...

    @overload
    def attempts(self, receiver: Any, session: S, /, *, find_stored: FindStored | None = None) -> Attempts[S]: ...

    @overload
    def attempts(
        self, receiver: Any, another: Any, /, *leading: Any, find_stored: FindStored | None = None
    ) -> Attempts[Any]: ...

    def attempts(self, *leading: Any, find_stored: FindStored | None = None) -> Attempts[Any]:
        """Retry a block of code, in a runner's own loop::

            async for attempt in policy.attempts(session):
                with attempt:
                    await store.append(attempt.session, event)

        After the loop `attempt.session` is the session that was stored through, and `attempt.settled` tells whether
        `find_stored` or a conflict hook ended the call instead. What needs the append's success belongs after the
        loop, and what may fail or leave the loop belongs inside the block: the slot is held when it begins. The event
        must not be inside the session: the refreshed session would not have it, and nobody could notice.

        For a refresh hook that takes more than the session, put that first: `attempts(store, session)`.

        Args:
            leading: the arguments of `refresh`, the session last.
            find_stored: a function of the session that looks for this block's event, instead of the policy's.

        Raises:
            TypeError: there is no session, `refresh` or `find_stored` cannot be called with what a block has, or `on`
                judges results, which a block does not have.
        """
        if len(leading) not in self._lengths and not (leading and _checks.takes_exactly(self.refresh, len(leading))):
            raise TypeError(
                f"attempts takes the arguments of refresh, the session last: "
                f"{name_of(self.refresh)}{inspect.signature(self.refresh)}"
            )
        self._lengths.add(len(leading))  # inspecting the hook takes longer than an append may
        if self.needs_results:
            raise TypeError("on judges results, and a block has none; raise StaleSessionError inside the block instead")
        if find_stored is not None:
            _checks.is_function("find_stored", find_stored, "a function of the session")
            if not _checks.accepts(find_stored, 1):
                raise TypeError(
                    f"a block's find_stored is called with the session alone; "
                    f"{name_of(find_stored)}{inspect.signature(find_stored)} cannot be"
                )
        elif self.finder is not None:
            self.finder.refuse_unless_met("a block, which takes attempts(session, find_stored=...),", ["session"])
        return Attempts(self, self.name or "append", block_call(leading), find_stored)

    def replace(self, **changes: Unpack[Options]) -> StaleSessionRetrying:
        """The same policy with these options changed. With the same key, callers of both queue together.

        Raises:
            TypeError, ValueError: as for a new policy.
        """
        return self._replaced(changes)  # type: ignore[no-any-return]

    def _shape_of(self, append: Callable[..., Any]) -> CallShape:
        """The shape of a function that comes again with every call: inspecting it takes longer than an append may."""
        key = getattr(append, "__func__", append)
        try:
            known = self._shapes.setdefault(key, {})
        except TypeError:  # neither hashable nor open to weak references
            known = {}
        bound = key is not append
        if bound not in known:
            known[bound] = CallShape(append, self, keep_signature=False)
        return known[bound]


def _refuse_the_append_itself(refresh: Any, session: str) -> None:
    try:
        parameters = list(inspect.signature(refresh).parameters.values())
    except (TypeError, ValueError):
        return
    names = [parameter.name for parameter in parameters]
    after = parameters[names.index(session) + 1 :] if session in names else []
    for parameter in after:
        if parameter.default is parameter.empty and parameter.kind not in (
            parameter.VAR_POSITIONAL,
            parameter.VAR_KEYWORD,
        ):
            raise TypeError(
                f"refresh is called with the append's arguments up to the session, but "
                f"{name_of(refresh)}{inspect.signature(refresh)} also needs {parameter.name!r}; if it is the append, "
                f"give the decorator a refresh hook: @retry_on_stale_session(refresh)"
            )


StaleSessionRetrying.__signature__ = signature_of(  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue]
    ALL, Options, inspect.Parameter("refresh", inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation="Refresh")
)

retry_on_stale_session = StaleSessionRetrying


def retry_with(append: F, /, **changes: Unpack[Options]) -> F:
    """The same decorated append under a policy with these options changed; the original keeps its own.

    `await retry_with(store.append, deadline=5)(session, event)`: a bound method stays bound.

    Raises:
        TypeError: it is not a decorated append.
        TypeError, ValueError: as for a new policy.
    """
    decorated = cast("Any", append)
    original = getattr(decorated, "__stale_retry_append__", None)
    if original is None:
        raise TypeError(
            f"retry_with takes a decorated append, and {name_of(append)} is not decorated; "
            f"decorate it with retry_on_stale_session or retry_transaction"
        )
    changed = decorated.retrying.replace(**changes)(original)
    return cast("F", MethodType(changed, decorated.__self__) if inspect.ismethod(append) else changed)
