"""The version, the changelog and the tag agree."""

from __future__ import annotations

import re
import subprocess
from datetime import date

import pytest
from project import ROOT

import stale_retry

HEADING = re.compile(r"^## \[(?P<version>.+?)\](?: - (?P<date>\S+))?$", re.MULTILINE)


def number(version: str) -> tuple[int, ...]:
    return tuple(map(int, version.split(".")))


def disagreements(version: str, changelog: str, tags: list[str]) -> list[str]:
    """What does not fit, in words: `version` is the package's, `tags` are those of the commit."""
    found = []
    headings = list(HEADING.finditer(changelog))
    released = [each["version"] for each in headings if each["version"] != "Unreleased"]
    dates = [date.fromisoformat(each["date"]) for each in headings if each["date"]]
    pending = bool(headings) and headings[0]["version"] == "Unreleased" and "\n- " in _section(changelog, headings)
    if released != sorted(released, key=number, reverse=True) or dates != sorted(dates, reverse=True):
        found.append("the newest release stands first")
    if len(dates) != len(released):
        found.append("every release has its date")
    if pending and version in released:
        found.append(f"{version} is released: the first change after it raises the version")
    if released and not pending and version != released[0]:
        found.append(f"nothing has changed since {released[0]}, and the version is {version}")
    if released and number(version) < number(released[0]):
        found.append(f"{version} is older than {released[0]}")
    for tag in tags:
        if tag != f"v{version}":
            found.append(f"the tag {tag} is not v{version}")
        if version not in released or pending:
            found.append(f"{tag} is tagged, and the changelog has no section for all of it")
    return found


def _section(changelog: str, headings: list[re.Match[str]]) -> str:
    return changelog[headings[0].end() : headings[1].start() if len(headings) > 1 else len(changelog)]


def changelog(*sections: str) -> str:
    return "# Changelog\n\n" + "\n".join(f"## {heading}\n\n### Added\n\n- something.\n" for heading in sections)


def tags_at_head() -> list[str]:
    if not (ROOT / ".git").exists():
        return []  # an unpacked sdist
    command = ["git", "-c", f"safe.directory={ROOT}", "tag", "--points-at", "HEAD", "v*"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    return done.stdout.split()


def test_the_version_the_changelog_and_the_tag_agree():
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert disagreements(stale_retry.__version__, text, tags_at_head()) == []


@pytest.mark.parametrize(
    ("version", "sections", "tags"),
    [
        ("0.1.0", ["[Unreleased]"], []),
        ("0.1.0", ["[0.1.0] - 2026-01-02"], ["v0.1.0"]),
        ("0.1.0", ["[0.1.0] - 2026-01-02"], []),
        ("0.2.0", ["[Unreleased]", "[0.1.0] - 2026-01-02"], []),
        ("0.10.0", ["[0.10.0] - 2026-03-02", "[0.9.0] - 2026-01-02"], ["v0.10.0"]),
    ],
)
def test_these_agree(version, sections, tags):
    assert disagreements(version, changelog(*sections), tags) == []


@pytest.mark.parametrize(
    ("version", "sections", "tags", "words"),
    [
        ("0.1.0", ["[Unreleased]"], ["v0.1.0"], "no section"),
        ("0.1.0", ["[Unreleased]", "[0.1.0] - 2026-01-02"], [], "raises the version"),
        ("0.2.0", ["[0.1.0] - 2026-01-02"], [], "nothing has changed"),
        ("0.1.0", ["[Unreleased]", "[0.2.0] - 2026-01-02"], [], "older"),
        ("0.2.0", ["[0.2.0] - 2026-01-02"], ["v0.1.0"], "is not v0.2.0"),
        ("0.1.0", ["[0.1.0]"], [], "its date"),
        ("0.2.0", ["[0.1.0] - 2026-01-02", "[0.2.0] - 2026-02-02"], [], "first"),
    ],
)
def test_these_do_not(version, sections, tags, words):
    assert any(words in each for each in disagreements(version, changelog(*sections), tags))
