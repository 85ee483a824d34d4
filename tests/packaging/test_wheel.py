"""What is shipped: the wheel and the sdist are built, looked into, and the wheel is used from an empty folder."""

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


@pytest.fixture
def run_installed(wheel, tmp_path):
    """Runs a command on the wheel's own files, from a folder where nothing else of the project can be found."""
    wheel.extractall(tmp_path / "installed")
    (tmp_path / "elsewhere").mkdir()

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, "PYTHONPATH": str(tmp_path / "installed")}
        command = [sys.executable, *arguments]
        return subprocess.run(
            command, cwd=tmp_path / "elsewhere", env=environment, capture_output=True, text=True, check=False
        )

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


def test_the_extras_that_the_docs_name_exist(metadata):
    assert set(metadata.get_all("Provides-Extra")) >= {"adk", "demo", "opentelemetry", "prometheus", "test"}


def test_the_sdist_holds_what_the_tests_need(sdist):
    assert sdist >= {"pyproject.toml", "README.md", "LICENSE", "CHANGELOG.md", "stale_retry/py.typed"}
    assert {str(Path(__file__).relative_to(PROJECT)), "tests/typing/appends.py"} <= sdist


def test_the_installed_wheel_retries_an_append(run_installed, tmp_path):
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
        str(tmp_path / "installed" / "stale_retry" / "__init__.py"),
        "['event']",
        "['retrying', 'retrying', 'recovered']",
    ]


def test_the_core_of_the_installed_wheel_imports_no_extra(run_installed):
    code = "import sys, stale_retry, stale_retry.testing, stale_retry.__main__; print(*sys.modules)"
    modules = run_installed("-c", code).stdout.split()
    assert "tenacity" in modules
    assert not {"google", "google.adk", "rich", "matplotlib", "sqlalchemy", "opentelemetry"} & set(modules)


def test_the_installed_wheel_runs_as_a_command(run_installed):
    done = run_installed("-m", "stale_retry", "--version")
    assert (done.returncode, done.stdout) == (0, f"stale-retry {stale_retry.__version__}\n")


def test_the_wheel_installs_the_command(wheel):
    (name,) = (name for name in wheel.namelist() if name.endswith(".dist-info/entry_points.txt"))
    assert "stale-retry = stale_retry.__main__:main" in wheel.read(name).decode()
