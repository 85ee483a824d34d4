"""Writes two texts next to the pages: `llms.txt`, which lists them, and `llms-full.txt`, which holds all of them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from docutils import nodes
from plain import without_directives
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.builders.text import TextBuilder
from sphinx.environment import BuildEnvironment
from sphinx.writers.text import TextTranslator


def in_order(env: BuildEnvironment, page: str) -> Iterator[str]:
    """The page and those below it, in the order of the sidebar."""
    yield page
    for each in env.toctree_includes.get(page, []):
        yield from in_order(env, each)


def listed(app: Sphinx) -> Iterator[str]:
    """A heading for each group of the sidebar, and a line for each page: title, address and first sentence."""
    for group in app.env.get_doctree(app.config.root_doc).findall(addnodes.toctree):
        pages = [page for each in group["includefiles"] for page in in_order(app.env, each)]
        if pages:
            yield f"\n## {group['caption']}\n"
        for page in pages:
            title = app.env.titles[page].astext()
            first = next((each.astext() for each in app.env.get_doctree(page).findall(nodes.paragraph)), "")
            sentence = re.split(r"(?<=[.!?])\s", " ".join(first.split()))[0].rstrip(":")
            yield f"- [{title}]({app.config.html_baseurl}{page}.html){sentence and ': '}{sentence}"


def text_of(app: Sphinx, page: str) -> str:
    """The page's Markdown; where docstrings are part of it, the finished page as plain text."""
    source = Path(app.env.doc2path(page)).read_text(encoding="utf-8")
    if "{include}" in source:
        return (Path(app.srcdir).parent / "CHANGELOG.md").read_text(encoding="utf-8")
    if "{eval-rst}" not in source:
        return without_directives(source)
    builder = TextBuilder(app, app.env)
    builder.init()
    translator = TextTranslator(app.env.get_and_resolve_doctree(page, builder), builder)
    translator.document.walkabout(translator)
    return str(translator.body)


def write(app: Sphinx, error: Exception | None) -> None:
    """Called when the pages are written."""
    if error is not None or app.builder.format != "html":
        return
    about = Path(app.srcdir, "llms.txt").read_text(encoding="utf-8")
    Path(app.outdir, "llms.txt").write_text("\n".join([about.rstrip(), *listed(app)]) + "\n", encoding="utf-8")
    texts = [text_of(app, page).strip() for page in in_order(app.env, app.config.root_doc)]
    Path(app.outdir, "llms-full.txt").write_text("\n\n\n".join(texts) + "\n", encoding="utf-8")


def setup(app: Sphinx) -> dict[str, bool]:
    """Called by Sphinx."""
    app.connect("build-finished", write)
    return {"parallel_read_safe": True}
