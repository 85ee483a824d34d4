"""Whatever several writers do, an incremental refresh leaves the session that a full reload would."""

import asyncio
import tempfile
from pathlib import Path

import pytest
from google.adk.sessions.base_session_service import GetSessionConfig
from google.adk.sessions.sqlite_session_service import SqliteSessionService
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stale_retry import is_stale_session_error
from stale_retry.adk import RetryingSessionService, refresh_session
from stale_retry.adk._reading import OVERLAP_SECONDS

from .app import KEY, event, ids, load

START = 1_800_000_000.0
KEYS = st.sampled_from(["a", "b", "c"])

WINDOWS = st.one_of(
    st.none(),
    st.builds(GetSessionConfig, num_recent_events=st.integers(1, 5)),
    st.builds(GetSessionConfig, after_timestamp=st.floats(START, START + 300)),
)


@st.composite
def steps(draw, lateness):
    """What one of three writers does next. Time passes; an event may be dated that much before it is stored."""
    writer = draw(st.integers(0, 2))
    what = draw(st.sampled_from(["append", "append", "append", "load", "refresh", "write"]))
    detail = {
        "append": st.tuples(
            st.floats(0, OVERLAP_SECONDS / 2), st.floats(0, lateness), st.dictionaries(KEYS, st.integers())
        ),
        "load": WINDOWS,
        "refresh": st.none(),
        "write": st.tuples(st.sampled_from(["mine", "temp:mine"]), st.integers()),
    }[what]
    return writer, what, draw(detail)


class Writer:
    """A writer's session, and what of it storage does not have."""

    def __init__(self, service):
        self.service = service
        self.pending = {}

    async def load(self, window):
        self.session = await load(self.service, config=window)
        self.window, self.pending = window, {}
        self.floor, self.own = self.floor_of(window), set()

    async def append(self, appended):
        try:
            await self.service.service.append_event(session=self.session, event=appended)
        except ValueError as error:
            if not is_stale_session_error(error):
                raise
        else:
            self.own.add(appended.id)

    def write(self, key, value):
        self.session.state[key] = self.pending[key] = value

    async def refresh(self):
        held = self.session.events, self.session.state
        assert await refresh_session(self.service.service, self.session) is self.session
        assert (self.session.events, self.session.state) == held
        assert self.session.events is held[0]
        assert self.session.state is held[1]

    async def check(self):
        everything = await load(self.service.service)
        mine = [event for event in everything.events if event.timestamp >= self.floor or event.id in self.own]
        assert ids(self.session) == [event.id for event in mine]
        assert self.session.state == {**everything.state, **self.pending}
        assert self.session.last_update_time == everything.last_update_time

    def floor_of(self, window):
        """Where this writer's history begins, in time."""
        if window is None:
            return 0.0
        if window.after_timestamp is not None:
            # Some releases date a session by the clock on the wall and not by its last event.
            dates = [self.session.last_update_time, *(event.timestamp for event in self.session.events)]
            return min(window.after_timestamp, max(dates) + 1e-6)
        return self.session.events[0].timestamp if len(self.session.events) == window.num_recent_events else 0.0


async def play(path, history):
    service = RetryingSessionService(SqliteSessionService(str(path)))
    await service.create_session(**KEY)
    await service.append_event(await load(service), event("first", timestamp=START))
    writers = [Writer(service) for _ in range(3)]
    for writer in writers:
        await writer.load(None)
    now = START
    for number, (index, what, detail) in enumerate(history):
        writer = writers[index]
        if what == "append":
            later, late, state = detail
            now += later
            # The number keeps two dates apart: storage has no order of its own for equal ones.
            await writer.append(event(f"{number}", timestamp=max(now - late, START) + (number + 1) / 1000, state=state))
        elif what == "load":
            await writer.load(detail)
        elif what == "write":
            writer.write(*detail)
        else:
            await writer.refresh()
            await writer.check()
    for writer in writers:
        await writer.refresh()
        await writer.check()


# The overlap is a minute or so many events, whichever is less: only within both is a late event sure to be seen.
@pytest.mark.parametrize(("overlap_events", "lateness"), [(100, OVERLAP_SECONDS - 1), (6, 0)])
def test_an_incremental_refresh_leaves_what_a_full_reload_would(monkeypatch, overlap_events, lateness):
    monkeypatch.setattr("stale_retry.adk._reading.OVERLAP_EVENTS", overlap_events)

    @settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck))
    @given(st.lists(steps(lateness), max_size=25))
    def holds(history):
        with tempfile.TemporaryDirectory() as directory:
            asyncio.run(play(Path(directory, "sessions.db"), history))

    holds()
