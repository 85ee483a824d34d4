"""The runs as a picture: a panel for each strategy, a row for each writer, time to the right."""

# matplotlib's types of its keywords are not complete.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from .contention import MarkKind, Run

# Colours that colour-blind readers can tell apart (Okabe and Ito); in grey, the shapes differ.
_GREEN, _RED, _BLUE, _LIGHT_BLUE, _GREY = "#009e73", "#d55e00", "#0072b2", "#a6d8f0", "#c4c4c4"

_LINES: dict[MarkKind, tuple[str, str, float]] = {
    "wait": ("wait", _GREY, 1.0),
    "queue": ("waiting in the queue", _LIGHT_BLUE, 2.2),
    "reload": ("reload", _BLUE, 2.2),
}
_POINTS: dict[MarkKind, tuple[str, str, str]] = {
    "rejected": ("rejected attempt", _RED, "x"),
    "failed": ("attempt that failed otherwise", _BLUE, "+"),
    "stored": ("stored append", _GREEN, "o"),
}


def save_plot(runs: Sequence[Run], caption: str, file: Path) -> None:
    """Draw the runs in a file, svg or png by its suffix.

    Raises:
        OSError: the file cannot be written.
    """
    row = max(0.09, min(0.2, 3.6 / max(run.writers for run in runs)))
    heights = [0.5 + row * run.writers for run in runs]
    figure = Figure(figsize=(11, sum(heights) + 1.6), layout="constrained")
    figure.suptitle("Several writers append to one session", fontsize=14, fontweight="bold")
    panels = figure.subplots(len(runs), 1, squeeze=False, height_ratios=heights)
    for axes, run in zip(panels[:, 0], runs, strict=True):
        _draw(axes, run, size=row * 26)
    panels[-1, 0].set_xlabel("seconds, on a scale of its own in each panel", fontsize=9)
    figure.legend(handles=_legend(runs), loc="outside lower center", ncols=6, frameon=False, fontsize=9, title=caption)
    with rc_context({"svg.fonttype": "none"}):  # text stays text: searchable, and read aloud
        figure.savefig(file, dpi=150)


def _draw(axes: Axes, run: Run, size: float) -> None:
    for kind, (_, colour, width) in _LINES.items():
        rows, starts, ends = _spans(run, kind)
        axes.hlines(rows, starts, ends, colors=colour, linewidths=width)
    for kind, (_, colour, shape) in _POINTS.items():
        rows, starts, ends = _spans(run, kind)
        axes.hlines(rows, starts, ends, colors=colour, linewidths=0.5)
        axes.plot(ends, rows, shape, color=colour, markersize=size)
    lost = [append for append in run.sent if append.token not in run.found]
    rows, ends = [append.writer for append in lost], [append.end for append in lost]
    axes.plot(ends, rows, "s", color="black", markersize=1.5 * size, markerfacecolor="none")
    axes.set_title(
        f"{run.strategy.title}: {run.stored} of {len(run.sent)} stored, {run.lost} lost, {run.seconds:.2f} s",
        loc="left",
        fontsize=10,
    )
    axes.set_xlim(-0.01 * run.seconds, 1.01 * run.seconds)
    axes.set_ylim(run.writers - 0.4, -0.6)
    axes.set_yticks([])
    axes.set_ylabel(f"{run.writers} writers", fontsize=9)
    axes.tick_params(labelsize=8)
    axes.spines[["top", "right", "left"]].set_visible(False)


def _spans(run: Run, kind: MarkKind) -> tuple[list[int], list[float], list[float]]:
    """Rows, starts and ends of every mark of that kind."""
    marks = [(writer, mark) for writer, marks in run.marks.items() for mark in marks if mark.kind == kind]
    return [writer for writer, _ in marks], [mark.start for _, mark in marks], [mark.end for _, mark in marks]


def _legend(runs: Sequence[Run]) -> list[Line2D]:
    seen = {mark.kind for run in runs for marks in run.marks.values() for mark in marks}
    points = [
        Line2D([], [], linewidth=0.5, marker=shape, color=colour, label=label)
        for kind, (label, colour, shape) in _POINTS.items()
        if kind in seen
    ]
    lost = Line2D([], [], linestyle="none", marker="s", color="black", markerfacecolor="none", label="lost append")
    lines = [
        Line2D([], [], color=colour, linewidth=width, label=label)
        for kind, (label, colour, width) in _LINES.items()
        if kind in seen
    ]
    return [*points, lost, *lines]
