"""Tables with a bar in each row, which are read at a glance on any terminal: without colour, and where it is none."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

_NO_LIMIT = 1000


@dataclass(frozen=True)
class Mark:
    """What a bar is drawn with.

    Attributes:
        sign: one character.
        plain: the same, where the output knows ASCII only.
        style: its colour.
    """

    sign: str
    plain: str
    style: str


Part = tuple[int, Mark]


class Paper(Console):
    """Standard output."""

    def __init__(self) -> None:
        super().__init__(highlight=False)

    def on_broken_pipe(self) -> None:
        raise BrokenPipeError  # left to the command line, which knows the exit code

    def bar(self, parts: Sequence[Part], width: int) -> Text:
        """A sign for each, or fewer signs where there are more than `width`: in proportion, but none is left out."""
        text = Text()
        for (_, mark), signs in zip(parts, _scaled([count for count, _ in parts], width), strict=True):
            text.append((mark.plain if self.options.ascii_only else mark.sign) * signs, style=mark.style)
        return text

    def legend(self, meanings: Mapping[Mark, str]) -> Text:
        """What each sign means."""
        return Text("  ").join(self.bar([(1, mark)], 1).append(f" {said}") for mark, said in meanings.items())

    def table(self, columns: Sequence[str | Text], rows: Sequence[Sequence[str | Text]]) -> None:
        """A table where it fits, otherwise one block a row.

        The columns' names may have two lines; that of a column of bars is a text, and stands above them only.
        """
        table = Table(box=SIMPLE_HEAD, show_edge=False, padding=(0, 1, 0, 0), pad_edge=False, header_style="")
        for number, column in enumerate(columns):
            is_left = number == 0 or isinstance(column, Text)
            table.add_column(column, justify="left" if is_left else "right", no_wrap=True)
        for row in rows:
            table.add_row(*row)
        if self.measure(table, options=self.options.update(width=_NO_LIMIT)).maximum <= self.width:
            self.print(table)
            return
        names = ["" if isinstance(column, Text) else column.replace("\n", " ") for column in columns]
        for row in rows:
            self.print(Text(str(row[0]), style="bold"))
            for name, cell in zip(names[1:], row[1:], strict=True):
                line = cell if isinstance(cell, Text) else Text(cell)
                self.print(Text(f"  {name}: " if name else "  ").append_text(Text(", ").join(line.split("\n"))))


def _scaled(counts: Sequence[int], width: int) -> list[int]:
    total = sum(counts)
    if total <= width:
        return list(counts)
    signs = [max(1, round(count * width / total)) if count else 0 for count in counts]
    signs[signs.index(max(signs))] += width - sum(signs)
    return signs
