"""The project writes plain English: words and phrases that mark a translated sentence are counted, and get fewer."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TEXTS = sorted(
    {
        ROOT / "README.md",
        ROOT / "CHANGELOG.md",
        *(ROOT / ".github").glob("*.md"),
        *(
            page
            for page in (ROOT / "docs").rglob("*")
            if page.suffix in (".md", ".py", ".txt") and "_build" not in page.parts
        ),
        *(ROOT / "stale_retry").rglob("*.py"),
    }
)

MOST_WORDS, MOST_PHRASES = 14, 0
"""How many there may be. Lower these with each edit, and never raise them."""

WORDS = [
    r"anew",
    r"beside",
    r"mend(?:s|ed|ing)?",
    r"shall",
    r"nor",
    r"whoever",
    r"hence",
    r"he|him|his",
    r"seldom",
    r"such are",
    r"(?:is|are|was|were|be) had",
    r"made to",
    r"takes? (?:\w+ ){1,3}for (?:a|an|the|one)",
    r"for ever",
]
WHO = r"(?:^|[.;:!?|]\s+|[-*#]\s+|\"\"\"|\b(?:so|by|for|than|to|of|and|or|but|overtakes|nobody shall)\s+)who(?=\s)"
"""No noun before it."""

PHRASES = [
    # how a sentence of the second version began or went on, with the plain one next to it in the writers' guide
    "waits a little and for its place",
    "who only waited for others",
    "made anew under its id",
    "not before the place is had",
    "who has lost his lease",
    "a 500 without words",
    "nobody shall wait either",
    "a place that nobody has",
    "waiting counts to",
    "losers meet again",
    "not ours to mend",
    "to look at.",
    "whose append nobody answered",
    # and what a new reader stumbled over
    "can a little less than",
    "nothing lost beside it",
    "one order for ever",
    "begins with it.",
    "there is no place for the line",
    "that would have to wait, and who",
    "who had to wait refreshes",
    "who comes while others wait",
    "what your function owes",
    "stored already for a conflict",
    "so who waits holds none",
    "who only adds child rows",
    "does not belong into",
    "was made anew for the session",
    "must not stand alone, or it takes",
    "who made his function idempotent",
    "nobody overtakes who",
    "say so in his words",
    "answer past each other",
    "with what is stored for a rejection",
]


def words(text: str) -> Iterator[tuple[int, str]]:
    """The marked words, as (line, words)."""
    for pattern in [rf"\b(?:{word})\b" for word in WORDS] + [WHO]:
        for found in re.finditer(pattern, text, re.IGNORECASE | re.MULTILINE):
            yield text.count("\n", 0, found.end()) + 1, found[0].strip()


def phrases(text: str) -> Iterator[tuple[int, str]]:
    """The phrases, which may go over the end of a line, or of a comment's line."""
    for phrase in PHRASES:
        spaced = r"[\s#>]+".join(re.escape(word) for word in phrase.split())
        for found in re.finditer(spaced, text, re.IGNORECASE):
            yield text.count("\n", 0, found.start()) + 1, phrase


@pytest.mark.parametrize(("marks", "most"), [(words, MOST_WORDS), (phrases, MOST_PHRASES)], ids=["words", "phrases"])
def test_marked_words_and_phrases_become_fewer(marks, most):
    found = [
        f"{path.relative_to(ROOT)}:{line}: {mark}"
        for path in TEXTS
        for line, mark in sorted(marks(path.read_text(encoding="utf-8")))
    ]
    assert len(found) <= most, "\n".join([f"{len(found)} found, at most {most} allowed:", *found])


@pytest.mark.parametrize(
    ("text", "marked"),
    [
        ("Who waits refreshes.", ["Who"]),
        ("A caller that waited refreshes; a caller who waits does not.", []),
        ("It holds none, so who waits is free.", ["so who"]),
        ("made\n# anew", ["anew"]),
        ("Waiting counts\n    # to the deadline", ["waiting counts to"]),
        ("This, then, and another one. Mention it to her.", []),
    ],
)
def test_a_mark_is_found_where_a_line_ends_and_not_inside_another_word(text, marked):
    assert [found for _, found in [*words(text), *phrases(text)]] == marked
