"""Where the session sits in a call: its leading arguments, and the same call on another session."""

from __future__ import annotations

import functools
import inspect
import io
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from inspect import Parameter, Signature
from typing import Any, cast

from ._checks import accepts, is_async, is_async_generator, name_of, takes_exactly
from ._policy import Policy

_POSITIONAL = (Parameter.POSITIONAL_ONLY, Parameter.POSITIONAL_OR_KEYWORD)
_VARIADIC = (Parameter.VAR_POSITIONAL, Parameter.VAR_KEYWORD)


class WrongCall(Exception):
    """The arguments do not fit the function, whose own error says best what is wrong with them."""


class CallShape:
    """What is known about a function before any call of it.

    Attributes:
        session: the name of the parameter that carries the session; empty where there is none.
        before: the names of the positional parameters before it.
        position: where the session, or the key, stands among the positional arguments; None where it comes by keyword.
        with_receivers: whether the refresh hook also takes what a bound method or a partial already holds.
        is_a_save: whether no argument has to follow the session, so that the event may be inside it.
    """

    def __init__(self, append: Callable[..., Any], policy: Policy, *, keep_signature: bool = True) -> None:
        refuse_plain_function(append, policy.WORDS.append)
        signature = inspect.signature(append)
        # What is kept for calls that come again must not lead back to the function, which a default may do.
        self._signature = signature if keep_signature else None
        self.session = policy.session
        self.before: tuple[str, ...] = ()
        self.position: int | None = None
        self.with_receivers = False
        self.is_a_save = False
        if policy.refresh is not None:
            self._find_session(append, signature, policy.refresh)
        if policy.finder is not None:
            policy.finder.refuse_unless_met(append, [*_receiver_names(append), *signature.parameters])

    def _find_session(self, append: Callable[..., Any], signature: Signature, refresh: Callable[..., Any]) -> None:
        session, parameters = self.session, signature.parameters
        if session not in parameters or parameters[session].kind in _VARIADIC:
            raise ValueError(
                f"session must name a parameter of the append, but {name_of(append)}{signature} has no {session!r}; "
                f"{_cure_for_session(session, list(parameters))}"
            )
        names = list(parameters)
        self.before = tuple(n for n in names[: names.index(session)] if parameters[n].kind in _POSITIONAL)
        if parameters[session].kind in _POSITIONAL:
            self.position = len(self.before)
        others = [parameters[name] for name in names if name not in (*self.before, session)]
        needs_more = any(p.default is Parameter.empty and p.kind not in _VARIADIC for p in others)
        self.is_a_save = not needs_more and not isinstance(cast(Any, append), functools.partial)
        receivers = _receivers(append)
        for held in ((), receivers) if receivers else ((),):
            count = len(held) + len(self.before) + 1
            if accepts(refresh, count):
                self._refuse_misbound(append, refresh, count)
                self.with_receivers = bool(held)
                return
        raise TypeError(
            f"refresh must take the leading arguments of {name_of(append)}, up to and including the session, as "
            f"refresh({', '.join((*self.before, session))}); {name_of(refresh)}{inspect.signature(refresh)} cannot"
        )

    def _refuse_misbound(self, append: Callable[..., Any], refresh: Any, count: int) -> None:
        if takes_exactly(refresh, count):
            try:
                names = list(inspect.signature(refresh).parameters)
            except (TypeError, ValueError):
                return
            if self.session not in names or names.index(self.session) == count - 1:
                return
        raise TypeError(
            f"refresh is called with the leading arguments of {name_of(append)}, so it would get the session as its "
            f"argument number {count}; {name_of(refresh)}{inspect.signature(refresh)} takes something else there. "
            f"Write it as refresh({', '.join((*self.before, self.session))})"
        )

    def signature_of(self, append: Callable[..., Any]) -> Signature:
        return inspect.signature(append) if self._signature is None else self._signature

    def key_of(self, append: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        """What the policy's key is asked about: the session of a call.

        Raises:
            WrongCall: there is none.
        """
        position = self.position
        if position is not None and position < len(args):
            return args[position]
        if self.session in kwargs:
            return kwargs[self.session]
        default = self.signature_of(append).parameters[self.session].default
        if default is Parameter.empty:
            raise WrongCall
        return default


class Call:
    """One call: what the caller gave, in which the session and what a hook changes are replaced.

    Attributes:
        append: what is called.
        args, kwargs: the arguments of the coming attempt, each where the caller put it.
    """

    __slots__ = ("_receivers", "_shape", "append", "args", "kwargs")

    def __init__(
        self,
        append: Callable[..., Any],
        shape: CallShape,
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
        receivers: tuple[Any, ...] | None = None,
    ) -> None:
        self.append: Callable[..., Any] = append
        self.args: tuple[Any, ...] = args
        self.kwargs: Mapping[str, Any] = kwargs
        self._shape = shape
        if receivers is None:
            receivers = _receivers(append) if shape.with_receivers else ()
        self._receivers = receivers

    @property
    def fits(self) -> bool:
        """Whether the function can be called so."""
        try:
            self.signature.bind(*self.args, **self.kwargs)
        except TypeError:
            return False
        return True

    @property
    def signature(self) -> Signature:
        return self._shape.signature_of(self.append)

    @property
    def is_a_save(self) -> bool:
        """Whether the event may be inside the session, because nothing that must be given follows it."""
        return self._shape.is_a_save and not self._has_variadic_arguments

    @property
    def _has_variadic_arguments(self) -> bool:
        named = [p for p in self.signature.parameters.values() if p.kind in _POSITIONAL]
        return len(self.args) > len(named)

    @property
    def session(self) -> Any:
        shape = self._shape
        return shape.key_of(self.append, self.args, self.kwargs) if shape.session else None

    @session.setter
    def session(self, session: Any) -> None:
        position = self._shape.position
        if position is not None and position < len(self.args):
            self.args = (*self.args[:position], session, *self.args[position + 1 :])
        else:
            self._replace({self._shape.session: session})

    @property
    def leading(self) -> tuple[Any, ...]:
        """The positional arguments up to and including the session, for the refresh hook."""
        shape, receivers = self._shape, self._receivers
        position = shape.position
        if position is not None and position < len(self.args):
            return (*receivers, *self.args[: position + 1])
        arguments = self._bound()
        return (*receivers, *(arguments[name] for name in shape.before), arguments[shape.session])

    def arguments(self) -> tuple[dict[str, Any], Arguments]:
        """The arguments of the coming attempt by name, defaults included, and a copy that a hook may change."""
        arguments = self._bound()
        keywords = [n for n, p in self.signature.parameters.items() if p.kind is Parameter.VAR_KEYWORD]
        return arguments, Arguments({**arguments, **{name: dict(arguments[name]) for name in keywords}})

    def named(self) -> dict[str, Any]:
        """The same for `find_stored`, with what a bound method or a partial already holds."""
        receivers = dict(zip(_receiver_names(self.append), _receivers(self.append), strict=False))
        return {**receivers, **self._bound()}

    def take_over(self, before: dict[str, Any], arguments: dict[str, Any]) -> None:
        """Put what a hook changed into the call.

        Raises:
            TypeError: an argument was added that the append does not have.
        """
        parameters = self.signature.parameters
        for name in arguments:
            if name not in parameters:
                raise TypeError(f"conflict.arguments has no {name!r}; there are {', '.join(parameters)}")
        changed = {name: value for name, value in arguments.items() if name not in before or before[name] is not value}
        if len(arguments) < len(before) or any(parameters[n].kind is Parameter.VAR_POSITIONAL for n in changed):
            self._rebuild(arguments)
        elif changed:
            self._replace(changed)

    def read_once(self) -> str | None:
        """The name of an argument that cannot be read by a second attempt, if there is one."""
        leading = self._shape.position
        rest = self.args if leading is None or not self._shape.session else self.args[leading + 1 :]
        if not any(map(_is_read_once, (*rest, *self.kwargs.values()))):
            return None
        for name, value in self._bound().items():
            if name in (*self._shape.before, self._shape.session):
                continue
            kind = self.signature.parameters[name].kind
            values = value if kind is Parameter.VAR_POSITIONAL else (value,)
            if any(map(_is_read_once, value.values() if kind is Parameter.VAR_KEYWORD else values)):
                return name
        return None

    def _replace(self, changed: Mapping[str, Any]) -> None:
        args, kwargs = list(self.args), dict(self.kwargs)
        named = self.signature.parameters
        for position, (name, parameter) in enumerate(named.items()):
            if name not in changed:
                continue
            if parameter.kind is Parameter.VAR_KEYWORD:
                kwargs = {**{key: value for key, value in kwargs.items() if key in named}, **changed[name]}
            elif parameter.kind in _POSITIONAL and position < len(args):
                args[position] = changed[name]
            elif parameter.kind is Parameter.POSITIONAL_ONLY:
                return self._rebuild({**self._bound(), **changed})
            else:
                kwargs[name] = changed[name]
        self.args, self.kwargs = tuple(args), kwargs
        return None

    def _rebuild(self, arguments: dict[str, Any]) -> None:
        """The plain way, which forgets what came by keyword."""
        bound = inspect.BoundArguments(self.signature, dict(arguments))
        self.args, self.kwargs = bound.args, bound.kwargs

    def _bound(self) -> dict[str, Any]:
        bound = self.signature.bind(*self.args, **self.kwargs)
        bound.apply_defaults()
        return bound.arguments


class Arguments(dict[str, Any]):
    """A conflict's arguments, which remember whether a hook assigned one."""

    assigned = False

    def __setitem__(self, name: str, value: Any) -> None:
        self.assigned = True
        super().__setitem__(name, value)

    def update(self, *args: Any, **kwargs: Any) -> None:
        self.assigned = True
        super().update(*args, **kwargs)


def refuse_plain_function(function: Any, what: str) -> None:
    """Raises:
    TypeError: it is not a coroutine function.
    """
    if is_async_generator(function):
        raise TypeError(
            f"{what} must be a coroutine function (async def that returns), but {name_of(function)} is an async "
            f"generator; retry each append inside it instead"
        )
    if not is_async(function):
        raise TypeError(
            f"{what} must be a coroutine function (async def), but {name_of(function)} is not; "
            f"await a function that blocks in a thread: asyncio.to_thread"
        )


def _cure_for_session(session: str, names: list[str]) -> str:
    import difflib

    close = difflib.get_close_matches(session, names, n=1)
    if close:
        return f"did you mean {close[0]!r}?"
    first = [name for name in names if name not in ("self", "cls")][:1]
    return f"give session={first[0]!r}, or whatever the parameter is called" if first else "it takes no arguments"


def _is_read_once(value: Any) -> bool:
    return isinstance(value, (Iterator, AsyncIterator, io.IOBase))


def _receivers(append: Any) -> tuple[Any, ...]:
    if isinstance(append, functools.partial):
        return (*_receivers(append.func), *append.args)
    if inspect.ismethod(append):
        return (append.__self__,)
    return ()


def _receiver_names(append: Any) -> list[str]:
    held = _receivers(append)
    function: Any = append.func if isinstance(append, functools.partial) else append
    return list(inspect.signature(getattr(function, "__func__", function)).parameters)[: len(held)] if held else []


async def _block(session: Any) -> None:
    """Stands for a block of code where an append is asked for: tenacity's strategies read its name."""


_block.__name__ = _block.__qualname__ = "block"


class BlockShape(CallShape):
    """A block of code has no signature, only a session and what the refresh hook takes before it."""

    def __init__(self) -> None:
        self._signature = inspect.signature(_block)
        self.session = "session"
        self.before = ()
        self.position = 0
        self.with_receivers = True
        self.is_a_save = False


_block_shape = BlockShape()


def block_call(leading: tuple[Any, ...]) -> Call:
    return Call(_block, _block_shape, leading[-1:], {}, receivers=leading[:-1])
