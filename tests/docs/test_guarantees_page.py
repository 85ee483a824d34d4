"""The page of guarantees names for each one the test that would fail without it; those tests exist."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "why" / "guarantees.md"
NAMED = re.findall(r"\| `(tests/[^`]+)` \|$", PAGE.read_text(encoding="utf-8"), re.MULTILINE)


def test_every_row_of_the_tables_names_a_test():
    rows = [line for line in PAGE.read_text(encoding="utf-8").splitlines() if line.startswith("| ")]
    headings = [line for line in rows if line == "| guarantee | test |"]
    assert len(NAMED) == len(rows) - len(headings) >= 15


@pytest.mark.parametrize("named", sorted(set(NAMED)))
def test_the_test_that_a_guarantee_names_exists(named):
    path, *names = named.split("::")
    scope = ast.parse((ROOT / path).read_text(encoding="utf-8")).body
    for name in names:
        (found,) = [node for node in scope if getattr(node, "name", None) == name]
        scope = [found] if name.startswith("test_") else found.body
    assert any(str(getattr(node, "name", "")).startswith("test_") for tree in scope for node in ast.walk(tree))
