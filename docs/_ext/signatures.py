"""Signatures of the policies as they are written: every option with its type's name and its default.

autodoc would show what the names stand for, unions of ten lines, and `<function full_jitter>` for a default.
"""

from __future__ import annotations

import ast
import inspect
import re
import textwrap
from collections.abc import Callable
from typing import Any

from sphinx.application import Sphinx

OPTION_TYPES = ("ConflictHook", "Jitter", "Key", "Observer", "On", "Refresh", "Seconds", "Stop", "Wait")
QUALIFIED = dict.fromkeys(OPTION_TYPES, "stale_retry.typing")
QUALIFIED |= dict.fromkeys(("Callable", "Hashable", "Iterable", "Mapping", "Sequence"), "collections.abc")


def as_written(what: str, name: str, found: Any, options: Any, signature: str | None, returned: str | None) -> Any:
    """Called by autodoc with each signature; None leaves it as it is."""
    function: Callable[..., Any] = found.__init__ if inspect.isclass(found) else found
    if what not in ("class", "function"):
        return None
    try:
        (definition,) = ast.parse(textwrap.dedent(inspect.getsource(inspect.unwrap(function)))).body
    except (OSError, TypeError):  # it has no source: a dataclass' `__init__`, a builtin
        return None
    if not isinstance(definition, ast.FunctionDef):
        return None
    arguments = definition.args
    every = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
    words = {word for each in every if each.annotation for word in re.findall(r"\w+", ast.unparse(each.annotation))}
    if len(words & {*OPTION_TYPES}) < 3:
        return None
    if inspect.isclass(found):
        del arguments.args[0]
    for each in every:
        if each.annotation:
            words = re.sub(r"\b[A-Z]\w+", lambda found: _qualified(found[0]), ast.unparse(each.annotation))
            each.annotation = ast.parse(words, mode="eval").body
    text = ast.unparse(arguments)
    return f"({text})", None if inspect.isclass(found) else returned


def _qualified(name: str) -> str:
    return f"{QUALIFIED[name]}.{name}" if name in QUALIFIED else name


def setup(app: Sphinx) -> dict[str, bool]:
    """Called by Sphinx."""
    app.connect("autodoc-process-signature", lambda app, *signature: as_written(*signature))
    return {"parallel_read_safe": True}
