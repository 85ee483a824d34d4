"""Where the session sits in a call: its leading arguments, and the same call on another session."""

from __future__ import annotations

import difflib
import functools
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from inspect import BoundArguments, Parameter, Signature
from typing import Any

from ._options import accepts, is_async

_POSITIONAL = (Parameter.POSITIONAL_ONLY, Parameter.POSITIONAL_OR_KEYWORD)
_VARIADIC = (Parameter.VAR_POSITIONAL, Parameter.VAR_KEYWORD)


@dataclass(frozen=True)
class CallShape:
    """What is known about an append before any call of it.

    Attributes:
        signature: the append's own.
        session: the name of the parameter that carries the session.
        before: the names of the positional parameters before it.
        with_receivers: whether the refresh hook also takes what a bound method or a partial already holds.
    """

    signature: Signature
    session: str
    before: tuple[str, ...] = ()
    with_receivers: bool = False

    @classmethod
    def of(cls, append: Callable[..., Any], session: str, refresh: Callable[..., Any]) -> CallShape:
        """Inspect an append.

        Raises:
            TypeError: it is not a coroutine function, or the refresh hook cannot take its leading arguments.
            ValueError: it has no parameter of that name.
        """
        name = name_of(append)
        if not is_async(append):
            raise TypeError(f"an append must be a coroutine function (async def); {name} is not")
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
        if accepts(refresh, len(before) + 1):
            return cls(signature, session, before)
        receivers = _receivers(append)
        if receivers and accepts(refresh, len(receivers) + len(before) + 1):
            return cls(signature, session, before, with_receivers=True)
        raise TypeError(
            f"refresh must take the leading arguments of {name}, up to and including the session, as "
            f"refresh({', '.join((*before, session))}); {name_of(refresh)}{inspect.signature(refresh)} cannot"
        )

    def bind(self, append: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Call:
        bound = self.signature.bind(*args, **kwargs)
        bound.apply_defaults()
        return Call(self, bound, _receivers(append) if self.with_receivers else (), (args, kwargs))


class Call:
    """One call of an append: the arguments of its coming attempt, by name, free to change.

    Attributes:
        given: the arguments that the caller gave, by position and by keyword.
    """

    __slots__ = ("_bound", "_receivers", "_shape", "given")

    def __init__(
        self,
        shape: CallShape,
        bound: BoundArguments,
        receivers: tuple[Any, ...],
        given: tuple[tuple[Any, ...], Mapping[str, Any]],
    ) -> None:
        self.given = given
        self._shape = shape
        self._bound = bound
        self._receivers = receivers

    @classmethod
    def of_block(cls, name: str, receivers: tuple[Any, ...], session: Any) -> Call:
        """A block of code: it has no signature, only a session."""
        shape = _block_shape(name)
        bound = BoundArguments(shape.signature, {name: session})
        return cls(shape, bound, receivers, given=((*receivers, session), {}))

    @property
    def arguments(self) -> dict[str, Any]:
        return self._bound.arguments

    @property
    def args(self) -> tuple[Any, ...]:
        return self._bound.args

    @property
    def kwargs(self) -> dict[str, Any]:
        return self._bound.kwargs

    @property
    def session(self) -> Any:
        return self._bound.arguments[self._shape.session]

    @session.setter
    def session(self, session: Any) -> None:
        self._bound.arguments[self._shape.session] = session

    @property
    def leading(self) -> tuple[Any, ...]:
        """The positional arguments up to and including the session."""
        return (*self._receivers, *(self._bound.arguments[name] for name in self._shape.before), self.session)

    def refuse_new_arguments(self) -> None:
        """Raises:
        TypeError: a conflict hook added an argument that the append does not have.
        """
        parameters = self._shape.signature.parameters
        for name in self._bound.arguments:
            if name not in parameters:
                raise TypeError(f"conflict.arguments has no {name!r}; there are {', '.join(parameters)}")


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
def _block_shape(session: str) -> CallShape:
    return CallShape(Signature([Parameter(session, Parameter.POSITIONAL_OR_KEYWORD)]), session)
