"""Retry, queue, turns and turns with a lease: what each does when two requests meet on one session. Not to scale."""

from __future__ import annotations

from canvas import WIDTH, Canvas

LEFT, ROW, GAP = 74, 26, 40


def draw() -> Canvas:
    canvas = Canvas("What a retry, a queue, turns and a shared lease do when two requests meet on one session")
    y = _head(canvas, 16, "Retry", "the second append is rejected; it reloads the session and is stored")
    _label(canvas, y, "alice", "bob")
    _append(canvas, LEFT, y, "append")
    _append(canvas, LEFT + 26, y + ROW, "rejected", "bad")
    canvas.line([(LEFT + 100, y + ROW), (LEFT + 134, y + ROW)], "muted", 1.5, dashed=True)
    _append(canvas, LEFT + 140, y + ROW, "reload", "blue")
    _append(canvas, LEFT + 220, y + ROW, "append")

    y = _head(
        canvas, y + ROW + GAP, "Queue, with key=", "appends of one process wait for each other, so none is rejected"
    )
    _label(canvas, y, "alice", "bob")
    _append(canvas, LEFT, y, "append")
    canvas.line([(LEFT + 26, y + ROW), (LEFT + 76, y + ROW)], "muted", 1.5, dashed=True)
    _append(canvas, LEFT + 82, y + ROW, "reload", "blue")
    _append(canvas, LEFT + 162, y + ROW, "append")

    y = _head(canvas, y + ROW + GAP, "Turns", "the second message waits until the first is answered")
    _label(canvas, y, "alice", "bob")
    _turn(canvas, LEFT, y)
    canvas.line([(LEFT + 26, y + ROW), (LEFT + 228, y + ROW)], "muted", 1.5, dashed=True)
    _turn(canvas, LEFT + 234, y + ROW)

    y = _head(
        canvas,
        y + ROW + GAP,
        "Turns with a lease",
        "the same for several processes, through a database that they share",
    )
    _label(canvas, y, "process 1", "process 2")
    _turn(canvas, LEFT, y)
    canvas.line([(LEFT + 26, y + ROW), (LEFT + 228, y + ROW)], "muted", 1.5, dashed=True)
    _turn(canvas, LEFT + 234, y + ROW)
    canvas.box(LEFT, y + ROW + 20, WIDTH - LEFT, 22, "panel", round=5)
    canvas.text(LEFT + 10, y + ROW + 35, "lease", "muted")
    canvas.text(LEFT + 112, y + ROW + 35, "process 1", "blue", at="middle")
    canvas.text(LEFT + 346, y + ROW + 35, "process 2", "blue", at="middle")
    return canvas


def _head(canvas: Canvas, y: float, title: str, what: str) -> float:
    canvas.text(0, y, title, bold=True)
    canvas.text(0, y + 17, what, "muted")
    return y + 42


def _label(canvas: Canvas, y: float, first: str, second: str) -> None:
    canvas.text(0, y + 4.5, first)
    canvas.text(0, y + ROW + 4.5, second)


def _append(canvas: Canvas, x: float, y: float, text: str, colour: str = "good") -> None:
    canvas.box(x, y - 10, 72, 20, "panel", round=5)
    canvas.box(x, y - 10, 4, 20, colour, round=2)
    canvas.text(x + 37, y + 4.5, text, colour, at="middle")


def _turn(canvas: Canvas, x: float, y: float) -> None:
    canvas.box(x, y - 10, 224, 20, "panel", round=5)
    canvas.box(x, y - 10, 4, 20, "good", round=2)
    canvas.text(x + 114, y + 4.5, "load · run · answer", "good", at="middle")
