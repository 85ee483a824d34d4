"""A row lock, a queue and retries on one row: how long all changes take, and what other code waits for a connection."""

from __future__ import annotations

from typing import Any

from canvas import WIDTH, Canvas

TITLES, GAP, FIGURES = 164, 24, 56
COLUMN = (WIDTH - TITLES - GAP) / 2
HARM = 100
"""Milliseconds from which a bystander's wait is drawn as harm."""


def draw(measured: dict[str, Any]) -> Canvas:
    rows = measured["rows"]
    canvas = Canvas("A row lock, a queue and retries on one row: seconds for all changes, and what a bystander waits")
    canvas.text(0, 16, "30 callers change one row twice each, with 20 ms of work in between", bold=True)
    canvas.text(TITLES, 44, "all changes, s", "muted")
    canvas.text(TITLES + COLUMN + GAP, 44, "slowest bystander, ms", "muted")
    for number, row in enumerate(rows):
        y = 70.0 + number * 26
        canvas.text(0, y, row["title"])
        _bar(canvas, TITLES, y, row["seconds"], max(each["seconds"] for each in rows), "blue", f"{row['seconds']:.2f}")
        waits, most = row["bystander"], max(each["bystander"] for each in rows)
        _bar(canvas, TITLES + COLUMN + GAP, y, waits, most, "bad" if waits >= HARM else "good", str(waits))
    return canvas


def _bar(canvas: Canvas, x: float, y: float, value: float, most: float, colour: str, figure: str) -> None:
    room = COLUMN - FIGURES
    canvas.box(x, y - 11, room, 14, "panel", round=3)
    canvas.box(x, y - 11, max(3, room * value / most), 14, colour, round=3)
    canvas.text(x + room + 8, y, figure)
