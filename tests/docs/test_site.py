"""The build adds to the pages: signatures as they are written, and one text of everything."""

import re
import runpy
from pathlib import Path

import pytest

from stale_retry import retry_on_stale_session, retry_transaction

DOCS = Path(__file__).parents[2] / "docs"
signatures = runpy.run_path(str(DOCS / "_ext" / "signatures.py"))
source = runpy.run_path(str(DOCS / "_ext" / "source.py"))


@pytest.mark.parametrize("policy", [retry_on_stale_session, retry_transaction])
def test_the_reference_shows_each_option_with_its_type_and_default(policy):
    shown = signatures["signature_of"](policy).replace("stale_retry.typing.", "")
    assert re.findall(r"(\w+): ", shown) == list(policy.OPTIONS)
    assert "backoff: Wait = exponential(0.05, max=2.0)" in shown
    assert "max_attempts: int | None = None" in shown


def test_a_required_option_has_no_default():
    assert signatures["signature_of"](retry_on_stale_session).startswith("(refresh: stale_retry.typing.Refresh, *, ")


def test_the_text_of_everything_has_no_directive_left():
    plain = runpy.run_path(str(DOCS / "_ext" / "plain.py"))
    text = plain["without_directives"]((DOCS / "index.md").read_text(encoding="utf-8"))
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
