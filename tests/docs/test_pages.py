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


def prose(page):
    """The text of a page without its blocks of code."""
    return re.sub(r"^(```+).*?^\1$", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)


def headings(page):
    """The anchors of a page, as the site makes them."""
    texts = re.findall(r"^#{1,3} (.+)$", prose(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", text.lower()).replace(" ", "-") for text in texts}


def links(page):
    """(link, file, anchor) of each link in the document that leads into the documentation."""
    text = prose(page)
    for link in [*re.findall(r"\]\(([^)\s]+)\)", text), *re.findall(rf"{SITE}[^\s)\"]+", text)]:
        address, _, anchor = link.partition("#")
        if link.startswith(SITE):
            file = DOCS / re.sub(r"\.html$", ".md", address.removeprefix(SITE))
        elif ":" in link:
            continue
        else:
            file = page.parent / address if address else page
        yield link, file, anchor


@pytest.mark.parametrize("page", DOCUMENTS, ids=lambda page: str(page.relative_to(ROOT)))
def test_no_code_line_is_wider_than_a_page_shows(page):
    lines = code_lines(page.read_text(encoding="utf-8"), page.is_relative_to(DOCS))
    assert [line for line in lines if len(line) > WIDEST] == []


@pytest.mark.parametrize("page", DOCUMENTS, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_into_the_documentation_leads_somewhere(page):
    dead = [
        link for link, file, anchor in links(page) if not file.is_file() or (anchor and anchor not in headings(file))
    ]
    assert dead == []


def test_links_are_found():
    assert sum(len([*links(page)]) for page in DOCUMENTS) > 100
    assert len([*links(ROOT / "README.md")]) >= 5


@pytest.mark.parametrize("page", DOCUMENTS, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_file_of_the_project_that_a_page_names_is_there(page):
    named = re.findall(r"`((?:tests|docs|stale_retry)/[\w/.-]+)", page.read_text(encoding="utf-8"))
    assert [name for name in named if not (ROOT / name).exists()] == []


def test_the_readme_has_no_link_that_only_a_copy_of_the_repository_can_follow():
    targets = re.findall(r"\]\(([^)]+)\)", (ROOT / "README.md").read_text(encoding="utf-8"))
    assert [target for target in targets if not target.startswith(("https://", "#"))] == []
