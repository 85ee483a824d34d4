"""The build adds to the pages: signatures as they are written, and one text of everything."""

import inspect
import re
import runpy
from pathlib import Path

import pytest

from stale_retry import StaleSessionRetrying, TransactionRetrying, exponential

DOCS = Path(__file__).parents[2] / "docs"
as_written = runpy.run_path(str(DOCS / "_ext" / "signatures.py"))["as_written"]
source = runpy.run_path(str(DOCS / "_ext" / "source.py"))


@pytest.mark.parametrize("policy", [StaleSessionRetrying, TransactionRetrying])
def test_the_reference_shows_each_option_with_its_default(policy):
    shown, returned = as_written("class", "", policy, {}, None, None)
    assert returned is None
    assert re.findall(r"(\w+): ", shown.replace("stale_retry.typing.", "")) == [
        name for name in inspect.signature(policy).parameters if name != "self"
    ]
    assert "backoff: stale_retry.typing.Wait=exponential(0.05, max=2.0)" in shown
    assert "max_attempts: int | None=None" in shown


def test_other_signatures_are_left_to_sphinx():
    assert as_written("function", "", exponential, {}, None, None) is None
    assert as_written("attribute", "", 1, {}, None, None) is None


def test_the_text_of_everything_has_no_directive_left():
    llms = runpy.run_path(str(DOCS / "_ext" / "llms.py"))
    text = llms["DIRECTIVE"].sub("", (DOCS / "index.md").read_text(encoding="utf-8"))
    text = llms["PICTURE"].sub(r"Picture: \1", text)
    assert "Picture: Alice" in text
    assert "{" not in re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize(
    ("module", "name", "text"),
    [
        ("stale_retry", "retry_on_stale_session", "retry_on_stale_session ="),
        ("stale_retry", "StaleSessionRetrying.call", "def call("),
        ("stale_retry.adk", "retry_on_stale_session", "def retry_on_stale_session("),
        ("stale_retry.turns", "TurnQueue", "class TurnQueue"),
    ],
)
def test_a_name_of_the_reference_links_to_its_line(module, name, text):
    link = source["linkcode_resolve"]("py", {"module": module, "fullname": name})
    file, _, line = link.partition("/blob/main/")[2].partition("#L")
    assert text in (DOCS.parent / file).read_text(encoding="utf-8").splitlines()[int(line) - 1]
