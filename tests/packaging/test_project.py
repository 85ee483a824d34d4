"""What pyproject.toml says in several places is one thing, and the workflows do it."""

from __future__ import annotations

import re
import sys

import pytest
from project import PROJECT, PYPROJECT, ROOT, extra, group, pythons


def workflow(name: str) -> str:
    file = ROOT / ".github" / "workflows" / name
    if not file.exists():
        pytest.skip("the sdist has no workflows")
    return file.read_text(encoding="utf-8")


def lower_bound_is_named(requirement: str) -> bool:
    return ">=" in requirement.partition(";")[0]


@pytest.mark.parametrize(
    ("name", "extras"),
    [
        ("test", {"adk", "demo", "opentelemetry", "prometheus"}),
        ("docs", {"a2a", "adk", "opentelemetry", "prometheus"}),
    ],
)
def test_a_group_brings_what_the_extras_bring_with_the_same_bounds(name, extras):
    assert set().union(*map(extra, extras)) <= group(name)


def test_the_extras_are_for_users_alone():
    assert set(PROJECT["optional-dependencies"]) == {"a2a", "adk", "demo", "opentelemetry", "prometheus"}


@pytest.mark.parametrize("requirement", sorted({*PROJECT["dependencies"], *group("test"), *extra("a2a")}))
def test_what_the_lower_bound_run_installs_has_a_lower_bound(requirement):
    assert lower_bound_is_named(requirement)


def test_the_pythons_promised_are_those_that_tox_runs():
    assert pythons()[0] == PROJECT["requires-python"].removeprefix(">=")
    assert [each for each in PYPROJECT["tool"]["tox"]["env_list"] if re.fullmatch(r"3\.\d+", each)] == pythons()


def test_the_pythons_promised_are_those_that_the_workflow_runs():
    (matrix,) = re.findall(r"^ +python: \[(.+)\]$", workflow("ci.yml"), re.MULTILINE)
    assert matrix.replace('"', "").split(", ") == pythons()


def test_every_tox_environment_is_run_by_the_workflow():
    environments = [each for each in PYPROJECT["tool"]["tox"]["env_list"] if each not in pythons()]
    (matrix,) = re.findall(r"^ +environment: \[(.+)\]$", workflow("ci.yml"), re.MULTILINE)
    assert matrix.split(", ") == environments


@pytest.mark.parametrize("name", ["ci.yml", "release.yml"])
def test_every_action_is_pinned_to_a_commit_and_names_its_release(name):
    uses = re.findall(r"uses: (.+)$", workflow(name), re.MULTILINE)
    assert uses
    assert [each for each in uses if not re.fullmatch(r"[\w./-]+@[0-9a-f]{40} # v[\d.]+", each)] == []


def test_this_python_is_one_that_is_promised():
    assert f"{sys.version_info.major}.{sys.version_info.minor}" in pythons()
