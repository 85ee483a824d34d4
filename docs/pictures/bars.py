"""Whole turns at once, with and without the queue, in bars."""

from __future__ import annotations

from typing import Any

from canvas import WIDTH, Canvas

LEFT, RIGHT = 262, WIDTH - 64


def draw(measured: dict[str, Any]) -> Canvas:
    turns = measured["turns"]
    canvas = Canvas(f"{turns} turns at once on one session: answered, refused and mixed, with and without a queue")
    canvas.text(0, 16, f"{turns} turns at once on one session", bold=True)
    canvas.text(0, 34, "a tool in each; google-adk 2.13 on a SQLite file", "muted")
    top = 64.0
    for row in measured["rows"]:
        canvas.text(0, top, row["title"], bold=True)
        requests = row["requests"]
        _bar(canvas, top + 22, "turns answered", row["answered"], turns, "good" if row["answered"] == turns else "bad")
        _bar(canvas, top + 44, "requests of a form that is refused", row["refused"], requests, "bad")
        _bar(canvas, top + 66, "requests that show another's question", row["foreign"], requests, "bad")
        top += 102
    return canvas


def _bar(canvas: Canvas, y: float, label: str, count: int, of: int, colour: str) -> None:
    canvas.text(0, y, label, "muted")
    canvas.box(LEFT, y - 11, RIGHT - LEFT, 14, "panel", round=3)
    if count:
        canvas.box(LEFT, y - 11, max(3, (RIGHT - LEFT) * count / of), 14, colour, round=3)
    canvas.text(WIDTH, y, f"{count} of {of}", at="end")
