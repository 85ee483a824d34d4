"""What users import, and how it shows itself to them."""

import importlib
import inspect
import pickle
import sys
import types
import typing

import pytest

PACKAGES = ["stale_retry", "stale_retry.turns", "stale_retry.typing"]
"""Beside google-adk's, which tests/adk looks at."""


def things(package):
    module = importlib.import_module(package)
    return [(name, getattr(module, name)) for name in module.__all__]


def with_a_home(package):
    """The classes and functions: type aliases and constants do not know where they are from."""
    return [thing for _, thing in things(package) if inspect.isclass(thing) or inspect.isfunction(thing)]


def lists_all_of(module):
    names = [
        name
        for name, thing in vars(module).items()
        if not name.startswith("_") and not isinstance(thing, types.ModuleType) and name != "show_as_own"
    ]
    assert sorted(module.__all__) == sorted(names)
    assert len(set(module.__all__)) == len(module.__all__)


@pytest.mark.parametrize("package", PACKAGES)
def test_all_of_the_public_names_are_listed(package):
    lists_all_of(importlib.import_module(package))


@pytest.mark.parametrize("package", PACKAGES)
def test_a_public_name_shows_itself_where_it_is_imported_from(package):
    for thing in with_a_home(package):
        assert thing.__module__ in PACKAGES, thing
        assert getattr(sys.modules[thing.__module__], thing.__name__) is thing
        assert pickle.loads(pickle.dumps(thing)) is thing


@pytest.mark.parametrize("package", PACKAGES)
def test_the_types_of_a_public_class_are_found_from_there(package):
    for thing in with_a_home(package):
        if inspect.isclass(thing):
            assert None not in typing.get_type_hints(thing).values()


def test_an_error_shows_its_short_name_in_a_traceback():
    from stale_retry import DeadlineExceededError

    assert DeadlineExceededError.__module__ == "stale_retry"
    assert typing.get_type_hints(importlib.import_module("stale_retry").RetryEvent)["attempt"] is int
