"""Writes docs/reference/wrong-stores.md: `PYTHONPATH=. python tests/testing/wrong_stores_page.py`."""

from pathlib import Path

if __package__:
    from .wrong_stores import WRONG, MemoryStore
else:
    from wrong_stores import WRONG, MemoryStore

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "wrong-stores.md"

HEAD = """\
# What wrong stores fail

[`check_store`](../how-to/check-your-store.md) is tested with stores that are each wrong in one way. This is what it
says of them; a test keeps the table true. A check is *not judged* where it would say nothing: a check that it builds on
has failed, or the store never rejects anything.

| a store that | fails | not judged |
|---|---|---|
"""


def page():
    rows = []
    for wrong in WRONG:
        not_judged = wrong.cannot_run
        if not_judged != "all others":
            not_judged = ", ".join(check for check in not_judged if check not in MemoryStore.cannot_run)
        rows.append(f"| {wrong.__doc__} | {', '.join(wrong.fails)} | {not_judged} |\n")
    return HEAD + "".join(rows)


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
