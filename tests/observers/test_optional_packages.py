"""The packages behind two of the observers are needed by those who use them, and by nobody else."""

import importlib
import subprocess
import sys

import pytest

OBSERVERS = [
    ("opentelemetry", "opentelemetry", "stale-retry[opentelemetry]"),
    ("prometheus", "prometheus_client", "stale-retry[prometheus]"),
]


def run(program):
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)


def test_neither_package_is_imported_before_its_observer_is():
    done = run("""
import stale_retry, stale_retry.testing, stale_retry.observers.logging, sys
print(sorted({name.partition(".")[0] for name in sys.modules} & {"opentelemetry", "prometheus_client", "structlog"}))
""")
    assert (done.stdout, done.stderr) == ("[]\n", "")


@pytest.mark.parametrize(("module", "package", "extra"), OBSERVERS)
def test_a_missing_package_is_one_error_with_the_line_that_installs_it(module, package, extra):
    done = run(f"""
import sys

class NotInstalled:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == {package!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, NotInstalled())
import stale_retry.observers.{module}
""")
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].endswith(f'pip install "{extra}"')


@pytest.mark.parametrize(("module", "package", "extra"), OBSERVERS)
def test_the_error_names_the_package(module, package, extra, monkeypatch):
    monkeypatch.setitem(sys.modules, package, None)
    monkeypatch.delitem(sys.modules, f"stale_retry.observers.{module}", raising=False)
    with pytest.raises(ModuleNotFoundError, match="pip install") as error:
        importlib.import_module(f"stale_retry.observers.{module}")
    assert error.value.name.partition(".")[0] == package
