"""A session that is brought up to date without reading is the session that storage has, however it came to be so."""

import asyncio
import contextlib
import math

import pytest
from google.adk.sessions import DatabaseSessionService
from google.adk.sessions.base_session_service import GetSessionConfig
from google.adk.sessions.sqlite_session_service import SqliteSessionService
from google.adk.sessions.state import State
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from stale_retry import is_stale_session_error
from stale_retry.adk._attempt import careful
from stale_retry.adk._changes import Changes
from stale_retry.adk._known import known_of, remember_loaded
from stale_retry.adk._reading import Refresh, read_back
from stale_retry.adk._releases import version_of
from stale_retry.adk._stored import StoredSessions

from .app import event, ids
from .releases import DATABASE_REJECTS_STALE, FAKED
from .test_state_properties import ANY_VALUES, services

PAST, FUTURE = 1_700_000_000.0, 1_800_000_000.0
SHARED = (State.APP_PREFIX, State.USER_PREFIX)
SESSIONS = [
    {"app_name": "app", "user_id": user, "session_id": name} for user, name in (("a", "1"), ("a", "2"), ("b", "3"))
]

WHICH = st.integers(0, 2)
INDEX = st.integers(0, 2)
KEYS = st.sampled_from(["a", "b", "user:a", "app:a", "temp:a"])
DELTAS = st.dictionaries(KEYS, ANY_VALUES, max_size=2)
LATER = st.sampled_from([1.0, 2e-6, 0.1234567, 61.0, 86_400.5])
WINDOWS = st.sampled_from(["everything", "recent 0", "recent 1", "recent 3", "from 1", "from 3"])


def step(name, *details):
    return st.tuples(st.just(name), WHICH, *details)


STEPS = st.one_of(
    step("append", INDEX, DELTAS, LATER),
    step("append", INDEX, DELTAS, LATER),
    step("append", INDEX, DELTAS, LATER),
    step("append_to_what_was_just_loaded", INDEX, DELTAS, LATER),
    step("append_what_is_dated_earlier", INDEX, DELTAS),
    step("append_elsewhere", DELTAS, LATER),
    step("fail", INDEX),
    step("write", KEYS, ANY_VALUES),
    step("take_out", INDEX),
    step("load", WINDOWS),
    step("make_anew"),
    step("look"),
    step("look"),
)


class Conversation:
    """A session that three writers append to, and that three readers bring up to date in one way each.

    Attributes:
        written: the keys that the readers wrote and did not append.
        unknowable: keys that were written elsewhere, through another session, since this one was read.
        is_changed_elsewhere: whether a foreign writer appended since this one was read.
    """

    def __init__(self, world, key):
        self.world, self.key, self.service = world, key, world.service
        self.unknowable = set()
        self.is_changed_elsewhere = False

    async def open(self):
        await self.service.create_session(**self.key)
        self.writers = [await self.loaded(None) for _ in range(3)]
        await self.load("everything")

    async def loaded(self, config):
        session = await self.service.get_session(**self.key, config=config)
        remember_loaded(session, config)
        known_of(session).made_since = math.inf  # each event keeps the date that it is given
        return session

    async def load(self, window):
        kind, _, count = window.partition(" ")
        config = GetSessionConfig(num_recent_events=int(count)) if kind == "recent" else None
        if kind == "from":
            stored = (await self.loaded(None)).events[-int(count) :]
            config = GetSessionConfig(after_timestamp=stored[0].timestamp - 0.001) if stored else None
        self.written = set()
        self.unknowable.clear()
        self.readers = [await self.loaded(config) for _ in range(3)]

    async def refresh(self, session, read):
        reading = await read(self.service, session)
        if reading is not None:
            changes = Changes(session, known_of(session), reading)
            changes.state.resolve("last_wins")
            changes.apply()
        return reading

    async def refresh_by_what_is_kept(self, session):
        readings = self.world.readings
        reading = await self.refresh(session, self.world.read_unless_known)
        if self.world.readings == readings:
            self.world.spared += 1
        else:
            self.unknowable.clear()
            self.is_changed_elsewhere = False
        return reading

    async def append(self, index, delta, later):
        await self.store(self.writers[index], event("text", state=delta, timestamp=self.world.in_a_while(later)))

    async def append_to_what_was_just_loaded(self, index, delta, later):
        self.writers[index] = await self.loaded(None)
        await self.append(index, delta, later)

    async def append_what_is_dated_earlier(self, index, delta):
        # A service that compares dates does not notice what is stored after one that is dated earlier.
        if not isinstance(self.service, SqliteSessionService):
            self.world.late += 0.01
            await self.store(self.writers[index], event("old", state=delta, timestamp=self.world.now - self.world.late))

    async def store(self, session, appended):
        for _ in range(3):
            try:
                await self.world.append(self.service, session, appended)
            except ValueError as error:
                if not is_stale_session_error(error):
                    raise
                await self.refresh_by_what_is_kept(session)
            else:
                return
        raise AssertionError("rejected although it was read")

    async def append_elsewhere(self, delta, later):
        """By a process that knows nothing of this one."""
        session = await self.service.get_session(**self.key)
        await self.service.append_event(session, event("else", state=delta, timestamp=self.world.in_a_while(later)))
        self.is_changed_elsewhere = True
        for other in self.world.conversations:
            other.unknowable |= {key for key in delta if key.startswith(SHARED) and other is not self}

    async def fail(self, index):
        """Nobody says whether an append is stored, and it is."""
        session = self.writers[index]
        copy = session.model_copy(deep=True)

        async def append_event(service, session, event):
            with contextlib.suppress(ValueError):
                await service.append_event(copy, event.model_copy(deep=True))
            raise ConnectionError

        with contextlib.suppress(ConnectionError):
            await careful(append_event, "session", self.world.stored)(
                self.service, session, event(timestamp=self.world.in_a_while(1.0))
            )

    async def write(self, key, value):
        self.written.add(key)
        for session in self.readers:
            session.state[key] = value

    async def take_out(self, index):
        for session in self.readers:
            del session.events[index : index + 1]

    async def make_anew(self):
        await self.service.delete_session(**self.key)
        await self.service.create_session(**self.key)
        self.world.in_a_while(100.0)
        self.writers = [await self.loaded(None) for _ in range(3)]
        await self.append(0, {}, 1.0)
        await self.load("everything")

    async def look(self):
        by_what_is_kept, incremental, full = self.readers
        spared = self.world.spared
        await self.refresh_by_what_is_kept(by_what_is_kept)
        await self.refresh(incremental, lambda *each: read_back(*each, "incremental"))
        await self.refresh(full, lambda *each: read_back(*each, "full"))
        if version_of(by_what_is_kept) != version_of(full):
            assert self.is_changed_elsewhere
            assert self.world.spared > spared
            # Storage tells so as soon as it is appended through, and then it is read.
            self.world.stored.take_failed(by_what_is_kept, is_stale=True)
            await self.refresh_by_what_is_kept(by_what_is_kept)
        fresh = await self.service.get_session(**self.key)
        for session in self.readers:
            assert [plain(each) for each in session.events] == [plain(each) for each in full.events]
            assert [each.timestamp for each in session.events] == pytest.approx(
                [each.timestamp for each in full.events], abs=1e-6
            )
            assert version_of(session) == version_of(fresh)
            unknown = self.unknowable if session is by_what_is_kept else set()
            assert without(unknown, session.state) == without(unknown, full.state)
            assert without(unknown | self.written, session.state) == without(unknown | self.written, fresh.state)
        assert set(ids(full)) <= set(ids(fresh))


