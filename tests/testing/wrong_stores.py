"""Stores in memory that are wrong, each in one way, and the checks that have to fail for it.

`MemoryStore` is right. Each awaits where a real store would wait for its server.
"""

from __future__ import annotations

import asyncio
import itertools
from dataclasses import dataclass, field

from stale_retry import StaleSessionError
from stale_retry.testing import Event


@dataclass(eq=False)
class Session:
    id: str
    version: int = 0
    events: list = field(default_factory=list)


@dataclass
class Row:
    version: int = 0
    events: list = field(default_factory=list)


class MemoryStore:
    """compares and writes in one step, and reads version and events in one: this one is right"""

    fails = ()
    cannot_run = ("several processes",)
    seconds = 5

    def __init__(self):
        self.rows = {}
        self.ids = itertools.count()

    async def answer(self):
        await asyncio.sleep(0)

    async def create(self):
        await self.answer()
        session_id = f"session {next(self.ids)}"
        self.rows[session_id] = Row()
        return session_id

    async def load(self, session_id):
        await self.answer()
        session = Session(session_id)
        self.take(session)
        await self.answer()
        return session

    def take(self, session):
        row = self.rows[session.id]
        session.version, session.events[:] = row.version, row.events

    async def append(self, session, event):
        await self.answer()
        self.compare(session)
        self.write(session, event)
        await self.answer()

    def compare(self, session):
        if session.id not in self.rows or session.version != self.rows[session.id].version:
            raise StaleSessionError("stale")

    def write(self, session, event):
        row = self.rows[session.id]
        row.version += 1
        row.events.append(event)

    async def refresh(self, session):
        await self.answer()
        if session.id not in self.rows:
            return None
        self.take(session)
        await self.answer()
        return session

    async def events(self, session_id):
        await self.answer()
        return list(self.rows[session_id].events)

    async def delete(self, session_id):
        await self.answer()
        del self.rows[session_id]

    def find_stored(self, session, event):
        return next((stored for stored in session.events if stored.id == event.id), None)

    def event(self, n):
        return Event("ok", n)

    def mapping(self):
        return {
            "create": self.create,
            "load": self.load,
            "append": self.append,
            "refresh": self.refresh,
            "events": self.events,
            "event": self.event,
            "identity": lambda event: event.id,
            "seen": lambda session: session.events,
            "delete": self.delete,
            "find_stored": self.find_stored,
        }


NEVER_REJECTS = ("nothing stored", "recognised", "still stale", "no hidden events", *MemoryStore.cannot_run)
NEVER_REFRESHES = ("no hidden events", "cancelled refresh", "contended writers", "lost answer", *MemoryStore.cannot_run)


class NewestFirst(MemoryStore):
    """reads the newest event first"""

    fails = ("stored",)
    cannot_run = "all others"

    async def events(self, session_id):
        return [*reversed(await super().events(session_id))]


class WritesTwice(MemoryStore):
    """writes each event into two tables and reads both"""

    fails = ("stored",)
    cannot_run = "all others"

    def write(self, session, event):
        super().write(session, event)
        self.rows[session.id].events.append(event)


class CheckThenWrite(MemoryStore):
    """reads the version, awaits, and then writes the whole session"""

    fails = ("one winner", "first append", "contended writers")
    cannot_run = ("lost answer", *MemoryStore.cannot_run)

    async def append(self, session, event):
        self.compare(session)
        await self.answer()
        row = self.rows[session.id]
        row.version, row.events = session.version + 1, [*session.events, event]


class IgnoresTheRowCount(MemoryStore):
    """updates `WHERE version = ?` and does not look at the number of rows"""

    fails = ("one winner", "first append", "contended writers")
    cannot_run = (*NEVER_REJECTS, "lost answer")

    async def append(self, session, event):
        await self.answer()
        if session.version == self.rows[session.id].version:
            self.write(session, event)


class LastOneWins(MemoryStore):
    """compares nothing and writes the whole session"""

    fails = ("one winner", "first append", "contended writers")
    cannot_run = (*NEVER_REJECTS, "lost answer")

    async def append(self, session, event):
        await self.answer()
        row = self.rows[session.id]
        row.version, row.events = session.version + 1, [*session.events, event]


