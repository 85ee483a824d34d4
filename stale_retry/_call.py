"""Where the session sits in a call: its leading arguments, and the same call on another session."""

from __future__ import annotations

import difflib
import functools
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from inspect import Parameter, Signature
from typing import Any

from ._checks import accepts, is_async, takes_last
from ._types import Refresh

_POSITIONAL = (Parameter.POSITIONAL_ONLY, Parameter.POSITIONAL_OR_KEYWORD)
_VARIADIC = (Parameter.VAR_POSITIONAL, Parameter.VAR_KEYWORD)


class WrongCall(Exception):
    """The arguments do not fit the function, which says best itself what is wrong with them."""


@dataclass(frozen=True)
class CallShape:
    """What is known about an append before any call of it.

    Attributes:
        signature: the append's own.
        session: the name of the parameter that carries the session.
        before: the names of the positional parameters before it.
        with_receivers: whether the refresh hook also takes what a bound method or a partial already holds.
        takes_more: whether the append takes anything besides its leading arguments, an event above all.
        position: where the session stands among the positional arguments; None where it comes by keyword only.
    """

    signature: Signature
    session: str
    before: tuple[str, ...] = ()
    with_receivers: bool = False
    takes_more: bool = True
    position: int | None = field(init=False)

    def __post_init__(self) -> None:
        positional = self.signature.parameters[self.session].kind in _POSITIONAL
        object.__setattr__(self, "position", len(self.before) if positional else None)

    @classmethod
    def of(cls, append: Callable[..., Any], session: str, refresh: Refresh) -> CallShape:
        """Inspect an append.

        Raises:
            TypeError: it is not a coroutine function, or the refresh hook cannot take its leading arguments.
            ValueError: it has no parameter of that name.
        """
        name = name_of(append)
        refuse_plain_function(append)
        signature = inspect.signature(append)
        parameters = signature.parameters
        if session not in parameters or parameters[session].kind in _VARIADIC:
            close = difflib.get_close_matches(session, parameters, n=1)
            hint = f"; did you mean {close[0]!r}?" if close else ""
            raise ValueError(
                f"session must name a parameter of the append, but {name}{signature} has no {session!r}{hint}"
            )
        names = list(parameters)
        before = tuple(n for n in names[: names.index(session)] if parameters[n].kind in _POSITIONAL)
        bound = _receivers(append)
        takes_more = len(parameters) > len(before) + 1 or isinstance(append, functools.partial)
        for receivers in ((), bound) if bound else ((),):
            position = len(receivers) + len(before)
            if accepts(refresh, position + 1):
                if not takes_last(refresh, session, position + 1):
                    raise TypeError(
                        f"refresh would get the session as its argument number {position + 1}, because it is called "
                        f"with the leading arguments of {name}; but {name_of(refresh)}{inspect.signature(refresh)} has "
                        f"{session!r} elsewhere"
                    )
                return cls(signature, session, before, bool(receivers), takes_more)
        raise TypeError(
            f"refresh must take the leading arguments of {name}, up to and including the session, as "
            f"refresh({', '.join((*before, session))}); {name_of(refresh)}{inspect.signature(refresh)} cannot"
        )

    def session_of(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        """The session of a call.

        Raises:
            WrongCall: there is none.
        """
        position = self.position
        if position is not None and position < len(args):
            return args[position]
        if self.session in kwargs:
            return kwargs[self.session]
        default = self.signature.parameters[self.session].default
        if default is Parameter.empty:
            raise WrongCall
        return default

    def bind(self, append: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Call:
        return Call(append, self, args, kwargs)


class Call:
    """One call of an append: what the caller gave, in which the session and what a hook changes are replaced.

    Attributes:
        append: what is called.
        args, kwargs: the arguments of the coming attempt, each where the caller put it.
    """

    __slots__ = ("_arguments", "_receivers", "_shape", "append", "args", "kwargs")

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
        self._arguments: dict[str, Any] = {}

    @property
    def fits(self) -> bool:
        """Whether the function can be called so."""
        try:
            self._bound()
        except TypeError:
            return False
        return True

    @property
    def is_a_save(self) -> bool:
        """Whether the event can only be inside the session, because the append takes nothing else."""
        return not self._shape.takes_more

    @property
    def session(self) -> Any:
        return self._shape.session_of(self.args, self.kwargs)

    @session.setter
    def session(self, session: Any) -> None:
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

    def arguments(self) -> dict[str, Any]:
        """The arguments of the coming attempt by name, defaults included; `take_over` makes changes count."""
        self._arguments = self._bound()
        return {**self._arguments, **{name: dict(self._arguments[name]) for name in self._variadic_keywords()}}

    def take_over(self, arguments: dict[str, Any]) -> None:
        """Put what a hook changed into the call.

        Raises:
            TypeError: an argument was added that the append does not have.
        """
        parameters = self._shape.signature.parameters
        for name in arguments:
            if name not in parameters:
                raise TypeError(f"conflict.arguments has no {name!r}; there are {', '.join(parameters)}")
        before = self._arguments
        changed = {name: value for name, value in arguments.items() if name not in before or before[name] is not value}
        if len(arguments) < len(before) or any(parameters[n].kind is Parameter.VAR_POSITIONAL for n in changed):
            self._rebuild(arguments)
        else:
            self._replace(changed)

    def _replace(self, changed: Mapping[str, Any]) -> None:
        args, kwargs = list(self.args), dict(self.kwargs)
        for position, (name, parameter) in enumerate(self._shape.signature.parameters.items()):
            if name not in changed:
                continue
            if parameter.kind is Parameter.VAR_KEYWORD:
                named = self._shape.signature.parameters
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
        bound = inspect.BoundArguments(self._shape.signature, arguments)
        self.args, self.kwargs = bound.args, bound.kwargs

    def _variadic_keywords(self) -> list[str]:
        return [n for n, p in self._shape.signature.parameters.items() if p.kind is Parameter.VAR_KEYWORD]

    def _bound(self) -> dict[str, Any]:
        bound = self._shape.signature.bind(*self.args, **self.kwargs)
        bound.apply_defaults()
        return bound.arguments


def refuse_plain_function(function: Any) -> None:
    """Raises:
    TypeError: it is not a coroutine function.
    """
    if not is_async(function):
        raise TypeError(
            f"an append must be a coroutine function (async def); {name_of(function)} is not. "
            f"A function that blocks can be awaited in a thread: asyncio.to_thread"
        )


def name_of(function: Any) -> str:
    """A function's qualified name; for a partial its function's, for a callable object its class's."""
    while isinstance(function, functools.partial):
        function = function.func
    name: str = getattr(function, "__qualname__", None) or type(function).__qualname__
    return name


def _receivers(append: Any) -> tuple[Any, ...]:
    if isinstance(append, functools.partial):
        return (*_receivers(append.func), *append.args)
    if inspect.ismethod(append):
        return (append.__self__,)
    return ()


@functools.lru_cache
def block_shape(session: str) -> CallShape:
    """A block of code has no signature, only a session and what the refresh hook takes before it."""
    return CallShape(Signature([Parameter(session, Parameter.POSITIONAL_OR_KEYWORD)]), session)


async def block() -> None:
    """Stands for a block of code where an append is asked for: tenacity's strategies read its name."""
