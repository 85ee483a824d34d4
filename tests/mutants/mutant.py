"""One change of one file of the package that makes it wrong."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Mutant:
    """A mutant.

    Attributes:
        file: its place in the package.
        what: what is wrong then.
        old: what stands there, once.
        new: what stands there instead.
        equivalent: why nobody can notice, where that is so.
    """

    file: str
    what: str
    old: str
    new: str
    equivalent: str = ""

    def __str__(self) -> str:
        return f"{self.file}: {self.what}"

    @property
    def suite(self) -> str:
        """The folder of the tests that must notice."""
        folder = self.file.partition("/")[0]
        return folder if folder in ("adk", "turns") else "core"

    def fits(self, package: Path) -> bool:
        """Whether the code is still what the mutant was made for."""
        return (package / self.file).read_text().count(self.old) == 1

    def apply(self, package: Path) -> None:
        file = package / self.file
        file.write_text(file.read_text().replace(self.old, self.new))