class ReloadsSilently(MemoryStore):
    """reloads by itself when the session is stale, and appends"""

    fails = ("one winner", "first append", "lost answer", "gone")
    cannot_run = NEVER_REJECTS

    def compare(self, session):
        self.rows.setdefault(session.id, Row())


class UnguardedFirst(MemoryStore):
    """takes the first append as an upsert, without comparing"""

    fails = ("first append",)

    def compare(self, session):
        if session.version:
            super().compare(session)


class WritesThenCompares(MemoryStore):
    """stores the event, and then compares the version"""

    fails = ("nothing stored", "contended writers")
    cannot_run = ("lost answer", *MemoryStore.cannot_run)

    async def append(self, session, event):
        await self.answer()
        try:
            self.compare(session)
        finally:
            self.write(session, event)


class ShowsTheRejected(MemoryStore):
    """adds the event to the session before the store has accepted it"""

    fails = ("nothing stored",)

    async def append(self, session, event):
        session.events.append(event)
        await super().append(session, event)


class UnknownError(MemoryStore):
    """rejects with an error that `on` does not know"""

    fails = ("recognised",)
    cannot_run = ("contended writers", "lost answer", *MemoryStore.cannot_run)

    def compare(self, session):
        try:
            super().compare(session)
        except StaleSessionError:
            raise RuntimeError("somebody else was faster") from None


class MovesTheVersion(MemoryStore):
    """moves the version of a rejected session, and not its events"""

    fails = ("still stale",)

    def compare(self, session):
        try:
            super().compare(session)
        except StaleSessionError:
            if session.id in self.rows:
                session.version = self.rows[session.id].version
            raise


class OneVersionForAll(MemoryStore):
    """has one version for all sessions"""

    fails = ("other sessions",)
    cannot_run = MemoryStore.cannot_run
    version = 0

    def take(self, session):
        super().take(session)
        session.version = self.version

    def compare(self, session):
        if session.id not in self.rows or session.version != self.version:
            raise StaleSessionError("stale")

    def write(self, session, event):
        super().write(session, event)
        self.version += 1


class CachesReads(MemoryStore):
    """refreshes from a copy that lags one event behind"""

    fails = ("refresh newest",)
    cannot_run = NEVER_REFRESHES

    async def refresh(self, session):
        fresh = await super().refresh(session)
        if fresh is not None and fresh.version:
            fresh.version, fresh.events[:] = fresh.version - 1, fresh.events[:-1]
        return fresh


class ForgetsTheSession(MemoryStore):
    """refreshes in place and does not return the session"""

    fails = ("refresh newest",)
    cannot_run = NEVER_REFRESHES

    async def refresh(self, session):
        await super().refresh(session)


class VersionAheadInRefresh(MemoryStore):
    """refreshes the events, awaits, and then reads the version"""

    fails = ("no hidden events",)

    async def refresh(self, session):
        if session.id not in self.rows:
            return None
        events = list(self.rows[session.id].events)
        await self.answer()
        session.version, session.events[:] = self.rows[session.id].version, events
        return session


class VersionAheadInLoad(MemoryStore):
    """loads the events, awaits, and then reads the version"""

    fails = ("no hidden events",)

    async def load(self, session_id):
        events = list(self.rows[session_id].events)
        await self.answer()
        return Session(session_id, self.rows[session_id].version, events)


class VersionBeforeEvent(MemoryStore):
    """moves the version, awaits, and then writes the event: two transactions"""

    fails = ("no hidden events", "cancelled append")

    async def append(self, session, event):
        await self.answer()
        self.compare(session)
        row = self.rows[session.id]
        row.version += 1
        await self.answer()
        row.events.append(event)


class EventBeforeVersion(MemoryStore):
    """writes the event, awaits, and then moves the version: two transactions"""

    fails = ("one winner", "first append", "cancelled append")

    async def append(self, session, event):
        await self.answer()
        self.compare(session)
        row = self.rows[session.id]
        row.events.append(event)
        await self.answer()
        row.version = session.version + 1


