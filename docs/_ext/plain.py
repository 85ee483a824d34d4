"""Markdown without what only Sphinx understands."""

from __future__ import annotations

import re

PICTURE = re.compile(r"^```\{picture\} \S+\n(.*?)^```$", re.MULTILINE | re.DOTALL)
DIRECTIVE = re.compile(r"^(```+|:::+)\{(?:toctree|container)\}.*?^\1$\n?|^---\n.*?^---\n", re.MULTILINE | re.DOTALL)


def without_directives(markdown: str) -> str:
    """The text without the directives that lay a page out; of a picture, its description stays."""
    return DIRECTIVE.sub("", PICTURE.sub(r"Picture: \1", markdown))
