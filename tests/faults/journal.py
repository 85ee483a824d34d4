"""What a writer knows: one line before and one after each append, in the kernel's hands before the next step."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Entry:
    """One line.

    Attributes:
        kind: "sent" before an append, "acknowledged" or "failed" after it; "refused" for each attempt that the store
            answered with an error, "unread" for each reading that it did.
        message: what the writer wants stored, once: "writer number".
        id: the event's id.
        error: the error's class, from the outermost to its causes.
    """

    kind: str
    message: str = ""
    id: str = ""
    error: str = ""


class Journal:
    """A SIGKILL after `write` has returned cannot take the line back."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def write(self, kind: str, message: str = "", id: str = "", error: BaseException | None = None) -> None:
        entry = Entry(kind, message, id, causes(error))
        os.write(self._file, json.dumps(asdict(entry)).encode() + b"\n")

    def close(self) -> None:
        os.close(self._file)


def read(path: Path) -> list[Entry]:
    """Every whole line; a writer may have been killed in the middle of the last one."""
    if not path.exists():
        return []
    lines = path.read_bytes().split(b"\n")[:-1]
    return [Entry(**json.loads(line)) for line in lines]


def causes(error: BaseException | None) -> str:
    return " < ".join(type(link).__name__ for link in _chain(error))


def _chain(error: Any) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = getattr(error, "orig", None) or error.__cause__
