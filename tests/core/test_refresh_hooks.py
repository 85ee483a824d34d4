"""Every kind of refresh hook, and which session it is given."""

import functools

import anyio
import pytest

from stale_retry import StaleSessionError, retry_on_stale_session

from .ways import SOON

pytestmark = pytest.mark.anyio


class Session:
    def __init__(self, version):
        self.version = version


OLD, NEW = Session(1), Session(2)


class TestKindsOfRefresh:
    class Bound:
        def __init__(self):
            self.calls = []

        async def reload(self, session):
            self.calls.append(session)
            return NEW

        async def __call__(self, session):
            return await self.reload(session)

    async def stored_with(self, refresh):
        @retry_on_stale_session(refresh, **SOON)
        async def append(session, event):
            if session is not NEW:
                raise StaleSessionError
            return event

        return await append(OLD, "event")

    async def test_async(self):
        calls = []

        async def refresh(session):
            await anyio.lowlevel.checkpoint()
            calls.append(session)
            return NEW

        assert await self.stored_with(refresh) == "event"
        assert calls == [OLD]

    async def test_plain(self):
        calls = []

        def refresh(session):
            calls.append(session)
            return NEW

        assert await self.stored_with(refresh) == "event"
        assert calls == [OLD]

    async def test_lambda(self):
        assert await self.stored_with(lambda session: NEW if session is OLD else None) == "event"

    async def test_lambda_that_returns_an_awaitable(self):
        reloader = self.Bound()
        assert await self.stored_with(lambda session: reloader.reload(session)) == "event"
        assert reloader.calls == [OLD]

    async def test_bound(self):
        reloader = self.Bound()
        assert await self.stored_with(reloader.reload) == "event"
        assert reloader.calls == [OLD]

    async def test_callable_object(self):
        reloader = self.Bound()
        assert await self.stored_with(reloader) == "event"
        assert reloader.calls == [OLD]

    async def test_partial(self):
        calls = []

        async def refresh(store, session):
            calls.append((store, session))
            return NEW

        assert await self.stored_with(functools.partial(refresh, "store")) == "event"
        assert calls == [("store", OLD)]

    async def test_one_whose_signature_cannot_be_read_is_trusted(self):
        class Opaque:
            __signature__ = "none"

            def __call__(self, session):
                return NEW

        assert await self.stored_with(Opaque()) == "event"

    async def test_the_same_session_updated_in_place(self):
        session = Session(1)

        def refresh(session):
            session.version = 2
            return session

        @retry_on_stale_session(refresh, **SOON)
        async def append(session, event):
            if session.version == 1:
                raise StaleSessionError
            return session

        assert await append(session, "event") is session

    async def test_a_falsy_session_is_a_session(self):
        seen = []

        @retry_on_stale_session(lambda session: 0, **SOON)
        async def append(session, event):
            seen.append(session)
            if session:
                raise StaleSessionError
            return "stored"

        assert await append(1, "event") == "stored"
        assert seen == [1, 0]

    async def test_each_refresh_is_given_the_session_of_the_attempt_before_it(self):
        sessions = []

        def refresh(session):
            sessions.append(session)
            return session + 1

        @retry_on_stale_session(refresh, **SOON)
        async def append(session, event):
            if session < 4:
                raise StaleSessionError
            return session

        assert await append(1, "event") == 4
        assert sessions == [1, 2, 3]
