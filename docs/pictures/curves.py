"""Writers against what they cost: the share lost, seconds, calls, and the slowest append. Simulated."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from canvas import Canvas

LEFT, RIGHT, HEIGHT = 40, 372, 150


@dataclass(frozen=True)
class Curve:
    label: str
    values: Sequence[float]
    colour: str
    dashed: bool = False


def contention(measured: dict[str, Any]) -> Canvas:
    by = measured["one_event"]
    canvas = Canvas("Writers of one session against appends lost, seconds and calls, under seven strategies")
    _head(canvas, "Writers of one session, one event each", measured)

    def curve(label: str, name: str, what: str, colour: str, *, dashed: bool = False, times: float = 1) -> Curve:
        return Curve(label, [times * value for value in by[name][what]], colour, dashed)

    lost = [
        curve("no retry", "none", "lost", "muted", dashed=True, times=100),
        curve("3 immediate retries", "immediate", "lost", "bad", dashed=True, times=100),
        curve("client-go's default", "client-go", "lost", "muted", times=100),
        curve("classic schedule", "classic", "lost", "bad", times=100),
        curve("ours: none, at any size", "ours", "lost", "good", times=100),
    ]
    top = _panel(canvas, 66, measured["writers"], "appends lost, %", lost, 100)
    seconds = [
        curve("classic, which loses", "classic", "seconds", "bad"),
        curve("ours, jitter added", "additive", "seconds", "blue", dashed=True),
        curve("our defaults", "ours", "seconds", "blue"),
        curve("ours, in a queue", "queue", "seconds", "good"),
    ]
    top = _panel(canvas, top, measured["writers"], "seconds until the last writer is done", seconds, 8)
    calls = [
        curve("ours, jitter added", "additive", "calls", "blue", dashed=True),
        curve("our defaults", "ours", "calls", "blue"),
        curve("ours, in a queue", "queue", "calls", "good"),
    ]
    _panel(canvas, top, measured["writers"], "calls of the append for each event", calls, None, last=True)
    return canvas


def slowest(measured: dict[str, Any]) -> Canvas:
    by = measured["slowest_of_three_events"]
    canvas = Canvas("The slowest append, with and without a queue")
    _head(canvas, "The slowest append, three events a writer", measured)
    curves = [Curve("without a queue", by["ours"], "blue"), Curve("in a queue", by["queue"], "good")]
    _panel(canvas, 66, measured["writers"], "seconds", curves, None, last=True)
    return canvas


def _head(canvas: Canvas, title: str, measured: dict[str, Any]) -> None:
    canvas.text(0, 16, title, bold=True)
    network = f"simulated, {1000 * measured['latency']:g} ms network, mean of {measured['seeds']} runs"
    canvas.text(0, 34, network, "muted")


def _panel(
    canvas: Canvas,
    top: float,
    writers: list[int],
    title: str,
    curves: Sequence[Curve],
    highest: float | None,
    *,
    last: bool = False,
) -> float:
    highest = highest or max(max(curve.values) for curve in curves)
    step = _step(highest)
    most = step * math.ceil(highest / step - 1e-9)

    def x(count: int) -> float:
        span = math.log(writers[-1] / writers[0])
        return LEFT + 8.0 + (RIGHT - LEFT - 16) * math.log(count / writers[0]) / span

    def y(value: float) -> float:
        return top + 16 + HEIGHT * (1 - value / most)

    canvas.text(0, top, title, bold=True)
    for tick in range(round(most / step) + 1):
        canvas.line([(LEFT, y(tick * step)), (RIGHT, y(tick * step))], "faint", 1)
        canvas.text(LEFT - 8, y(tick * step) + 4.5, f"{tick * step:g}", "muted", at="end")
    for count in writers:
        canvas.text(x(count), y(0) + 18, str(count), "muted", at="middle")
    canvas.text(RIGHT + 12, y(0) + 18, "writers", "muted")
    for curve in curves:
        points = [(x(count), y(value)) for count, value in zip(writers, curve.values, strict=True)]
        canvas.line(points, curve.colour, 2, dashed=curve.dashed)
        canvas.dots(points, curve.colour, 6)
    ends = [y(curve.values[-1]) for curve in curves]
    for curve, height in zip(curves, _apart(ends, y(0) - 1), strict=True):
        canvas.text(RIGHT + 6, height + 4.5, curve.label, curve.colour)
    return y(0) + (18 if last else 54)


def _step(highest: float) -> float:
    size = 10.0 ** math.floor(math.log10(highest / 3))
    return next(size * factor for factor in (1, 2, 5, 10) if highest / (size * factor) <= 5)


def _apart(heights: Sequence[float], lowest: float, gap: float = 16) -> list[float]:
    """The same order, moved as little as it takes that no label covers another or lies under `lowest`."""
    order = sorted(range(len(heights)), key=lambda index: (heights[index], index))
    placed = [heights[index] for index in order]
    for index in range(1, len(placed)):
        placed[index] = max(placed[index], placed[index - 1] + gap)
    for index in reversed(range(len(placed))):
        limit = lowest if index == len(placed) - 1 else placed[index + 1] - gap
        placed[index] = min(placed[index], limit)
    return [height for _, height in sorted(zip(order, placed, strict=True))]
