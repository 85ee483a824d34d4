"""Whatever the tables of "Recognised errors" name is in a test."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs/how-to/recognised-errors.md"
TESTS = [
    *Path(__file__).parent.glob("test_*.py"),
    ROOT / "tests/core/test_detection.py",
    ROOT / "tests/core/test_transient.py",
]
TESTED = {
    word
    for path in TESTS
    if path != Path(__file__)
    for word in re.findall(r"[\w.-]*\w", path.read_text(encoding="utf-8"))
}
TESTED |= {part for word in TESTED for part in word.split(".")}


def rows():
    """The rows of the tables of libraries: what a row names, without examples in quotation marks."""
    wanted = False
    for line in PAGE.read_text(encoding="utf-8").splitlines():
        wanted = line.startswith("| library ") or (wanted and line.startswith("|"))
        cells = line.strip("| ").split(" | ")
        if wanted and not line.startswith(("| library ", "|---")):
            yield pytest.param(" ".join(cells[1:]), id=cells[0])


@pytest.mark.parametrize("cells", rows())
def test_every_error_that_a_row_names_is_in_a_test(cells):
    named = re.findall(r"`([\w.-]+)`", cells) + re.findall(r"\b\d{3,5}\b", re.sub("`.*?`", "", cells))
    assert [name for name in named if name not in TESTED] == []


def test_there_are_rows_of_both_tables():
    assert len(list(rows())) > 50
