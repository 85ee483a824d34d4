"""The runs as a picture: one panel a strategy, one row a writer, time to the right."""

# What matplotlib says of its keywords is not complete.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from .contention import MarkKind, Run
from .simulation import Simulated

# Colours that colour-blind readers can tell apart (Okabe and Ito); in grey, the shapes differ.
_GREEN, _RED, _BLUE, _LIGHT_BLUE, _GREY = "#009e73", "#d55e00", "#0072b2", "#a6d8f0", "#c4c4c4"
_SERIES = ("#000000", "#999999", "#56b4e9", "#d55e00", "#cc79a7", "#0072b2", "#009e73")

_LINES: dict[MarkKind, tuple[str, str, float]] = {
    "wait": ("wait", _GREY, 1.0),
    "place": ("waiting for its place", _LIGHT_BLUE, 2.2),
    "reload": ("reload", _BLUE, 2.2),
}
_POINTS: dict[MarkKind, tuple[str, str, str]] = {
    "rejected": ("rejected attempt", _RED, "x"),
    "failed": ("attempt that failed otherwise", _BLUE, "+"),
    "stored": ("stored append", _GREEN, "o"),
}


def save_plot(runs: Sequence[Run], caption: str, file: Path) -> None:
    """Draw the runs into an svg or png file, told apart by its suffix.

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


def save_simulation(results: Sequence[Simulated], caption: str, file: Path) -> None:
    """Draw writers against seconds, the slowest append and calls, one line a strategy; a hollow point lost something.

    Raises:
        OSError: the file cannot be written.
    """
    figure = Figure(figsize=(11, 4.6), layout="constrained")
    figure.suptitle("Writers of one session", fontsize=14, fontweight="bold")
    titles = ("seconds until the last is done", "seconds of the slowest append", "calls of the append for each event")
    panels = figure.subplots(1, len(titles))
    strategies = list(dict.fromkeys(result.strategy for result in results))
    for number, strategy in enumerate(strategies):
        row = [result for result in results if result.strategy is strategy]
        writers = [result.writers for result in row]
        colour, marker = _SERIES[number % len(_SERIES)], "osD^v<>"[number % 7]
        values = ([r.seconds for r in row], [r.slowest for r in row], [r.calls for r in row])
        for axes, heights in zip(panels, values, strict=True):
            axes.plot(writers, heights, color=colour, linewidth=1.4, label=strategy.title)
            for result, height in zip(row, heights, strict=True):
                face = "none" if result.lost else colour
                axes.plot([result.writers], [height], marker, color=colour, markerfacecolor=face, markersize=5)
    for axes, title in zip(panels, titles, strict=True):
        axes.set_title(title, loc="left", fontsize=10)
        axes.set_xlabel("writers", fontsize=9)
        axes.set_ylim(bottom=0)
        axes.tick_params(labelsize=8)
        axes.spines[["top", "right"]].set_visible(False)
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(
        handles,
        labels,
        loc="outside lower center",
        ncols=4,
        frameon=False,
        fontsize=9,
        title=f"{caption}; hollow: lost",
    )
    with rc_context({"svg.fonttype": "none"}):
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
