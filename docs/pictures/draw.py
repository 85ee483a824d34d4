"""Draw the documentation's pictures from what was measured: python docs/pictures/draw.py [--check].

`--check` draws nothing and exits with 1 if a file is not what would be drawn. Needs nothing but Python.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import bars
import choices
import curves
import locks
import race
import sequences
from canvas import THEMES, Canvas

HERE = Path(__file__).parent
PICTURES = HERE.parent / "_static" / "pictures"


def measured(name: str) -> dict[str, Any]:
    values: dict[str, Any] = json.loads((HERE / "measured" / f"{name}.json").read_text(encoding="utf-8"))
    return values


def pictures() -> dict[str, Canvas]:
    return {
        "choices": choices.draw(),
        "conflict": sequences.conflict(),
        "queued-turns": sequences.queued_turns(),
        "race": race.draw(measured("race")),
        "contention": curves.contention(measured("simulation")),
        "slowest": curves.slowest(measured("simulation")),
        "locks": locks.draw(measured("locks")),
        "turns": bars.draw(measured("turns")),
    }


def files() -> dict[Path, str]:
    drawn = {
        PICTURES / f"{name}-{theme}.svg": canvas.drawn(theme) for name, canvas in pictures().items() for theme in THEMES
    }
    # The README is shown on pages whose ground is not known.
    readme = sequences.conflict()
    return drawn | {PICTURES / f"readme-{theme}.svg": readme.drawn(theme, on_ground=True) for theme in THEMES}


def main(arguments: list[str]) -> int:
    drawn = files()
    if arguments == ["--check"]:
        there = {file: file.read_text(encoding="utf-8") for file in PICTURES.glob("*.svg")}
        wrong = [file.name for file in {**drawn, **there} if drawn.get(file) != there.get(file)]
        sys.stderr.writelines(f"not as drawn: {name}\n" for name in sorted(wrong))
        return bool(wrong)
    PICTURES.mkdir(parents=True, exist_ok=True)
    for file, text in drawn.items():
        file.write_text(text, encoding="utf-8", newline="\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