class LeavesALock(MemoryStore):
    """does not free its lock when an append is cancelled"""

    fails = ("cancelled append",)

    def __init__(self):
        super().__init__()
        self.locks = {}

    async def append(self, session, event):
        lock = self.locks.setdefault(session.id, asyncio.Lock())
        await lock.acquire()
        await self.answer()
        try:
            self.compare(session)
            self.write(session, event)
        finally:
            lock.release()


class AddsTwiceWhenCancelled(MemoryStore):
    """refreshes by adding the new events, awaits, and then moves the version"""

    fails = ("cancelled refresh",)

    async def refresh(self, session):
        await self.answer()
        if session.id not in self.rows:
            return None
        new = self.rows[session.id].events[session.version :]
        session.events += new
        await self.answer()
        session.version += len(new)
        return session


class FindsByText(MemoryStore):
    """finds stored events by what they say"""

    fails = ("look-alikes",)
    cannot_run = ("lost answer", *MemoryStore.cannot_run)

    def find_stored(self, session, event):
        return next((stored for stored in session.events if stored.body == event.body), None)


class FindsTheLastOnly(MemoryStore):
    """looks for a stored event at the last position only"""

    fails = ("lost answer",)

    def find_stored(self, session, event):
        return bool(session.events) and session.events[-1].id == event.id


class StoresEachTextOnce(MemoryStore):
    """has a unique constraint on what events say"""

    fails = ("stored",)
    cannot_run = "all others"

    def write(self, session, event):
        if event.body not in [stored.body for stored in self.rows[session.id].events]:
            super().write(session, event)


class Resurrects(MemoryStore):
    """creates a deleted session again when it refreshes"""

    fails = ("gone",)

    async def refresh(self, session):
        self.rows.setdefault(session.id, Row())
        return await super().refresh(session)


class RemembersOldSessions(MemoryStore):
    """creates a session that holds events already"""

    fails = ("stored",)
    cannot_run = "all others"

    async def create(self):
        session_id = await super().create()
        self.write(Session(session_id), self.event("old"))
        return session_id


class RejectsEverything(MemoryStore):
    """rejects an append through a session just loaded"""

    fails = ("stored",)
    cannot_run = "all others"

    def compare(self, session):
        raise StaleSessionError("stale")


class GivesOneIdToAll(MemoryStore):
    """gives all events one id"""

    fails = ("stored",)
    cannot_run = "all others"

    def event(self, n):
        return Event("ok", 0)


class ShowsNothing(MemoryStore):
    """loads a session without its events"""

    fails = ("stored",)
    cannot_run = "all others"

    def take(self, session):
        session.version = self.rows[session.id].version


class RejectsTheRefreshed(MemoryStore):
    """rejects an append through a session that was refreshed"""

    fails = ("refresh newest",)
    cannot_run = NEVER_REFRESHES

    async def refresh(self, session):
        fresh = await super().refresh(session)
        return fresh and Session(session.id, fresh.version + 1, fresh.events)


class MixesUpSessions(MemoryStore):
    """writes to the session that was loaded last"""

    fails = ("other sessions",)

    async def load(self, session_id):
        session = await super().load(session_id)
        self.last = session_id
        return session

    def write(self, session, event):
        row, last = self.rows[session.id], self.rows[self.last]
        row.version += 1
        last.events.append(event)


class StoresTwiceWhenCancelled(MemoryStore):
    """writes the event again when an append is cancelled"""

    fails = ("cancelled append",)

    async def append(self, session, event):
        await self.answer()
        self.compare(session)
        self.write(session, event)
        try:
            await self.answer()
        except asyncio.CancelledError:
            self.write(session, event)
            raise


class BreaksWhenCancelled(MemoryStore):
    """raises another error after an append was cancelled"""

    fails = ("cancelled append",)
    broken = False

    async def append(self, session, event):
        if self.broken:
            self.broken = False
            raise RuntimeError("another operation is in progress")
        try:
            await super().append(session, event)
        except asyncio.CancelledError:
            self.broken = True
            raise


