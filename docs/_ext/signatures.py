"""Signatures of the policies: every option with the name of its type and its default.

The policies take `**options` and declare them in `OPTIONS`, so autodoc has nothing to show.
"""

from __future__ import annotations

import ast
import functools
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sphinx.application import Sphinx

PACKAGE = Path(__file__).parents[2] / "stale_retry"
OPTION_TYPES = re.compile(
    r"\b(?:ConflictHook|FindStored|Jitter|Key|Observer|On|Refresh|Seconds|Stop|TransactionKey|Wait)\b"
)
COLLECTIONS = re.compile(r"\b(?:Callable|Hashable|Iterable|Mapping|Sequence)\b")


def options_of(policy: Any) -> dict[str, tuple[str, str | None]]:
    """(type, default) of each option, as written in the source; None for no default."""
    typed = _types()
    names = policy.OPTIONS
    types = {**typed["_CommonOptions"], **typed["OptionsButRefresh"], **typed["Options"]}
    if "session" not in names:
        types |= typed["TransactionOptions"]
    return {name: (types[name], None if name == "refresh" else _defaults()[name]) for name in names}


@functools.cache
def _types() -> dict[str, dict[str, str]]:
    classes = [node for node in _parsed("_types").body if isinstance(node, ast.ClassDef)]
    return {
        each.name: {
            node.target.id: ast.unparse(node.annotation)
            for node in each.body
            if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name)
        }
        for each in classes
    }


@functools.cache
def _defaults() -> dict[str, str]:
    (declared,) = [
        node.value
        for node in _parsed("_policy").body
        if isinstance(node, ast.AnnAssign) and isinstance(node.value, ast.Dict) and ast.unparse(node.target) == "ALL"
    ]
    found: dict[str, str] = {}
    for name, option in zip(declared.keys, declared.values, strict=True):
        if isinstance(name, ast.Constant) and isinstance(option, ast.Call):
            default = option.args[0]
            # Options that take one function or several are normalised to a tuple; users write None for the default.
            found[name.value] = "None" if isinstance(default, ast.Tuple) else ast.unparse(default)
    return found


def _parsed(module: str) -> ast.Module:
    return ast.parse((PACKAGE / f"{module}.py").read_text(encoding="utf-8"))


def signature_of(policy: Any) -> str:
    shown = [
        f"{name}: {_qualified(kind)}" + (f" = {default}" if default is not None else "")
        for name, (kind, default) in options_of(policy).items()
    ]
    required = [each for each in shown if " = " not in each]
    return f"({', '.join([*required, '*', *[each for each in shown if ' = ' in each]])})"


def _qualified(kind: str) -> str:
    return OPTION_TYPES.sub(r"stale_retry.typing.\g<0>", COLLECTIONS.sub(r"collections.abc.\g<0>", kind))


def as_declared(app: Sphinx, what: str, name: str, found: Any, *rest: Any) -> tuple[str, None] | None:
    """Called by autodoc with each signature; None leaves it as it is."""
    is_policy = name in ("stale_retry.retry_on_stale_session", "stale_retry.retry_transaction")
    return (signature_of(found), None) if is_policy else None


def setup(app: Sphinx) -> dict[str, bool]:
    """Called by Sphinx."""
    app.connect("autodoc-process-signature", as_declared)
    return {"parallel_read_safe": True}
