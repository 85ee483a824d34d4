"""What happens in one conflict, and what three messages do in a queue. Nothing here is to scale."""

from __future__ import annotations

from canvas import Canvas


def conflict() -> Canvas:
    """Two writers load one session; the second append is stale, is retried, and is stored."""
    canvas = Canvas("Two writers load one session; the second append is rejected as stale, retried, and stored")
    alice, store, bob = 70, 280, 490
    for x, name, what in (
        (alice, "alice", "stores first"),
        (store, "the store", "rejects what is stale"),
        (bob, "bob", "with stale-retry"),
    ):
        canvas.box(x - 70, 0, 140, 42, "panel", round=6)
        canvas.text(x, 18, name, bold=True, at="middle")
        canvas.text(x, 34, what, "muted", at="middle")
        canvas.line([(x, 42), (x, 398)], "faint", 1.5)
    y = 72
    for end in (alice, bob):
        side = 1 if end == alice else -1
        canvas.arrow(store - 3 * side, end + 5 * side, y, "muted", dashed=True)
        _over(canvas, (store + end) / 2, y, "load: version 7", "muted")
    y = 112
    _call(canvas, alice, store, y, 'append("hello")', "ink")
    _call(canvas, store, alice, y + 34, "stored, version 8", "good")
    y = 184
    _call(canvas, bob, store, y, 'append("hi there")', "ink")
    _call(canvas, store, bob, y + 34, "stale: not version 7", "bad")
    canvas.text(store - 14, y + 26, "Without a retry it ends here,", "bad", at="end")
    canvas.text(store - 14, y + 42, "and bob's message is lost.", "bad", at="end")
    y = 250
    canvas.box(bob - 2, y - 22, 4, 22, "blue")
    canvas.text(bob - 14, y - 6, "waits briefly", "blue", at="end")
    _call(canvas, bob, store, y + 22, "reload", "blue")
    _call(canvas, store, bob, y + 56, "version 8", "blue")
    y = 344
    _call(canvas, bob, store, y, 'append("hi there")', "ink")
    _call(canvas, store, bob, y + 34, "stored, version 9", "good")
    return canvas


def _call(canvas: Canvas, start: float, end: float, y: float, text: str, colour: str) -> None:
    away = 3 if end > start else -3
    canvas.arrow(start + away, end - away, y, colour)
    _over(canvas, (start + end) / 2, y, text, colour)


def _over(canvas: Canvas, x: float, y: float, text: str, colour: str) -> None:
    canvas.text(x, y - 6, text, colour, at="middle")


def queued_turns() -> Canvas:
    """Three messages of one session are answered one by one; another session does not wait."""
    canvas = Canvas("Three messages of one session are answered one by one; another session does not wait")
    canvas.text(0, 16, "One session, three messages at once", bold=True)
    left, turn = 92, 140
    for number in range(3):
        y = 44 + number * 40
        start = left + 6 * number
        begin = left + number * (turn + 10)
        canvas.text(0, y + 4, f"message {number + 1}")
        canvas.dots([(start, y)], "ink", 7)
        if number:
            canvas.line([(start + 6, y), (begin - 4, y)], "muted", 1.5, dashed=True)
            canvas.text((start + begin) / 2, y - 7, "waits for its turn", "muted", at="middle")
        _turn(canvas, begin + 8 * (not number), y, turn)
    canvas.text(0, 176, "Another session", bold=True)
    canvas.text(0, 208, "message")
    canvas.dots([(left, 204)], "ink", 7)
    _turn(canvas, left + 8, 204, turn)
    canvas.text(left + 160, 208, "does not wait", "muted")
    return canvas


def _turn(canvas: Canvas, x: float, y: float, width: float) -> None:
    canvas.box(x, y - 13, width, 26, "panel", round=5)
    canvas.box(x, y - 13, 4, 26, "good", round=2)
    canvas.text(x + width / 2 + 2, y + 4.5, "load · run · answer", "good", at="middle")
