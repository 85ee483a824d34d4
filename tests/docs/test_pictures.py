"""The pictures of the documentation are what the scripts draw from what was measured."""

import json
import re
import runpy
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PICTURES = sorted((DOCS / "_static" / "pictures").glob("*.svg"))
PAGES = [page for page in DOCS.rglob("*.md") if "_build" not in page.parts]
SHOWING = re.compile(r"^```\{picture\} (\S+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
SHOWN = [shown for page in PAGES for shown in SHOWING.findall(page.read_text(encoding="utf-8"))]


def check(docs):
    command = [sys.executable, docs / "pictures" / "draw.py", "--check"]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_every_picture_is_as_the_scripts_draw_it():
    checked = check(DOCS)
    assert (checked.returncode, checked.stderr) == (0, "")


def test_a_picture_that_is_not_as_drawn_is_named(tmp_path):
    shutil.copytree(DOCS / "pictures", tmp_path / "pictures")
    shutil.copytree(DOCS / "_static", tmp_path / "_static")
    (tmp_path / "_static" / "pictures" / "race-light.svg").write_text("<svg/>")
    (tmp_path / "_static" / "pictures" / "nobody-draws-it.svg").write_text("<svg/>")
    checked = check(tmp_path)
    assert checked.returncode == 1
    assert checked.stderr == "not as drawn: nobody-draws-it.svg\nnot as drawn: race-light.svg\n"


def test_what_is_measured_has_the_form_of_what_is_kept():
    kept = json.loads((DOCS / "pictures" / "measured" / "race.json").read_text())
    measured = runpy.run_path(str(DOCS / "pictures" / "measure.py"))["race"](writers=2, events=1)
    assert measured.keys() == kept.keys()
    for one, other in zip(measured["strategies"], kept["strategies"], strict=True):
        assert (one.keys(), one["name"]) == (other.keys(), other["name"])


@pytest.mark.parametrize("file", PICTURES, ids=lambda file: file.name)
def test_a_picture_is_small_has_a_title_and_loads_nothing(file):
    text = file.read_text()
    assert len(text) < 60_000
    assert "<title>" in text
    assert re.findall(r"(?:href|src|url|@import)", text) == []


def test_a_page_shows_a_picture_that_is_there_and_says_in_words_what_is_on_it():
    assert len(SHOWN) >= 3
    for name, words in SHOWN:
        assert {DOCS / "_static" / "pictures" / f"{name}-{theme}.svg" for theme in ("light", "dark")} <= set(PICTURES)
        assert len(words.split()) >= 8
