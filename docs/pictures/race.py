"""The race under each strategy: a panel for each strategy, a row for each writer, time to the right."""

from __future__ import annotations

import math
from typing import Any

from canvas import WIDTH, Canvas

LEFT, RIGHT, ROW = 12, WIDTH - 12, 9


def draw(measured: dict[str, Any]) -> Canvas:
    writers, events = measured["writers"], measured["events"]
    canvas = Canvas(f"{writers} writers append {events} events each to one session, under four strategies")
    canvas.text(0, 16, f"{writers} writers, {events} events each, at once on one session", bold=True)
    canvas.text(0, 34, f"{measured['about']}; each panel has a time scale of its own", "muted")
    top = 62.0
    for run in measured["strategies"]:
        top = _panel(canvas, run, writers, top)
    _legend(canvas, top + 2)
    return canvas


def _panel(canvas: Canvas, run: dict[str, Any], writers: int, top: float) -> float:
    sent, stored = run["sent"], run["stored"]
    canvas.text(0, top, run["title"], bold=True)
    lost = f"{sent - stored} of {sent} lost" if stored < sent else f"all {sent} stored"
    canvas.text(WIDTH, top, f"{lost}, {run['seconds']:.2f} s", "good" if stored == sent else "bad", at="end", bold=True)
    first = top + 16
    canvas.box(0, top + 8, WIDTH, writers * ROW + 8, "panel", round=4)

    def x(seconds: float) -> float:
        return LEFT + (RIGHT - LEFT) * seconds / float(run["seconds"])

    def spans(kind: str) -> list[tuple[float, float, float]]:
        return [(x(start), x(end), first + ROW * writer) for writer, start, end in run["marks"].get(kind, ())]

    for kind, colour, width in (("wait", "faint", 2.0), ("queue", "sky", 3.0), ("reload", "blue", 3.0)):
        canvas.spans([span for span in spans(kind) if span[1] - span[0] >= 0.5], colour, width)
    for kind, colour in (("rejected", "bad"), ("failed", "muted")):
        canvas.crosses([(end, y) for _, end, y in spans(kind)], colour, 5)
    canvas.dots([(end, y) for _, end, y in spans("stored")], "good", 6)
    canvas.squares([(x(end), first + ROW * writer) for writer, end in run["lost"]], "ink", 8)
    bottom = top + 8 + writers * ROW + 8
    step = _step(run["seconds"])
    for tick in range(int(run["seconds"] / step) + 1):
        canvas.text(x(tick * step), bottom + 14, _tick(tick * step), "muted", at="middle" if tick else "start")
    return bottom + 44


def _step(seconds: float) -> float:
    """Four to eight ticks at round numbers."""
    size = 10.0 ** math.floor(math.log10(seconds / 4))
    return next(size * factor for factor in (1, 2, 5, 10) if seconds / (size * factor) <= 8)


def _tick(seconds: float) -> str:
    return "0 s" if not seconds else f"{seconds:.3f}".rstrip("0").rstrip(".")


def _legend(canvas: Canvas, y: float) -> None:
    columns = (6, 190, 375)
    canvas.dots([(columns[0] + 5, y - 4)], "good", 6)
    canvas.crosses([(columns[1] + 5, y - 4)], "bad", 6)
    canvas.squares([(columns[2] + 5, y - 4)], "ink", 9)
    canvas.crosses([(columns[2] + 5, y - 4)], "bad", 5)
    for column, text in zip(columns, ("stored", "rejected as stale", "given up: lost"), strict=True):
        canvas.text(column + 18, y, text)
    for column, colour, text in zip(
        columns, ("sky", "faint", "blue"), ("waits in the queue", "waits before a retry", "reloads"), strict=True
    ):
        canvas.spans([(column - 2, column + 12, y + 16)], colour, 3)
        canvas.text(column + 18, y + 20, text)
