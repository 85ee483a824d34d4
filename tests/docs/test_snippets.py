"""Every Python block in README and docs runs, block after block, as one program a document."""

import ast
import inspect
import textwrap
from pathlib import Path

import anyio
import pytest
from sybil import Sybil
from sybil.example import Example
from sybil.parsers.myst import CodeBlockParser

ROOT = Path(__file__).parents[2]
RECIPES = ROOT / "docs" / "recipes"  # these run on real servers, in tests/stores
DOCUMENTS = [ROOT / "README.md", *sorted(set((ROOT / "docs").rglob("*.md")) - set(RECIPES.glob("*.md")))]

# What a document may use without having said where it comes from.
GIVEN = {
    "README.md": """
        from stale_retry.testing import VersionedStore

        class Store(VersionedStore):
            reload = VersionedStore.refresh

        from google.adk.agents import Agent
        store = Store()
        agent = Agent(name="assistant", model="none")
        session, _ = store.open(), await store.append(store.open(), "theirs")
    """,
    "docs/index.md": """
        from google.adk.agents import Agent
        agent = Agent(name="assistant", model="none")
    """,
}


def parse(path):
    statements = []

    def collect(example: Example) -> None:
        block = ast.parse("\n" * (example.line + example.parsed.line_offset) + example.parsed, filename=str(path))
        statements.extend(block.body)

    for example in Sybil(parsers=[CodeBlockParser("python", collect)]).parse(path):
        example.evaluate()
    return statements


async def run(path, statements):
    name = str(path.relative_to(ROOT)) if path.is_relative_to(ROOT) else ""
    program = ast.Module([*ast.parse(textwrap.dedent(GIVEN.get(name, ""))).body, *statements], type_ignores=[])
    code = compile(program, str(path), "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    outcome = eval(code, {"__name__": "__main__"})
    if inspect.isawaitable(outcome):
        await outcome


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_snippet_runs(path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    anyio.run(run, path, parse(path))


def test_there_are_snippets_to_run():
    assert sum(bool(parse(path)) for path in DOCUMENTS) >= 5


def test_a_snippet_that_fails_is_reported(tmp_path):
    document = tmp_path / "wrong.md"
    document.write_text("```python\nawait_nothing = 1\nassert await_nothing == 2\n```\n")
    with pytest.raises(AssertionError):
        anyio.run(run, document, parse(document))
