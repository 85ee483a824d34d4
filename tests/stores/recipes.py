"""Runs the recipes of the documentation: every Python block of a page is a program of its own.

A program has `connect()`, an async context manager around its handle of the store; `append(handle, ...)`; and
`read(handle, chat_id)`. With `load(handle, chat_id)` an append goes through what that returns, else through the id. A
program that has `create(handle, chat_id)` wants a chat to be there. It finds its server in an environment variable.
"""

from __future__ import annotations

import asyncio
import functools
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

from stale_retry import RetryEvent

PAGES = Path(__file__).parents[2] / "docs" / "recipes"
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
WRITERS, EVENTS = 10, 5

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
        self._change(lambda retried: retried.retry_with(**changes))
        if self._wrapper is not None:
            self.module.RetryingTaskStore = functools.partial(self.module.RetryingTaskStore, **changes)

    def without_gate(self) -> None:
        def change(retried: Any) -> Any:
            options = {"key": None} if hasattr(retried.retrying, "key") else {}
            return retried.retry_with(gate=None, **options)

        self._change(change)
        if self._wrapper is not None:
            self.module.RetryingTaskStore = functools.partial(self.module.RetryingTaskStore, gate=None)

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
        session = await self.module.load(handle, chat_id) if self.has("load") else chat_id
        stored, errors = [], []
        for number in range(EVENTS):
            text = f"{writer}.{number}"
            # The outermost function has the plainest signature, decorated or not.
            ids = (f"{chat_id}/{text}",) if "event_id" in inspect.signature(self.module.append).parameters else ()
            try:
                answer = await self.module.append(handle, session, *ids, text)
            except Exception as error:
                errors.append(error)
                session = await self.module.load(handle, chat_id) if self.has("load") else chat_id
            else:
                if answer is not False:
                    stored.append(text)
        return stored, errors

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


def recipe(page: str, number: int = 0, **replacements: str) -> Recipe:
    source = programs(page)[number]
    for old, new in replacements.items():
        assert old in source
        source = source.replace(old, new)
    return Recipe(page, source)
