"""Whatever several writers do to state: no write is lost that is not told of, and merged counters count everything."""

import asyncio
import contextlib
import tempfile
from pathlib import Path

import pytest
from google.adk.sessions.base_session_service import GetSessionConfig
from google.adk.sessions.sqlite_session_service import SqliteSessionService
from google.adk.sessions.state import State
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stale_retry.adk import RetryingSessionService, StateConflictError
from stale_retry.testing import no_waiting

from .app import KEY, event, load
from .releases import FAKED, SQLITE_PATCHES_STATE

ALL_KEYS = ["a", "b", "c.d", "user:a", "app:a", "temp:a"]
KEYS = st.sampled_from(ALL_KEYS)
PLAIN_VALUES = st.booleans() | st.integers(-2, 2) | st.sampled_from(["", "x", 1.5, 2.0]) | st.lists(st.booleans())
ANY_VALUES = st.recursive(
    st.none() | PLAIN_VALUES,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(["p", "q"]), inner, max_size=2),
    max_leaves=3,
)
VALUES = PLAIN_VALUES if SQLITE_PATCHES_STATE else ANY_VALUES
WRITERS = st.integers(0, 2)
FATES = st.sampled_from(["stored", "stored", "stored", "answer lost", "request lost"])
WINDOWS = st.sampled_from([None, GetSessionConfig(num_recent_events=1), GetSessionConfig(after_timestamp=4e9)])

STEPS = st.one_of(
    st.tuples(WRITERS, st.just("write"), KEYS, VALUES),
    st.tuples(WRITERS, st.just("append at once"), KEYS, VALUES),
    st.tuples(WRITERS, st.just("append"), FATES, st.none()),
    st.tuples(WRITERS, st.just("append something else"), FATES, st.none()),
    st.tuples(WRITERS, st.just("load"), WINDOWS, st.none()),
    st.tuples(st.none(), st.just("bare write"), KEYS, VALUES),
)


def plain(value):
    """The value as JSON has it, where 1.0 is 1 and True is not. A key that is not there is as one that is None."""
    if isinstance(value, dict):
        return tuple(sorted((key, plain(inner)) for key, inner in value.items()))
    return tuple(map(plain, value)) if isinstance(value, list) else (str(type(value) is bool), value)


class Store:
    """The service, and the state that it has."""

    def __init__(self, service):
        self.service = service
        self.append = service.append_event
        service.append_event = self
        self.state, self.fate = {}, "stored"

    async def __call__(self, *, session, event):
        """What the wrapper calls; the answer or the request may get lost."""
        fate, self.fate = self.fate, "stored"
        if fate == "request lost":
            raise ConnectionError(fate)
        if fate == "answer lost":
            session, event = session.model_copy(deep=True), event.model_copy(deep=True)
        delta = dict(event.actions.state_delta)
        await self.append(session=session, event=event)
        self.note(delta)
        if fate == "answer lost":
            raise ConnectionError(fate)
        return event

    def note(self, delta):
        self.state.update({key: plain(value) for key, value in delta.items() if not key.startswith(State.TEMP_PREFIX)})

    def values(self):
        return {key: self.state.get(key, plain(None)) for key in ALL_KEYS}

    async def write(self, delta):
        session = await load(self.service)
        late = max([session.last_update_time, *(other.timestamp for other in session.events)]) + 0.001
        await self.append(session=session, event=event(state=delta, timestamp=late))
        self.note(delta)


class Writer:
    """A writer's session, the event it is about to append, and what it knew of the keys that the event writes."""

    def __init__(self, store, state_conflicts):
        self.store = store
        self.service = RetryingSessionService(
            store.service, state_conflicts=state_conflicts, in_doubt=ConnectionError, observers=()
        )

    async def load(self, window=None):
        self.session = await self.service.get_session(**KEY, config=window)
        self.known = self.store.values()
        self.coming, self.based_on = event(author="agent"), {}

    def write(self, key, value):
        if plain(value) == plain(self.session.state.get(key)):
            return  # what changes nothing is no write as long as its event has not come
        self.based_on.setdefault(key, self.known.get(key))
        State(self.session.state, self.coming.actions.state_delta)[key] = value

    async def append(self, appended, fate="stored"):
        """Raises AssertionError: a write of somebody else was overwritten, and nobody was told."""
        writes = [key for key in appended.actions.state_delta if not key.startswith(State.TEMP_PREFIX)]
        before, expected = self.store.values(), {key: self.based_on.get(key, self.known.get(key)) for key in writes}
        self.store.fate = fate
        try:
            await self.service.append_event(self.session, appended)
        except StateConflictError:
            await self.load()
            return
        finally:
            self.store.fate = "stored"
        lost = [key for key in writes if before[key] not in (expected[key], self.store.state[key])]
        assert lost == []
        self.known = self.store.values()
        self.based_on.update({key: self.known[key] for key in writes if key in self.based_on})
        if appended is self.coming:
            self.coming, self.based_on = event(author="agent"), {}


