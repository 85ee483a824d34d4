"""What pyproject.toml says, with groups and extras written out."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).parents[2]
PYPROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
PROJECT = PYPROJECT["project"]


def group(name: str) -> set[str]:
    """The requirements of a dependency group, those of the groups in it included."""
    found = set()
    for entry in PYPROJECT["dependency-groups"][name]:
        found |= {entry} if isinstance(entry, str) else group(entry["include-group"])
    return found


def extra(name: str) -> set[str]:
    """The requirements of an extra, those of the extras of this project in it included."""
    found = set()
    for requirement in PROJECT["optional-dependencies"][name]:
        own = re.fullmatch(r"stale-retry\[(.+)\]", requirement)
        found |= set().union(*map(extra, own[1].split(","))) if own else {requirement}
    return found


def pythons() -> list[str]:
    """The Pythons that are promised, oldest first: `["3.10", "3.11", ...]`."""
    classifiers = (each.rpartition(" :: ") for each in PROJECT["classifiers"])
    return [version for heading, _, version in classifiers if heading.endswith("Python") and "." in version]