class RejectsAllWhenCancelled(MemoryStore):
    """loads a version that does not exist when an append was cancelled"""

    fails = ("cancelled append",)

    def __init__(self):
        super().__init__()
        self.broken = set()

    def take(self, session):
        super().take(session)
        session.version += session.id in self.broken

    async def append(self, session, event):
        await self.answer()
        self.compare(session)
        self.write(session, event)
        try:
            await self.answer()
        except asyncio.CancelledError:
            self.broken.add(session.id)
            raise


class HidesWhenCancelled(MemoryStore):
    """does not show an event whose append was cancelled"""

    fails = ("cancelled append",)

    def __init__(self):
        super().__init__()
        self.hidden = []

    def take(self, session):
        super().take(session)
        session.events[:] = [event for event in session.events if event.id not in self.hidden]

    async def append(self, session, event):
        try:
            await super().append(session, event)
        except asyncio.CancelledError:
            self.hidden.append(event.id)
            raise


class SwallowsCancellation(MemoryStore):
    """tries again and again when an append is cancelled"""

    fails = ("cancelled append",)

    async def append(self, session, event):
        try:
            await super().append(session, event)
        except asyncio.CancelledError:
            await asyncio.sleep(2)


class ForgetsWhenCancelled(MemoryStore):
    """says that a session is gone when its refresh was cancelled"""

    fails = ("cancelled refresh",)

    def __init__(self):
        super().__init__()
        self.forgotten = []

    async def refresh(self, session):
        if session in self.forgotten:
            return None
        try:
            return await super().refresh(session)
        except asyncio.CancelledError:
            self.forgotten.append(session)
            raise


class StaysStaleWhenCancelled(MemoryStore):
    """does not move the version any more when a refresh was cancelled"""

    fails = ("cancelled refresh",)

    def __init__(self):
        super().__init__()
        self.stuck = []

    async def refresh(self, session):
        version = session.version
        try:
            fresh = await super().refresh(session)
        except asyncio.CancelledError:
            session.version = version
            self.stuck.append(session)
            raise
        if session in self.stuck:
            session.version = version
        return fresh


class LocksInTwoOrders(MemoryStore):
    """takes two locks in one order to append, and in the other to refresh"""

    fails = ("no hidden events",)
    cannot_run = ("contended writers", "lost answer", *MemoryStore.cannot_run)
    seconds = 1.5

    def __init__(self):
        super().__init__()
        self.locks = {}

    async def append(self, session, event):
        a, b = self.locks.setdefault(session.id, (asyncio.Lock(), asyncio.Lock()))
        async with a:
            await self.answer()
            async with b:
                await super().append(session, event)

    async def refresh(self, session):
        a, b = self.locks.setdefault(session.id, (asyncio.Lock(), asyncio.Lock()))
        async with b:
            await self.answer()
            async with a:
                return await super().refresh(session)


class LosesTheSession(MemoryStore):
    """does not find a session while an append to it is under way"""

    fails = ("no hidden events",)

    def __init__(self):
        super().__init__()
        self.busy = []

    async def append(self, session, event):
        self.busy.append(session.id)
        try:
            await super().append(session, event)
        finally:
            self.busy.remove(session.id)

    async def refresh(self, session):
        if session.id in self.busy and session.version == self.rows[session.id].version:
            return None
        return await super().refresh(session)


class RaisesWhenBusy(MemoryStore):
    """raises a timeout while another append to the session is under way"""

    fails = ("contended writers",)
    cannot_run = ("lost answer", *MemoryStore.cannot_run)

    def __init__(self):
        super().__init__()
        self.busy = []

    async def append(self, session, event):
        if session.id in self.busy:
            raise TimeoutError("busy")
        self.busy.append(session.id)
        try:
            await super().append(session, event)
        finally:
            self.busy.remove(session.id)


# For the command line


def right():
    return MemoryStore().mapping()


def check_then_write():
    return CheckThenWrite().mapping()


RIGHT, *WRONG = [kind for kind in list(vars().values()) if isinstance(kind, type) and issubclass(kind, MemoryStore)]
