"""The integrations stand on public names, so a third party could have written them."""

import ast
import importlib
import inspect
import pickle
import sys
import typing
from pathlib import Path

import pytest

import stale_retry.adk

PACKAGE = Path(stale_retry.__file__).parent
FILES = [*sorted((PACKAGE / "adk").glob("*.py")), PACKAGE / "a2a.py"]
PUBLIC = ["stale_retry", "stale_retry.turns", "stale_retry.typing"]


def imported_from_the_core(path):
    """Each name that a file imports from the rest of the package, as (module, name)."""
    package = "stale_retry.adk" if path.parent.name == "adk" else "stale_retry"
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from ((name.name, None) for name in node.names if name.name.startswith("stale_retry"))
        elif isinstance(node, ast.ImportFrom):
            module = node.module or ""
            if node.level:
                base = package.rsplit(".", node.level - 1)[0] if node.level > 1 else package
                module = f"{base}.{module}".rstrip(".")
            if module.startswith("stale_retry") and not module.startswith("stale_retry.adk"):
                yield from ((module, name.name) for name in node.names)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_an_integration_imports_public_names_only(path):
    for module, name in imported_from_the_core(path):
        if name == "show_as_own":  # how the package's own names show themselves
            continue
        assert module in PUBLIC, (module, name)
        assert name in importlib.import_module(module).__all__, (module, name)


def test_the_integrations_do_import_from_the_core():
    assert len({name for path in FILES for name in imported_from_the_core(path)}) >= 10


def test_a_public_name_shows_itself_where_it_is_imported_from():
    for name in stale_retry.adk.__all__:
        thing = getattr(stale_retry.adk, name)
        if inspect.isclass(thing) or inspect.isfunction(thing):
            assert thing.__module__ in ("stale_retry", "stale_retry.adk")
            assert getattr(sys.modules[thing.__module__], thing.__name__) is thing
            assert pickle.loads(pickle.dumps(thing)) is thing


def test_the_types_of_what_is_handed_to_a_hook_are_found_from_there():
    assert typing.get_type_hints(stale_retry.adk.SessionConflict)["new_events"] is not None
