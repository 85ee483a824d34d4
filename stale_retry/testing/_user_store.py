"""A user's store as the checks see it: events by their identity, appends by their outcome."""

from __future__ import annotations

import asyncio
import functools
import inspect
import itertools
from collections import Counter
from collections.abc import Awaitable, Callable, Hashable, Iterable
from dataclasses import dataclass
from types import MethodType
from typing import TYPE_CHECKING, Any, cast

import tenacity

from .._checks import accepts
from .._find import Finder
from .._retrying import StaleSessionRetrying
from .._types import Options
from ..detection import retry_if_conflict
from ..errors import StaleSessionRetryError
from ..transient import is_transient_error, retry_if_transient

if TYPE_CHECKING:
    from typing_extensions import Unpack

_REQUIRED = ("create", "load", "append", "events", "event", "identity")
_OF_A_BARE_APPEND = ("refresh", "on", "find_stored")


class BrokenError(Exception):
    """Raised when a function of the user raised where it has to work. The text says which, and what it raised."""

    def __init__(self, function: str, error: Exception) -> None:
        super().__init__(f"{function} raised {said(error)}")


def said(error: BaseException) -> str:
    """An error in one line of at most 160 characters."""
    text = " ".join(str(error).split())
    return (
        f"{type(error).__name__}: {text[:157] + '...' if len(text) > 160 else text}" if text else type(error).__name__
    )


@dataclass(frozen=True)
class Append:
    """One append through one session, without retries, and what came of it.

    Attributes:
        identity: of its event.
        verdict: "accepted": it returned. "rejected": `on` says so. "unclear": a transient error, which says nothing
            about versions. "unknown": any other error.
        answer: the error, or the result that `on` calls a rejection.
    """

    identity: Hashable
    verdict: str
    answer: Any = None

    @property
    def accepted(self) -> bool:
        return self.verdict == "accepted"

    @property
    def refused(self) -> bool:
        """Whether the store said no, in words that `on` knows or not."""
        return self.verdict in ("rejected", "unknown")

    def __str__(self) -> str:
        return said(self.answer) if isinstance(self.answer, BaseException) else f"answered {self.answer!r}"


class UserStore:
    """The functions that describe a store, ready to be called by the checks.

    Attributes:
        created: ids of the sessions that were created and not deleted.
    """

    def __init__(self, functions: dict[str, Any]) -> None:
        """Raises TypeError and ValueError for what is missing or cannot be."""
        policy = getattr(functions["append"], "retrying", None)
        _check(functions, policy)
        self._functions = functions
        self.created: list[Any] = []
        self.counter = itertools.count()
        self.has_seen = functions["seen"] is not None
        self.has_delete = functions["delete"] is not None
        bare = functions["append"]
        if policy is None:
            self._bare = _plain(bare)
            policy = StaleSessionRetrying(
                functions["refresh"],
                session=next(iter(inspect.signature(bare).parameters)),
                on=functions["on"] or retry_if_conflict(),
                find_stored=functions["find_stored"],
            )
        else:
            self._bare = _undecorated(bare)
        self.policy: StaleSessionRetrying = policy
        self.has_find_stored = policy.finder is not None
        self.retrying(lambda append: append)  # refuses hooks that do not fit the append

    # Sessions and events

    async def create(self, *earlier: Any) -> Any:
        """The id of a new session that holds these events already."""
        session_id = await self._call("create")
        self.created.append(session_id)
        for event in earlier:
            made = await self.append(await self.load(session_id), event)
            if not made.accepted:
                raise BrokenError("append through a session just loaded", made.answer)
        return session_id

    async def delete(self, session_id: Any) -> None:
        await self._call("delete", session_id)
        self.created.remove(session_id)

    async def load(self, session_id: Any) -> Any:
        return await self._call("load", session_id)

    async def stored(self, session_id: Any) -> list[Hashable]:
        """The identities of the stored events, in order."""
        return self._identities(await self._call("events", session_id))

    def seen(self, session: Any) -> list[Hashable]:
        """The identities of the events that a session shows."""
        return self._identities(self._plain("seen", session))

    def new_event(self) -> Any:
        return self._plain("event", next(self.counter))

    def identity(self, event: Any) -> Hashable:
        identity = self._plain("identity", event)
        try:
            hash(identity)
        except TypeError:
            raise TypeError(
                f"identity must return a hashable value, but returned a {type(identity).__name__}; "
                f"return the event's id"
            ) from None
        return cast(Hashable, identity)

    def _identities(self, events: Iterable[Any]) -> list[Hashable]:
        return [self.identity(event) for event in events]

    # One append, one reload, one look

    async def append(self, session: Any, event: Any) -> Append:
        """Append once, without retries."""
        identity = self.identity(event)
        state = tenacity.RetryCallState(cast(Any, None), self._bare, (session, event), {})
        try:
            result = await self._bare(session, event)
        except Exception as error:
            state.set_exception((type(error), error, error.__traceback__))
            if self.policy.on(state):
                return Append(identity, "rejected", error)
            return Append(identity, "unclear" if is_transient_error(error) else "unknown", error)
        state.set_result(result)
        if self.policy.on(state):
            return Append(identity, "rejected", result)
        return Append(identity, "accepted")

    async def refresh(self, session: Any) -> Any:
        """What the refresh hook returns; None when the session is gone."""
        hook = self.policy.refresh
        _, receiver = self._unbound()
        leading = (session,) if accepts(hook, 1) else (*receiver, session)
        try:
            return await resolved(hook(*leading))
        except Exception as error:
            raise BrokenError("refresh", error) from error

    async def find(self, session: Any, event: Any) -> bool:
        """Whether `find_stored` finds the event. It gets the arguments that it names, as in a decorated append."""
        function, receiver = self._unbound()
        bound = inspect.signature(function).bind(*receiver, session, event)
        bound.apply_defaults()
        try:
            return bool(await resolved(cast(Finder, self.policy.finder)(bound.arguments)))
        except Exception as error:
            raise BrokenError("find_stored", error) from error

    def retrying(self, wrap: Callable[[Any], Any] | None = None, **changes: Unpack[Options]) -> Any:
        """The append with retries, each writer on its own: without a queue, which hides races between processes.

        `wrap` changes the bare append first; then lost answers are looked up by `find_stored`.
        """
        options: Options = {"max_attempts": None, "stop": None, "observers": (), "reraise": False, "key": None}
        if wrap is None:
            options.update({"in_doubt": None, "find_stored": None})
        elif self.has_find_stored:
            options.update({"in_doubt": retry_if_transient()})
        options.update(changes)
        function, receiver = self._unbound()
        bare = function if wrap is None else wrap(function)
        # Bound, it is decorated as the method that it is: its hooks may take what it is bound to, or not.
        return self.policy.replace(**options)(cast(Any, MethodType(bare, *receiver) if receiver else bare))

    def _unbound(self) -> tuple[Any, tuple[Any, ...]]:
        """The bare append as a function, and what it is bound to."""
        if inspect.ismethod(self._bare):
            return self._bare.__func__, (self._bare.__self__,)
        return self._bare, ()

    def _plain(self, name: str, argument: Any) -> Any:
        try:
            return self._functions[name](argument)
        except Exception as error:
            raise BrokenError(name, error) from error

    async def _call(self, name: str, *arguments: Any) -> Any:
        try:
            return await resolved(self._functions[name](*arguments))
        except Exception as error:
            raise BrokenError(name, error) from error


