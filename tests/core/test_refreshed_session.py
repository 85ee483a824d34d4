"""The session that was stored through reaches the caller, so that its next append is not stale again."""

import pytest

from stale_retry import CLASSIC_SCHEDULE, retry_on_stale_session
from stale_retry.testing import VersionedStore


@pytest.fixture
def store():
    return VersionedStore()


@pytest.fixture
def classic(store):
    return retry_on_stale_session(store.refresh, **CLASSIC_SCHEDULE)


class TestTheRefreshedSessionReachesTheCaller:
    def test_returned_by_the_append(self, virtually, store, classic):
        @classic
        async def append(session, event):
            await store.append(session, event)
            return session

        async def main():
            session = store.open()
            await store.append(store.open(), "theirs")
            session = await append(session, "first")
            await append(session, "second")

        virtually(main)
        assert store.events() == ["theirs", "first", "second"]
        assert store.appends == 1 + 2 + 1

    def test_updated_in_place_by_the_hook(self, virtually, store):
        async def refresh(session):
            fresh = await store.refresh(session)
            session.version, session.events = fresh.version, fresh.events
            return session

        append = retry_on_stale_session(refresh, **CLASSIC_SCHEDULE)(store.append)

        async def main():
            session = store.open()
            await store.append(store.open(), "theirs")
            await append(session, "first")
            await append(session, "second")
            return session.events

        assert virtually(main) == ["theirs", "first", "second"]
        assert store.appends == 1 + 2 + 1

    def test_as_the_session_of_the_attempt(self, virtually, store, classic):
        async def main():
            session = store.open()
            await store.append(store.open(), "theirs")
            async for attempt in classic.attempts(session):
                with attempt:
                    await store.append(attempt.session, "first")
            await store.append(attempt.session, "second")

        virtually(main)
        assert store.events() == ["theirs", "first", "second"]
