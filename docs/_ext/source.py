"""`[source]` next to each name of the reference leads to its line on GitHub."""

from __future__ import annotations

import ast
import functools
import os
from pathlib import Path

PROJECT = Path(__file__).parents[2]
REPOSITORY = "https://github.com/stale-retry/stale-retry"


def linkcode_resolve(domain: str, info: dict[str, str]) -> str | None:
    """Called by `sphinx.ext.linkcode`; None leaves the name without a link."""
    places = definitions().get(info["fullname"], [])
    package = info["module"].replace(".", "/")
    for file, line in sorted(places, key=lambda place: (not place[0].startswith(package + "/"), len(place[0]))):
        if file.startswith(package):
            commit = os.environ.get("READTHEDOCS_GIT_COMMIT_HASH", "main")
            return f"{REPOSITORY}/blob/{commit}/{file}#L{line}"
    return None


@functools.cache
def definitions() -> dict[str, list[tuple[str, int]]]:
    """Where the package defines each name: classes, their methods, functions, and other names of the top level.

    Read from the source, because public names say `stale_retry` for their module wherever they are defined.
    """
    found: dict[str, list[tuple[str, int]]] = {}
    for path in sorted(PROJECT.glob("stale_retry/**/*.py")):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            for name, line in _named(node):
                found.setdefault(name, []).append((path.relative_to(PROJECT).as_posix(), line))
    return found


def _named(node: ast.stmt) -> list[tuple[str, int]]:
    if isinstance(node, ast.Assign):
        return [(target.id, node.lineno) for target in node.targets if isinstance(target, ast.Name)]
    if not isinstance(node, (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
        return []
    inside = [pair for each in node.body for pair in _named(each)] if isinstance(node, ast.ClassDef) else []
    return [(node.name, node.lineno), *((f"{node.name}.{name}", line) for name, line in inside)]
