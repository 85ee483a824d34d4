"""Pages fit their readers: no code is cut off, links to the site lead somewhere, nothing is left out."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
SITE = "https://stale-retry.readthedocs.io/en/latest/"
PAGES = sorted(page for page in DOCS.rglob("*.md") if "_build" not in page.parts)
DOCUMENTS = [ROOT / "README.md", *PAGES]
WIDEST = 88
"""Columns of a code line that a page shows without a scroll bar."""


def code_lines(text, docs):
    """Of every block of a documentation page, and of the README's Python: its commands are to be copied as one line."""
    for block in re.findall(r"^(```+)([^\n]*)\n(.*?)^\1$", text, re.MULTILINE | re.DOTALL):
        if block[1] == "python" or (docs and not block[1].startswith("{")):
            yield from block[2].splitlines()


def file_of(link):
    """The file that a link to the site is made from."""
    page, _, anchor = link.removeprefix(SITE).partition("#")
    if page.startswith("_static/"):
        return DOCS / page, ""
    return DOCS / f"{page.removesuffix('.html')}.md", anchor


def anchors(page):
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", DOCUMENTS, ids=lambda page: str(page.relative_to(ROOT)))
def test_no_code_line_is_wider_than_a_page_shows(page):
    lines = code_lines(page.read_text(encoding="utf-8"), page.is_relative_to(DOCS))
    assert [line for line in lines if len(line) > WIDEST] == []


@pytest.mark.parametrize("name", ["README.md", "docs/llms.txt"])
def test_a_link_to_the_documentation_leads_somewhere(name):
    links = re.findall(rf"{SITE}[^\s)\"]+", (ROOT / name).read_text(encoding="utf-8"))
    assert len(links) >= 5
    for link in links:
        file, anchor = file_of(link)
        assert file.is_file(), link
        assert not anchor or anchor in anchors(file), link


def test_the_readme_has_no_link_that_only_a_copy_of_the_repository_can_follow():
    targets = re.findall(r"\]\(([^)]+)\)", (ROOT / "README.md").read_text(encoding="utf-8"))
    assert [target for target in targets if not target.startswith(("https://", "#"))] == []


def test_every_page_is_in_llms_txt_or_is_a_recipe_or_a_list_of_pages():
    text = (DOCS / "llms.txt").read_text(encoding="utf-8")
    named = {str(page.relative_to(DOCS).with_suffix(".html")) for page in PAGES}
    left_out = {page for page in named if f"{SITE}{page})" not in text}
    allowed = {"index.html", "how-to/index.html", "reference/index.html", "why/index.html"}
    assert {page for page in left_out if not page.startswith("recipes/")} <= allowed
