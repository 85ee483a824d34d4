"""From `package.module:name` on the command line to the arguments of `check_store`."""

from __future__ import annotations

import difflib
import importlib
import inspect
import os
import sys
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any, cast

from ._check_store import check_store
from ._user_store import resolved, said

_PARAMETERS = inspect.signature(check_store).parameters
REQUIRED = tuple(name for name, parameter in _PARAMETERS.items() if parameter.default is parameter.empty)


class TargetError(Exception):
    """Raised for what is wrong with the description of a store; the message is for its author."""


def found(target: str) -> Any:
    """What `package.module:name` names. Modules are looked for in the current directory too.

    Raises:
        TargetError: there is no such thing.
    """
    module_name, _, name = target.partition(":")
    if not module_name or not name:
        raise TargetError(f"expected package.module:name, got {target!r}")
    if os.getcwd() not in sys.path:  # noqa: PTH109  # sys.path has strings
        sys.path.insert(0, os.getcwd())  # noqa: PTH109
    try:
        value: Any = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is not None and f"{module_name}.".startswith(f"{error.name}."):
            raise TargetError(f"there is no module {error.name!r} here or among the installed packages") from error
        raise TargetError(f"importing {module_name} raised {said(error)}") from error
    except Exception as error:
        raise TargetError(f"importing {module_name} raised {said(error)}") from error
    for part in name.split("."):
        try:
            value = getattr(value, part)
        except AttributeError:
            raise TargetError(f"{module_name} has no {name!r}") from None
    return value


@asynccontextmanager
async def opened(target: str, described: Any) -> AsyncGenerator[dict[str, Any]]:
    """The arguments of `check_store`, from a mapping or from a function that returns one, plain, async, or an async
    context manager that is left at the end.

    Raises:
        TargetError: it is neither, raises, or lacks something.
    """
    value = described
    if callable(value):
        try:
            value = await resolved(cast(Callable[[], Any], value)())
        except Exception as error:
            raise TargetError(f"{target} raised {said(error)}") from error
    if hasattr(value, "__aenter__"):
        async with value as mapping:
            yield _arguments(target, mapping)
    else:
        yield _arguments(target, value)


def _arguments(target: str, mapping: Any) -> dict[str, Any]:
    if not isinstance(mapping, Mapping):
        raise TargetError(f"{target} must be a mapping or a function that returns one, got a {type(mapping).__name__}")
    given = dict(cast("Mapping[str, Any]", mapping))
    for name in given:
        if name not in _PARAMETERS:
            close = difflib.get_close_matches(name, _PARAMETERS, n=1)
            hint = f"did you mean {close[0]!r}?" if close else f"there are {', '.join(_PARAMETERS)}"
            raise TargetError(f"{target} has the unknown key {name!r}; {hint}")
    missing = [name for name in REQUIRED if name not in given]
    if missing:
        raise TargetError(f"{target} lacks {', '.join(missing)}; check_store needs {', '.join(REQUIRED)}")
    return {name: given.get(name, parameter.default) for name, parameter in _PARAMETERS.items()}
