"""The test file in docs/how-to/test-your-own-append.md: it passes as it stands, and fails when the append is wrong."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "test-your-own-append.md"


@pytest.fixture
def example():
    return re.search(r"^```python\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE).group(1)


@pytest.fixture
def run(tmp_path):
    def run(source):
        """The last words of pytest, run in a directory that has nothing but this file."""
        (tmp_path / "test_chat.py").write_text(source, encoding="utf-8")
        command = [sys.executable, "-m", "pytest", "--quiet", "-p", "no:cacheprovider", "--rootdir", str(tmp_path)]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
        return re.sub(r" in .*", "", done.stdout.strip().splitlines()[-1])

    return run


def test_the_example_is_a_whole_test_file_that_passes(example, run):
    tests = re.findall(r"^async def (test_\w+)", example, re.MULTILINE)
    assert len(tests) == 6
    assert run(example) == "6 passed"


@pytest.mark.parametrize(
    ("right", "wrong", "failed"),
    [
        (
            "    @retry_on_stale_session(\n        reload,",
            "    @(lambda *_, **__: lambda append: append)(\n        None,",
            6,
        ),
        ("on_conflict=already_stored", "on_conflict=lambda conflict: None", 1),
        ("deadline=10.0", "deadline=100.0", 1),
        ("exponential(0.1, max=2.0)", "exponential(0.3, max=2.0)", 1),
    ],
    ids=["never retries", "stores twice", "waits too long", "waits something else"],
)
def test_the_example_fails_when_the_append_is_wrong(example, run, right, wrong, failed):
    assert right in example
    assert run(example.replace(right, wrong)).startswith(f"{failed} failed")
