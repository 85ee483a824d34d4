"""A small SVG writer: shapes by class, colours by theme, the same bytes for the same picture."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape

WIDTH = 560
"""Of every picture, in the units of its text (13): a phone shows it at two thirds of that, a page a little enlarged."""

FONTS = "system-ui,-apple-system,'Segoe UI',Roboto,'DejaVu Sans',sans-serif"

# Colours that colour-blind readers can tell apart (after Okabe and Ito), on furo's light and dark ground.
THEMES = {
    "light": {
        "ground": "#ffffff",
        "ink": "#1b1f24",
        "muted": "#59636e",
        "faint": "#d4d9df",
        "panel": "#f3f5f7",
        "good": "#00795a",
        "bad": "#c34a00",
        "blue": "#0069a8",
        "sky": "#8cc8ee",
    },
    "dark": {
        "ground": "#131416",
        "ink": "#e7e9ec",
        "muted": "#a0aab5",
        "faint": "#3d444d",
        "panel": "#1e2125",
        "good": "#35cfa2",
        "bad": "#ff9055",
        "blue": "#62b6f0",
        "sky": "#2f6f9c",
    },
}

Point = tuple[float, float]


def number(value: float) -> str:
    """One decimal is a tenth of a pixel."""
    return f"{value:.1f}".removesuffix(".0")


class Canvas:
    """Shapes are classed "ink", "muted", "good", "bad" … and take that colour of the theme."""

    def __init__(self, title: str) -> None:
        self.title = title
        self.bottom = 0.0
        self._shapes: list[str] = []

    def text(
        self, x: float, y: float, text: str, colour: str = "ink", *, at: str = "start", bold: bool = False
    ) -> None:
        """Text that stands on y; `at` is where x is: "start", "middle" or "end" of it."""
        place = "" if at == "start" else f' text-anchor="{at}"'
        kind = f"{colour} bold" if bold else colour
        self._add(y + 4, f'<text x="{number(x)}" y="{number(y)}" class="{kind}"{place}>{escape(text)}</text>')

    def box(self, x: float, y: float, width: float, height: float, colour: str, *, round: float = 0) -> None:
        corner = f' rx="{number(round)}"' if round else ""
        size = f'width="{number(width)}" height="{number(height)}"'
        self._add(y + height, f'<rect x="{number(x)}" y="{number(y)}" {size} class="{colour}"{corner}/>')

    def line(self, points: Iterable[Point], colour: str, width: float = 1, *, dashed: bool = False) -> None:
        points = list(points)
        path = "M" + " ".join(f"{number(x)} {number(y)}" for x, y in points)
        self.strokes(path, colour, width, max(y for _, y in points), dashed=dashed)

    def spans(self, spans: Iterable[tuple[float, float, float]], colour: str, width: float) -> None:
        """Many level lines, each from x to x at y."""
        spans = list(spans)
        path = "".join(f"M{number(start)} {number(y)}H{number(max(end, start + 0.5))}" for start, end, y in spans)
        self.strokes(path, colour, width, max((y for *_, y in spans), default=0))

    def dots(self, points: Iterable[Point], colour: str, size: float) -> None:
        points = list(points)
        path = "".join(f"M{number(x)} {number(y)}h0" for x, y in points)
        self.strokes(path, colour, size, max((y for _, y in points), default=0), extra=' stroke-linecap="round"')

    def crosses(self, points: Iterable[Point], colour: str, size: float) -> None:
        points = list(points)
        a, b = number(size / 2), number(size)
        path = "".join(f"M{number(x)} {number(y)}m-{a}-{a}l{b} {b}m0-{b}l-{b} {b}" for x, y in points)
        self.strokes(path, colour, 1.4, max((y for _, y in points), default=0))

    def squares(self, points: Iterable[Point], colour: str, size: float) -> None:
        points = list(points)
        a, b = number(size / 2), number(size)
        path = "".join(f"M{number(x)} {number(y)}m-{a}-{a}h{b}v{b}h-{b}z" for x, y in points)
        self.strokes(path, colour, 1.2, max((y for _, y in points), default=0))

    def arrow(self, start: float, end: float, y: float, colour: str, *, dashed: bool = False) -> None:
        """A level arrow with its head at `end`."""
        back = -1 if end > start else 1
        self.line([(start, y), (end, y)], colour, 1.6, dashed=dashed)
        self.line([(end + 7 * back, y - 4), (end, y), (end + 7 * back, y + 4)], colour, 1.6)

    def strokes(
        self, path: str, colour: str, width: float, bottom: float, *, dashed: bool = False, extra: str = ""
    ) -> None:
        if path:
            dashes = ' stroke-dasharray="5 4"' if dashed else ""
            stroke = f'stroke-width="{number(width)}"{dashes}{extra}'
            self._add(bottom, f'<path d="{path}" class="{colour} stroke" {stroke}/>')

    def drawn(self, theme: str, *, on_ground: bool = False) -> str:
        """The SVG file's text; `on_ground` paints the theme's ground, for places whose own is not known."""
        margin = 14 if on_ground else 0
        left, width, height = -margin, WIDTH + 2 * margin, round(self.bottom) + 8 + 2 * margin
        size = f'width="{width}" height="{height}"'
        ground = [f'<rect x="{left}" y="{left}" {size} class="ground" rx="8"/>'] if on_ground else []
        shapes = "\n".join(ground + self._shapes)
        colours = "".join(
            f".{name}{{fill:{colour}}}.{name}.stroke{{fill:none;stroke:{colour}}}"
            for name, colour in THEMES[theme].items()
            if f'class="{name}' in shapes
        )
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="{left} {left} {width} {height}" {size} role="img">\n'
            f"<title>{escape(self.title)}</title>\n"
            f"<style>text{{font:13px {FONTS}}}text.bold{{font-weight:600}}{colours}</style>\n"
            f"{shapes}\n</svg>\n"
        )

    def _add(self, bottom: float, shape: str) -> None:
        self.bottom = max(self.bottom, bottom)
        self._shapes.append(shape)