async def play(service, steps):
    await service.create_session(**KEY)
    store = Store(service)
    writers = [Writer(store, "raise") for _ in range(3)]
    for writer in writers:
        await writer.load()
    for index, what, detail, value in steps:
        if what == "bare write":
            await store.write({detail: value})
            continue
        writer = writers[index]
        if what == "load":
            await writer.load(detail)
        elif what == "append":
            await writer.append(writer.coming, detail)
        elif what == "append something else":
            await writer.append(event("else", author="agent"), detail)
        elif what == "append at once":
            await writer.append(event(author="agent", state={detail: value}))
        else:
            writer.write(detail, value)
    for writer in writers:
        await writer.append(writer.coming)
        await writer.append(event("last", author="agent"))
        stored = (await load(service)).state
        held = {key: value for key, value in writer.session.state.items() if not key.startswith(State.TEMP_PREFIX)}
        assert held == stored


@contextlib.contextmanager
def services():
    """A new service, empty, and where it is cheap to have many of them."""
    with tempfile.TemporaryDirectory() as directory:
        yield {
            "sqlite_service": lambda: SqliteSessionService(str(Path(directory, "sessions.db"))),
            "firestore_service": firestore_service,
            "mongodb_service": mongodb_service,
        }


def firestore_service():
    from google.adk.integrations.firestore.firestore_session_service import FirestoreSessionService

    from .firestore import Client

    return FirestoreSessionService(client=Client())


def mongodb_service():
    import mongomock
    from google.adk.integrations.mongodb import MongoDbSessionService

    return MongoDbSessionService(database_name="chat", mongo_client=mongomock.MongoClient())


everywhere = pytest.mark.parametrize("name", ["sqlite_service", *FAKED])
thorough = settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))


@everywhere
def test_no_write_is_lost_that_is_not_raised(name):
    @thorough
    @given(st.lists(STEPS, max_size=25))
    def holds(steps):
        with services() as make, no_waiting():
            asyncio.run(play(make[name](), steps))

    holds()


COUNTS = st.one_of(
    st.tuples(WRITERS, st.just("count"), st.sampled_from(["n", "user:n"]), st.integers(1, 9)),
    st.tuples(WRITERS, st.just("append"), FATES, st.none()),
    st.tuples(WRITERS, st.just("append something else"), FATES, st.none()),
    st.tuples(st.none(), st.just("bare write"), st.sampled_from(["n", "user:n"]), st.integers(1, 9)),
)


def add(key, base, theirs, mine):
    return (theirs or 0) + (mine or 0) - (base or 0)


async def count(service, steps):
    await service.create_session(**KEY)
    store = Store(service)
    writers = [Writer(store, add) for _ in range(3)]
    total = {}
    for writer in writers:
        await writer.load()
    for index, what, detail, number in steps:
        if what == "bare write":
            await store.write({detail: ((await load(service)).state.get(detail) or 0) + number})
            total[detail] = total.get(detail, 0) + number
            continue
        writer = writers[index]
        if what == "count":
            writer.write(detail, (writer.session.state.get(detail) or 0) + number)
            total[detail] = total.get(detail, 0) + number
            continue
        coming = writer.coming if what == "append" else event("else", author="agent")
        store.fate = detail
        await writer.service.append_event(writer.session, coming)
        if coming is writer.coming:
            writer.coming = event(author="agent")
    for writer in writers:
        await writer.service.append_event(writer.session, writer.coming)
    assert (await load(service)).state == total


@everywhere
def test_a_counter_that_is_merged_counts_every_increment(name):
    @thorough
    @given(st.lists(COUNTS, max_size=20))
    def holds(steps):
        with services() as make, no_waiting():
            asyncio.run(count(make[name](), steps))

    holds()