def count(number: int, what: str) -> str:
    """`3 events`, `1 event`."""
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


async def resolved(value: Any) -> Any:
    """A function's answer, awaited if it is async."""
    return await value if inspect.isawaitable(value) else value


def twice(identities: Iterable[Hashable]) -> list[Hashable]:
    """Those that occur more than once."""
    return [identity for identity, times in Counter(identities).items() if times > 1]


def gave_up(error: BaseException) -> bool:
    return isinstance(error, StaleSessionRetryError)


async def gathered(operations: Iterable[Awaitable[Any]]) -> list[Any]:
    return await asyncio.gather(*operations)


def _plain(append: Any) -> Any:
    """A function with the append's parameters, whatever kind of callable it is."""

    @functools.wraps(append)
    async def plain(*args: Any, **kwargs: Any) -> Any:
        return await append(*args, **kwargs)

    return plain


def _undecorated(append: Any) -> Any:
    if inspect.ismethod(append):
        return MethodType(cast(Any, append.__func__).__wrapped__, append.__self__)
    return append.__wrapped__


def _check(functions: dict[str, Any], policy: Any) -> None:
    if policy is not None:
        if not isinstance(policy, StaleSessionRetrying):
            raise TypeError("append is decorated with retry_transaction; check_store needs append(session, event)")
        given = [name for name in _OF_A_BARE_APPEND if functions[name] is not None]
        if given:
            raise TypeError(
                f"append is decorated and brings its own {', '.join(_OF_A_BARE_APPEND)}; leave out {', '.join(given)}"
            )
    required = _REQUIRED if policy is not None else (*_REQUIRED, "refresh")
    missing = [name for name in required if functions[name] is None]
    if missing:
        raise TypeError(f"check_store needs {', '.join(missing)}")
    for name, value in functions.items():
        if value is not None and name != "on" and not callable(value):
            raise TypeError(f"{name} must be a function, got {value!r}")
    if policy is None and not inspect.iscoroutinefunction(_underlying(functions["append"])):
        raise TypeError(f"append must be an async function, got {functions['append']!r}")


def _underlying(function: Any) -> Any:
    while isinstance(function, functools.partial):
        function = function.func
    return function
