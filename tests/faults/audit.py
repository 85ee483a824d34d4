"""The independent reader: what the writers' journals say against what plain SQL finds in the database."""

from __future__ import annotations

import json
import sqlite3
from collections import Counter
from collections.abc import Iterable
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import asyncpg

from .journal import Entry

EVENTS = "SELECT event_data FROM events WHERE session_id = {} ORDER BY timestamp, id"
STATE = "SELECT state FROM sessions WHERE id = {}"


@dataclass(frozen=True)
class Stored:
    """One stored event."""

    id: str
    message: str
    delta: dict[str, Any]

    @classmethod
    def of(cls, event_data: str | dict[str, Any]) -> Stored:
        event = json.loads(event_data) if isinstance(event_data, str) else event_data
        return cls(event["id"], event["content"]["parts"][0]["text"], event["actions"]["state_delta"])


async def read_postgres(url: str, session: str) -> tuple[list[Stored], dict[str, Any]]:
    connection = await asyncpg.connect(url)
    try:
        rows = await connection.fetch(EVENTS.format("$1"), session)
        state = await connection.fetchval(STATE.format("$1"), session)
    finally:
        await connection.close()
    return [Stored.of(row["event_data"]) for row in rows], json.loads(state)


def read_sqlite(path: Path, session: str) -> tuple[list[Stored], dict[str, Any]]:
    with closing(sqlite3.connect(path)) as connection:
        rows = connection.execute(EVENTS.format("?"), (session,)).fetchall()
        (state,) = connection.execute(STATE.format("?"), (session,)).fetchone()
    return [Stored.of(row[0]) for row in rows], json.loads(state)


@dataclass(frozen=True)
class Report:
    """What became of every message.

    Attributes:
        sent: messages that a writer wanted stored.
        acknowledged: those whose append returned.
        stored: those that are in the database.
        lost: sent and not stored.
        lost_in_silence: acknowledged and not stored.
        twice: stored more than once.
        disordered: writers whose own messages are not stored in the order they were sent.
        wrong_state: keys of the session's state that are not what the stored events give, in their order.
        refused: attempts that the store answered with an error, by the error's class.
        calls: attempts in all. Those of a killed process that were answered with success count as acknowledged only.
    """

    sent: int
    acknowledged: int
    stored: int
    lost: frozenset[str]
    lost_in_silence: frozenset[str]
    twice: frozenset[str]
    disordered: frozenset[str]
    wrong_state: frozenset[str]
    refused: Counter[str] = field(default_factory=Counter)
    calls: int = 0
    seconds: float = 0.0

    @property
    def calls_per_event(self) -> float:
        return self.calls / max(self.stored, 1)

    @property
    def every_event_is_stored_once(self) -> bool:
        return not (self.lost or self.twice or self.disordered) and self.acknowledged == self.sent

    @property
    def nothing_lost_nothing_twice(self) -> bool:
        return self.every_event_is_stored_once and not self.wrong_state


def compare(entries: Iterable[Entry], stored: list[Stored], state: dict[str, Any], seconds: float = 0.0) -> Report:
    entries = list(entries)
    sent = {entry.message for entry in entries if entry.kind == "sent"}
    acknowledged = {entry.message for entry in entries if entry.kind == "acknowledged"}
    times = Counter(event.message for event in stored)
    refused = Counter(entry.error for entry in entries if entry.kind == "refused")
    return Report(
        sent=len(sent),
        acknowledged=len(acknowledged),
        stored=len(times),
        lost=frozenset(sent - times.keys()),
        lost_in_silence=frozenset(acknowledged - times.keys()),
        twice=frozenset(message for message, count in times.items() if count > 1),
        disordered=_disordered(stored),
        wrong_state=_wrong_state(stored, state),
        refused=refused,
        calls=refused.total() + len(acknowledged),
        seconds=seconds,
    )


def _disordered(stored: list[Stored]) -> frozenset[str]:
    last: dict[str, int] = {}
    disordered = set()
    for event in stored:
        writer, number = event.message.rsplit(" ", 1)
        if int(number) < last.get(writer, -1):
            disordered.add(writer)
        last[writer] = int(number)
    return frozenset(disordered)


def _wrong_state(stored: list[Stored], state: dict[str, Any]) -> frozenset[str]:
    given: dict[str, Any] = {}
    for event in stored:
        given.update(event.delta)
    return frozenset(key for key in given.keys() | state.keys() if given.get(key) != state.get(key))
