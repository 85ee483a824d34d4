"""What is shipped: the wheel and the sdist are built, looked into, installed and used from an empty folder."""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
import zipfile
from email.message import Message
from email.parser import Parser
from pathlib import Path

import pytest

import stale_retry

PROJECT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    folder = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "sdist", "-t", "wheel", "-d", str(folder)]
    subprocess.run(command, cwd=PROJECT, check=True, capture_output=True)
    return folder


@pytest.fixture(scope="module")
def wheel(built):
    (file,) = built.glob("*.whl")
    return zipfile.ZipFile(file)


@pytest.fixture(scope="module")
def sdist(built):
    (file,) = built.glob("*.tar.gz")
    with tarfile.open(file) as archive:
        return {name.partition("/")[2] for name in archive.getnames()}


@pytest.fixture(scope="module")
def metadata(wheel) -> Message:
    (name,) = (name for name in wheel.namelist() if name.endswith(".dist-info/METADATA"))
    return Parser().parsestr(wheel.read(name).decode())


@pytest.fixture(scope="module", params=["*.whl", "*.tar.gz"], ids=["wheel", "sdist"])
def installed(request, built, tmp_path_factory):
    """A folder into which pip has installed the package, and nothing else."""
    folder = tmp_path_factory.mktemp("installed")
    (file,) = built.glob(request.param)
    options = ["--quiet", "--no-deps", "--no-index", "--no-build-isolation", "--no-compile", "--target", str(folder)]
    subprocess.run([sys.executable, "-m", "pip", "install", *options, str(file)], cwd=built, check=True)
    return folder


@pytest.fixture
def run_installed(installed, tmp_path):
    """Runs a command on what is installed, from an empty folder."""

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, "PYTHONPATH": str(installed)}
        command = [sys.executable, *arguments]
        return subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)

    return run


def test_the_wheel_is_pure_and_named_by_the_version(wheel):
    assert Path(str(wheel.filename)).name == f"stale_retry-{stale_retry.__version__}-py3-none-any.whl"


def test_the_wheel_holds_every_module_and_the_marker_of_types(wheel):
    modules = {str(file.relative_to(PROJECT)) for file in (PROJECT / "stale_retry").rglob("*.py")}
    assert modules <= set(wheel.namelist())
    assert "stale_retry/py.typed" in wheel.namelist()


def test_the_wheel_holds_nothing_but_the_package_and_its_metadata(wheel):
    tops = {name.partition("/")[0] for name in wheel.namelist()}
    assert tops == {"stale_retry", f"stale_retry-{stale_retry.__version__}.dist-info"}
    assert not [name for name in wheel.namelist() if name.endswith((".pyc", ".db")) or "/tests/" in name]


def test_the_license_is_shipped_and_named(wheel, metadata):
    assert f"stale_retry-{stale_retry.__version__}.dist-info/licenses/LICENSE" in wheel.namelist()
    assert metadata["License-Expression"] == "Apache-2.0"


def test_the_core_needs_tenacity_and_anyio_alone(metadata):
    required = [each for each in metadata.get_all("Requires-Dist") if "extra ==" not in each]
    assert sorted(each.partition(";")[0].rstrip("=<>.0123456789 ") for each in required) == [
        "anyio",
        "exceptiongroup",
        "tenacity",
    ]
    assert any(each.startswith("exceptiongroup") and "python_version < '3.11'" in each for each in required)


def test_the_page_of_the_package_links_to_its_source_issues_changelog_and_docs(metadata):
    assert {each.partition(",")[0] for each in metadata.get_all("Project-URL")} == {
        "Changelog",
        "Documentation",
        "Issues",
        "Source",
    }


def test_the_sdist_holds_every_file_that_its_tests_read(sdist):
    files = {"CHANGELOG.md", "LICENSE", "README.md", "pyproject.toml"}
    for folder in ("stale_retry", "tests", "docs"):
        kinds = (".md", ".py", ".pyi", ".typed", ".toml", ".json", ".svg", ".css", ".js")
        found = (file.relative_to(PROJECT) for file in (PROJECT / folder).rglob("*") if file.suffix in kinds)
        files |= {str(file) for file in found if "_build" not in file.parts}
    assert files <= sdist


def test_the_sdist_holds_nothing_that_a_build_or_a_tool_left(sdist):
    left = ("__pycache__", ".venv", ".tox", "_build", "dist", ".git", ".hypothesis")
    assert [name for name in sdist if set(left) & set(Path(name).parts)] == []


def test_what_is_installed_retries_an_append(run_installed, installed):
    done = run_installed(
        "-c",
        """if True:
        import anyio, stale_retry
        from stale_retry.testing import Faults, VersionedStore, no_waiting

        store = VersionedStore(Faults(stale=2))
        append = stale_retry.retry_on_stale_session(store.refresh)(store.append)

        async def main():
            with no_waiting() as events:
                await append(store.open(), "event")
            print(stale_retry.__file__, store.events(), [event.kind for event in events], sep="\\n")

        anyio.run(main)
        """,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        str(installed / "stale_retry" / "__init__.py"),
        "['event']",
        "['retrying', 'retrying', 'recovered']",
    ]


def test_the_core_of_what_is_installed_imports_no_extra(run_installed):
    code = "import sys, stale_retry, stale_retry.testing, stale_retry.__main__; print(*sys.modules)"
    modules = run_installed("-c", code).stdout.split()
    assert "tenacity" in modules
    assert not {"google", "google.adk", "rich", "matplotlib", "sqlalchemy", "opentelemetry"} & set(modules)


def test_what_is_installed_runs_as_a_command(run_installed):
    done = run_installed("-m", "stale_retry", "--version")
    assert (done.returncode, done.stdout) == (0, f"stale-retry {stale_retry.__version__}\n")


def test_the_wheel_installs_the_command(wheel):
    (name,) = (name for name in wheel.namelist() if name.endswith(".dist-info/entry_points.txt"))
    assert "stale-retry = stale_retry.__main__:main" in wheel.read(name).decode()
