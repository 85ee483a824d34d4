"""Public names show themselves where users import them from: in tracebacks, documentation and pickles."""

from __future__ import annotations

import inspect
import typing
from collections.abc import Iterable
from types import ModuleType

_PUBLIC = ("stale_retry", "stale_retry.adk", "stale_retry.turns", "stale_retry.typing")


def show_as_own(module: ModuleType, names: Iterable[str]) -> None:
    """Let the module be the home of those of its public names which no other public module has."""
    for name in names:
        thing = getattr(module, name)
        is_own = inspect.isclass(thing) or inspect.isfunction(thing)
        if not is_own or typing.get_origin(thing) is not None or thing.__module__ in _PUBLIC:
            continue  # Python 3.10 takes an alias such as `Callable[..., None]` for a class
        own = vars(thing).get("__annotations__") if inspect.isclass(thing) else None
        if own:  # their names are looked up in the class's module, which they would not be found in any more
            hints = typing.get_type_hints(thing, include_extras=True)
            thing.__annotations__ = {field: hints[field] for field in own}
        thing.__module__ = module.__name__
