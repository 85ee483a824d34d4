"""The test file in docs/how-to/test-your-own-append.md: it passes as it stands, and fails when the append is wrong."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "test-your-own-append.md"
EXAMPLE = re.search(r"^```python\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE).group(1)

# What is changed, into what, and how many of the tests fail then.
CHANGES = {
    "nothing": ("", "", 0),
    "never_retries": (
        "    @retry_on_stale_session(\n        reload,",
        "    @(lambda *_, **__: lambda append: append)(\n        None,",
        6,
    ),
    "stores_twice": ("stored.id == event.id", "False", 1),
    "takes_a_look_alike_for_its_own": ("stored.id == event.id", "stored.body == event.body", 2),
    "waits_too_long": ("deadline=10.0", "deadline=100.0", 1),
    "waits_something_else": ("exponential(0.1, max=2.0)", "exponential(0.3, max=2.0)", 1),
}


@pytest.fixture(scope="module")
def failed(tmp_path_factory):
    """How many tests failed in each changed file: one run, in a directory that has nothing else."""
    folder = tmp_path_factory.mktemp("own")
    for name, (right, wrong, _) in CHANGES.items():
        (folder / f"test_{name}.py").write_text(EXAMPLE.replace(right, wrong), encoding="utf-8")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--rootdir", str(folder), "-rA"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    results = re.findall(r"^(PASSED|FAILED) test_(\w+)\.py::", done.stdout, re.MULTILINE)
    assert len(results) == 6 * len(CHANGES), done.stdout
    return lambda name: sum(result == ("FAILED", name) for result in results)


@pytest.mark.parametrize("name", CHANGES)
def test_the_example_passes_as_it_stands_and_fails_when_the_append_is_wrong(failed, name):
    right, _, number = CHANGES[name]
    assert right in EXAMPLE
    assert failed(name) == number