def plain(stored):
    return stored.model_dump(exclude={"timestamp"})


def without(keys, state):
    return {key: value for key, value in state.items() if key not in keys}


class WaitedFor:
    """Stands for a queue that is never empty."""

    is_waited_for = True


class World:
    """Three conversations of two users.

    Attributes:
        readings: how often storage was read.
        spared: how often it was not, and a session brought up to date all the same.
    """

    def __init__(self, service):
        self.service = service
        queues = {str(key): WaitedFor() for key in SESSIONS}
        which = "app_name", "user_id", "id"
        self.stored = StoredSessions(
            lambda session: queues[str(dict(zip(SESSIONS[0], (getattr(session, name) for name in which), strict=True)))]
        )
        self.append = careful(type(service).append_event, "session", self.stored)
        # Events come after the session was made, but before the server's clock where that dates the session.
        self.now = FUTURE if isinstance(service, (DatabaseSessionService, SqliteSessionService)) else PAST
        self.readings = self.spared = 0
        self.late = 0.0
        self.get_session = service.get_session
        service.get_session = self.read

    def in_a_while(self, seconds):
        self.now += seconds
        return self.now

    async def read_unless_known(self, service, session):
        await Refresh("incremental", self.stored)(service, session)
        return known_of(session).news

    async def read(self, **arguments):
        self.readings += 1
        return await self.get_session(**arguments)

    async def play(self, steps):
        self.conversations = [Conversation(self, key) for key in SESSIONS]
        for conversation in self.conversations:
            await conversation.open()
        for name, which, *details in steps:
            await getattr(self.conversations[which], name)(*details)
        for conversation in self.conversations:
            await conversation.append(0, {"last": 1}, 1.0)
            await conversation.look()
        return self.spared


async def play(make, steps):
    service = make()
    try:
        return await World(service).play(steps)
    finally:
        if isinstance(service, DatabaseSessionService):
            await service.db_engine.dispose()


@contextlib.contextmanager
def all_services():
    with services() as make:
        yield {**make, "sqlite_database": lambda: DatabaseSessionService("sqlite+aiosqlite:///:memory:")}


# An event that was stored last and is not the last one in the history.
DATED_EARLIER = [("append", 0, 0, {}, 1.0), ("look", 0), ("append_what_is_dated_earlier", 0, 0, {})]
# What all sessions have is younger in the one that was loaded last than in what is kept.
LOADED_LATER = [
    ("append", 0, 0, {}, 1.0),
    ("look", 0),
    ("append_elsewhere", 1, {"app:a": 1}, 1.0),
    ("load", 0, "everything"),
]
# What is kept was read for somebody who needed less of it.
READ_FOR_ANOTHER = [
    ("append", 0, 1, {}, 1.0),
    ("append", 1, 0, {}, 61.0),
    ("append_what_is_dated_earlier", 0, 0, {}),
    ("append", 0, 1, {}, 1.0),
    ("append_what_is_dated_earlier", 0, 2, {}),
    ("append", 0, 1, {}, 1.0),
    ("look", 0),
]


@pytest.mark.parametrize("name", [*["sqlite_database"] * DATABASE_REJECTS_STALE, *FAKED])
def test_a_session_that_is_brought_up_to_date_without_reading_is_as_one_that_is_read(name):
    spared = []

    @settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
    @given(st.lists(STEPS, max_size=25))
    @example(DATED_EARLIER)
    @example(LOADED_LATER)
    @example(READ_FOR_ANOTHER)
    def holds(steps):
        with all_services() as make:
            spared.append(asyncio.run(play(make[name], steps)))

    holds()
    assert sum(spared) > len(spared) / 2
