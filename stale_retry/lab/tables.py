"""Tables with a bar in each row, for any terminal: narrow, without colour, or with ASCII only."""

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
        plain: its replacement on an output with ASCII only.
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
        raise BrokenPipeError  # the command line handles it and sets the exit code

    def bar(self, parts: Sequence[Part], width: int) -> Text:
        """One sign each, or at most `width` signs in proportion; every part that is not empty has at least one."""
        text = Text()
        for (_, mark), signs in zip(parts, _scaled([count for count, _ in parts], width), strict=True):
            text.append((mark.plain if self.options.ascii_only else mark.sign) * signs, style=mark.style)
        return text

    def legend(self, meanings: Mapping[Mark, str]) -> Text:
        """The meaning of each sign."""
        return Text("  ").join(self.bar([(1, mark)], 1).append(f" {said}") for mark, said in meanings.items())

    def table(self, columns: Sequence[str | Text], rows: Sequence[Sequence[str | Text]]) -> None:
        """A table if it fits, otherwise a block for each row.

        The name of a column of bars is a `Text`, and blocks leave it out.
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
        names = ["" if isinstance(column, Text) else column for column in columns]
        for row in rows:
            self.print(Text(str(row[0]), style="bold"))
            for name, cell in zip(names[1:], row[1:], strict=True):
                self.print(Text(f"  {name}: " if name else "  ").append(cell))


def _scaled(counts: Sequence[int], width: int) -> list[int]:
    total = sum(counts)
    if total <= width:
        return list(counts)
    signs = [max(1, round(count * width / total)) if count else 0 for count in counts]
    signs[signs.index(max(signs))] += width - sum(signs)
    return signs
