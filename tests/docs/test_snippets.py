"""Every `python` block in README and docs runs as a reader pastes it.

A block that begins with a comment such as `# chat.py` is a whole file and runs as one, next to the files above it on
its page. The other blocks of a document run one after the other as one program, as in `python -m asyncio`. A fragment
is marked as `py` instead and only has to be Python.
"""

import ast
import inspect
import os
import re
import subprocess
import sys
import textwrap
from pathlib import Path

import anyio
import pytest

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
}


# Pages that await outside a function and do not say yet how to run that. Take a page out once it does.
SILENT = {
    "README.md",
    "docs/does-it-help-me.md",
    "docs/how-to/another-store.md",
    "docs/how-to/double-texting.md",
    "docs/how-to/faults.md",
    "docs/how-to/integrations.md",
    "docs/how-to/interleaving.md",
    "docs/how-to/results.md",
    "docs/how-to/runners.md",
    "docs/how-to/test-your-own-append.md",
    "docs/how-to/transactions.md",
    "docs/how-to/turns.md",
}

BLOCK = re.compile(r"^```(python|py)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
FILE = re.compile(r"# (\w+\.py)\n")


def blocks(path, kind="python"):
    """(line, text) of each block."""
    text = path.read_text(encoding="utf-8")
    return [(text.count("\n", 0, found.start(2)), found[2]) for found in BLOCK.finditer(text) if found[1] == kind]


def files(path):
    """(name, text) of each block that is a whole file."""
    return [(FILE.match(text)[1], text) for _, text in blocks(path) if FILE.match(text)]


def parse(path):
    """The statements of the other blocks, with the line numbers of the page."""
    parsed = [ast.parse("\n" * line + text, filename=str(path)) for line, text in blocks(path) if not FILE.match(text)]
    return [statement for block in parsed for statement in block.body]


def run_files(path, folder):
    for name, text in files(path):
        (folder / name).write_text(text, encoding="utf-8")
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        done = subprocess.run(
            [sys.executable, name], cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=60
        )
        assert done.returncode == 0, f"{name} of {path}:\n{done.stderr}"


async def run(path, statements):
    name = str(path.relative_to(ROOT)) if path.is_relative_to(ROOT) else ""
    program = ast.Module([*ast.parse(textwrap.dedent(GIVEN.get(name, ""))).body, *statements], type_ignores=[])
    code = compile(program, str(path), "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    outcome = eval(code, {"__name__": "__main__"})
    if inspect.isawaitable(outcome):
        await outcome


EACH_DOCUMENT = pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))


@EACH_DOCUMENT
def test_every_example_runs(path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    anyio.run(run, path, parse(path))
    run_files(path, tmp_path)


@pytest.mark.parametrize("path", sorted((ROOT / "docs").rglob("*.md")), ids=lambda path: str(path.relative_to(ROOT)))
def test_every_fragment_is_python(path):
    for line, text in blocks(path, "py"):
        compile("\n" * line + text, str(path), "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)


@EACH_DOCUMENT
def test_a_page_says_how_to_run_examples_that_await_outside_a_function(path):
    code = compile(ast.Module(parse(path), type_ignores=[]), str(path), "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    awaits = bool(code.co_flags & inspect.CO_COROUTINE)
    says = "python -m asyncio" in path.read_text(encoding="utf-8")
    assert (awaits and not says) <= (path.relative_to(ROOT).as_posix() in SILENT)


def test_there_are_examples_to_run():
    assert sum(bool(parse(path)) for path in DOCUMENTS) >= 5


def test_an_example_that_fails_is_reported_with_its_line(tmp_path):
    document = tmp_path / "wrong.md"
    document.write_text("# Page\n\n```python\nawait_nothing = 1\nassert await_nothing == 2\n```\n")
    with pytest.raises(AssertionError) as failure:
        anyio.run(run, document, parse(document))
    assert failure.traceback[-1].lineno + 1 == 5


def test_a_file_runs_by_itself_next_to_the_files_above_it(tmp_path):
    document = tmp_path / "files.md"
    document.write_text(
        "```python\n# one.py\nx = 1\n```\n\n```python\n# two.py\nfrom one import x\nassert x == 2\n```\n"
    )
    assert parse(document) == []
    with pytest.raises(AssertionError, match=r"two\.py"):
        run_files(document, tmp_path)
