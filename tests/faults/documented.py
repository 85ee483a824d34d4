"""The recipes of the documentation, taken from the documentation: what is tested is what users read."""

from __future__ import annotations

import functools
import re
from pathlib import Path
from typing import Any

HOW_TO = Path(__file__).parents[2] / "docs" / "how-to"


@functools.cache
def recipe(document: str, name: str) -> Any:
    """The function that the one Python block of the document that defines it makes."""
    blocks = re.findall(r"^```python\n(.*?)^```$", (HOW_TO / document).read_text(), re.DOTALL | re.MULTILINE)
    (block,) = (block for block in blocks if f"def {name}(" in block)
    namespace: dict[str, Any] = {}
    exec(compile(block, f"{document}: {name}", "exec"), namespace)
    return namespace[name]
