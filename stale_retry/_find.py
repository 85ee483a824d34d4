"""`find_stored`: which of the append's parameters it names, and how it is called."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Mapping
from inspect import Parameter
from typing import Any

from ._checks import name_of
from ._types import FindStored


class Finder:
    """Calls `find_stored` with the arguments that it names, by name."""

    def __init__(self, find_stored: FindStored) -> None:
        self.function = find_stored
        parameters = list(inspect.signature(find_stored).parameters.values())
        for parameter in parameters:
            if parameter.kind in (Parameter.POSITIONAL_ONLY, Parameter.VAR_POSITIONAL):
                raise TypeError(
                    f"find_stored is called by name, but {name_of(find_stored)}{inspect.signature(find_stored)} takes "
                    f"{parameter} by position only; name the parameters of the append that it needs"
                )
        self.takes_all: bool = any(parameter.kind is Parameter.VAR_KEYWORD for parameter in parameters)
        self.names: set[str] = {p.name for p in parameters if p.kind is not Parameter.VAR_KEYWORD}
        self.required: set[str] = self.names - {p.name for p in parameters if p.default is not Parameter.empty}

    def refuse_unless_met(self, append: Callable[..., Any] | str, names: Collection[str]) -> None:
        """Raises:
        TypeError: it needs a parameter that the append does not have.
        """
        missing = sorted(self.required.difference(names))
        if missing:
            called = append if isinstance(append, str) else f"{name_of(append)}({', '.join(names)})"
            raise TypeError(
                f"find_stored must name parameters of the append, but {called} has no {missing[0]!r}; "
                f"{name_of(self.function)}{inspect.signature(self.function)} is called by name"
            )

    def __call__(self, arguments: Mapping[str, Any]) -> Any:
        if self.takes_all:
            return self.function(**arguments)
        return self.function(**{name: value for name, value in arguments.items() if name in self.names})
