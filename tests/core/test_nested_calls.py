"""Calls inside calls, and inside task groups: what an inner call gave up on is not retried by an outer one."""

import sys

import anyio
import pytest

from stale_retry import (
    AttemptsExhaustedError,
    SessionGoneError,
    SessionRefreshError,
    StaleSessionError,
    StaleSessionRetryError,
    retry_on_stale_session,
)

from .ways import SOON

if sys.version_info < (3, 11):
    from exceptiongroup import ExceptionGroup

pytestmark = pytest.mark.anyio


class TestNesting:
    @pytest.mark.parametrize("reraise", [False, True])
    @pytest.mark.parametrize("outer_on", [StaleSessionError, Exception])
    async def test_decorated_calls_inside_each_other_do_not_multiply(self, reraise, outer_on):
        calls = 0

        @retry_on_stale_session(lambda session: session, on=outer_on, max_attempts=3, reraise=reraise, **SOON)
        @retry_on_stale_session(lambda session: session, max_attempts=3, reraise=reraise, **SOON)
        async def append(session):
            nonlocal calls
            calls += 1
            raise StaleSessionError

        with pytest.raises(StaleSessionError) as caught:
            await append("session")
        assert calls == 3
        assert isinstance(caught.value, StaleSessionRetryError) is not reraise

    @pytest.mark.parametrize("reraise", [False, True])
    @pytest.mark.parametrize("outer_on", [StaleSessionError, Exception])
    async def test_not_in_task_groups_either(self, reraise, outer_on):
        calls = 0

        @retry_on_stale_session(lambda session: session, max_attempts=3, reraise=reraise, **SOON)
        async def inner(session):
            nonlocal calls
            calls += 1
            raise StaleSessionError

        on = [outer_on, lambda error: True][outer_on is Exception]

        @retry_on_stale_session(lambda session: session, on=on, max_attempts=3, **SOON)
        async def outer(session):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(inner, session)

        with pytest.raises(BaseException) as caught:
            await outer("session")
        assert calls == 3
        assert not isinstance(caught.value, StaleSessionRetryError)

    async def test_an_inner_call_that_gives_up_in_a_refresh_hook_ends_the_outer_one(self):
        calls = 0

        @retry_on_stale_session(lambda session: session, max_attempts=2, reraise=True, **SOON)
        async def reload(session):
            nonlocal calls
            calls += 1
            raise StaleSessionError("the replica lags")

        @retry_on_stale_session(reload, max_attempts=5, **SOON)
        async def append(session):
            raise StaleSessionError

        with pytest.raises(SessionRefreshError) as caught:
            await append("session")
        assert calls == 2
        assert caught.value.attempts == 1

    async def test_an_inner_call_that_recovers_is_a_success_of_the_outer_one(self):
        calls = 0

        @retry_on_stale_session(lambda session: session, max_attempts=1, **SOON)
        @retry_on_stale_session(lambda session: session, max_attempts=3, reraise=True, **SOON)
        async def append(session):
            nonlocal calls
            calls += 1
            if calls < 3:
                raise StaleSessionError
            return "stored"

        assert await append("session") == "stored"

    async def test_a_store_that_raises_one_error_object_again_and_again_is_still_retried(self):
        error = StaleSessionError("always the same")
        left = 0

        @retry_on_stale_session(lambda session: session, max_attempts=3, reraise=True, **SOON)
        async def append(session):
            nonlocal left
            if left:
                left -= 1
                raise error
            return "stored"

        left = 9
        with pytest.raises(StaleSessionError) as caught:
            await append("session")
        assert caught.value is error
        left = 2
        assert await append("session") == "stored"


class TestGivingUpInsideAGroup:
    @pytest.mark.parametrize("reraise", [False, True])
    @pytest.mark.parametrize("hopeless_first", [False, True])
    async def test_one_child_that_gave_up_among_stale_ones_ends_the_outer_call(self, reraise, hopeless_first):
        made, gave_up = [], None

        async def hopeless():
            async def append(session, event):
                raise StaleSessionError

            policy = retry_on_stale_session(lambda session: session, max_attempts=2, reraise=reraise, **SOON)
            try:
                await policy.call(append, "session", "event")
            finally:
                gave_up.set()

        async def plain():
            with anyio.CancelScope(shield=True):
                await gave_up.wait()
            raise StaleSessionError

        async def append(session, event):
            nonlocal gave_up
            gave_up = anyio.Event()
            made.append(session)
            async with anyio.create_task_group() as tasks:
                for child in (hopeless, plain) if hopeless_first else (plain, hopeless):
                    tasks.start_soon(child)

        policy = retry_on_stale_session(lambda session: session, on=lambda error: True, max_attempts=3, **SOON)
        with pytest.raises(BaseException) as caught:  # a group
            await policy.call(append, "session", "event")
        assert len(made) == 1
        assert not isinstance(caught.value, AttemptsExhaustedError)

    def test_it_counts_even_if_the_clock_did_not_move_between(self, virtually):
        made = []

        async def hopeless():
            async def append(session, event):
                raise StaleSessionError

            policy = retry_on_stale_session(lambda session: session, max_attempts=1, reraise=True, **SOON)
            await policy.call(append, "session", "event")

        async def append(session, event):
            made.append(session)
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(hopeless)

        async def main():
            policy = retry_on_stale_session(lambda session: session, on=lambda error: True, max_attempts=3, **SOON)
            with pytest.raises(BaseException) as caught:
                await policy.call(append, "session", "event")
            assert not isinstance(caught.value, AttemptsExhaustedError)

        virtually(main)
        assert len(made) == 1


class TestExceptionGroups:
    async def stored_after(self, error):
        @retry_on_stale_session(lambda session: "fresh", **SOON)
        async def append(session, event):
            if session != "fresh":
                raise error
            return "stored"

        return await append("session", "event")

    async def test_a_group_of_only_stale_errors_is_retried(self):
        group = ExceptionGroup("", [StaleSessionError(), ExceptionGroup("", [StaleSessionError()])])
        assert await self.stored_after(group) == "stored"

    async def test_a_mixed_group_is_not(self):
        group = ExceptionGroup("", [StaleSessionError(), KeyError()])
        with pytest.raises(ExceptionGroup) as caught:
            await self.stored_after(group)
        assert caught.value is group

    async def test_a_group_with_a_call_that_gave_up_is_not(self):
        group = ExceptionGroup(
            "", [StaleSessionError(), SessionGoneError("gone", attempts=1, elapsed=0.0, last_error=KeyError())]
        )
        with pytest.raises(ExceptionGroup) as caught:
            await self.stored_after(group)
        assert caught.value is group
