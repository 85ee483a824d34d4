"""Runs the recipes of the documentation: every Python block of a page is a program of its own.

A program has `connect()`, an async context manager around its handle of the store; `append(handle, ...)`; and
`read(handle, chat_id)`. With `load(handle, chat_id)` an append goes through what that returns, else through the id. A
program that has `create(handle, chat_id)` wants a chat to be there. It finds its server in an environment variable.
An `append` that takes an `event_id` gets a UUID.
"""

from __future__ import annotations

import asyncio
import inspect
import itertools
import re
import sys
import types
from collections import Counter
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import NAMESPACE_URL, uuid5

from stale_retry import RetryEvent, retry_with

PAGES = Path(__file__).parents[2] / "docs" / "recipes"
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
WRITERS, EVENTS = 10, 5
SAID = "said-"
"""What every text begins with: a proxy knows by it which message carries an event."""

_numbers = itertools.count()


@dataclass
class Recipe:
    """A program of a page, run as a module of its own."""

    page: str
    source: str
    module: types.ModuleType = field(init=False)
    told: list[RetryEvent] = field(default_factory=list)

    def __post_init__(self) -> None:
        name = f"recipe_{next(_numbers)}"
        self.module = sys.modules[name] = types.ModuleType(name)
        exec(compile(self.source, str(PAGES / self.page), "exec"), vars(self.module))
        self._wrapper = getattr(self.module, "RetryingTaskStore", None)
        self.with_options(observers=self.told.append)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.module, name)

    def has(self, name: str) -> bool:
        return hasattr(self.module, name)

    def decorated(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self.module).items() if hasattr(value, "retrying")}

    def with_options(self, **changes: Any) -> None:
        self._change(lambda retried: retry_with(retried, **changes))
        if self._wrapper is not None:
            wrapped = self.module.RetryingTaskStore
            self.module.RetryingTaskStore = lambda store, **options: wrapped(store, **{**options, **changes})

    def without_queue(self) -> None:
        self.with_options(key=None)

    def without_looking(self) -> None:
        """As a user writes it who thinks of conflicts alone."""
        self.with_options(in_doubt=None, find_stored=None)

    def bare(self) -> None:
        self._change(inspect.unwrap)
        if self._wrapper is not None:
            self.module.RetryingTaskStore = lambda store, **options: store

    def _change(self, change: Any) -> None:
        for name, value in self.decorated().items():
            setattr(self.module, name, change(value))

    @asynccontextmanager
    async def open(self, chat_id: str):
        async with self.module.connect() as handle:
            if self.has("create_table"):
                await self.module.create_table(handle)
            if self.has("create"):
                await self.module.create(handle, chat_id)
            yield handle

    async def write(self, handle: Any, chat_id: str, writer: int) -> tuple[list[str], list[Exception]]:
        """Append a writer's events, one after the other; returns what was acknowledged and what was raised."""
        session = await self._load(handle, chat_id)
        stored, errors = [], []
        for number in range(EVENTS):
            text = f"{SAID}{writer}.{number}"
            # The outermost function has the plainest signature, decorated or not.
            has_ids = "event_id" in inspect.signature(self.module.append).parameters
            ids = (str(uuid5(NAMESPACE_URL, f"{chat_id}/{text}")),) if has_ids else ()
            try:
                answer = await self.module.append(handle, session, *ids, text)
            except Exception as error:
                errors.append(error)
                session = await self._load(handle, chat_id)
            else:
                if answer is None or answer:
                    stored.append(text)
        return stored, errors

    async def _load(self, handle: Any, chat_id: str) -> Any:
        """A session, however often a broken connection makes loading fail."""
        if not self.has("load"):
            return chat_id
        for _ in range(50):
            try:
                return await self.module.load(handle, chat_id)
            except Exception:
                await asyncio.sleep(0.1)
        return await self.module.load(handle, chat_id)

    async def contend(self, handle: Any, chat_id: str, writers: int = WRITERS) -> tuple[list[str], list[Exception]]:
        outcomes = await asyncio.gather(*(self.write(handle, chat_id, writer) for writer in range(writers)))
        return (
            sorted(itertools.chain.from_iterable(stored for stored, _ in outcomes)),
            [error for _, errors in outcomes for error in errors],
        )

    @property
    def retries(self) -> int:
        return Counter(event.kind for event in self.told)["retrying"]


def programs(page: str) -> list[str]:
    """A page's programs, each with its line numbers kept."""
    text = (PAGES / page).read_text()
    return ["\n" * text.count("\n", 0, block.start(1)) + block[1] for block in BLOCK.finditer(text)]


ALL = [(page.name, number) for page in sorted(PAGES.glob("*.md")) for number in range(len(programs(page.name)))]


VARIANTS = {
    "sqlalchemy.md on MariaDB": (
        "sqlalchemy.md",
        {
            'os.environ["DATABASE_URL"]': 'os.environ["MARIADB_URL"]',
            "class Base(DeclarativeBase):\n    pass": (
                "from sqlalchemy import String\n"
                "class Base(DeclarativeBase):\n    type_annotation_map = {str: String(99)}"
            ),
        },
    ),
    "eventsourcing.md on SQLite": (
        "eventsourcing.md",
        {
            "asyncio.to_thread(Chats)": "asyncio.to_thread(Chats, SQLITE)",
            "class Chats(": (
                "import tempfile\n"
                'SQLITE = {"PERSISTENCE_MODULE": "eventsourcing.sqlite", "SQLITE_DBNAME": tempfile.mktemp()}\n'
                "class Chats("
            ),
        },
    ),
}
"""Programs of pages on other stores: (page, replacements)."""


def source_of(name: str | tuple[str, int]) -> str:
    """The source of a variant, or of a page's program by its number."""
    if isinstance(name, tuple):
        return programs(name[0])[name[1]]
    page, replacements = VARIANTS[name]
    source = programs(page)[0]
    for old, new in replacements.items():
        assert old in source
        source = source.replace(old, new)
    return source


def recipe(page: str, number: int = 0, **replacements: str) -> Recipe:
    source = programs(page)[number]
    for old, new in replacements.items():
        assert old in source
        source = source.replace(old, new)
    return Recipe(page, source)
