"""An `Attempts`: it serves one loop of one task, and its time limit."""

import asyncio
import sys

import anyio
import pytest

from stale_retry import AttemptsExhaustedError, InDoubtError, StaleSessionError, retry_on_stale_session

from .ways import SOON, append_in

if sys.version_info < (3, 11):
    from exceptiongroup import ExceptionGroup

pytestmark = pytest.mark.anyio


class TestAnAttempts:
    policy = retry_on_stale_session(lambda session: session, max_attempts=2, **SOON)

    @pytest.mark.parametrize("ending", ["stored", "gave up", "broke off"])
    async def test_serves_one_loop(self, ending):
        attempts = self.policy.attempts("session")
        try:
            async for attempt in attempts:
                with attempt:
                    if ending == "broke off":
                        break
                    if ending == "gave up":
                        raise StaleSessionError
        except AttemptsExhaustedError:
            pass
        with pytest.raises(RuntimeError, match="serves one loop"):
            async for _ in attempts:
                raise AssertionError("made again")

    async def test_is_not_entered_when_it_is_over(self):
        async for attempt in self.policy.attempts("session"):
            with attempt:
                pass
        with pytest.raises(RuntimeError, match="entered once"), attempt:
            raise AssertionError("made again")

    async def test_is_not_entered_before_its_loop_begins(self):
        with pytest.raises(RuntimeError, match="entered once"), self.policy.attempts("session"):
            raise AssertionError("made")

    async def test_entered_within_itself_fails_at_once_and_cancels_nothing_later(self):
        with pytest.raises(RuntimeError, match="entered once"):
            async for attempt in self.policy.replace(attempt_timeout=0.01).attempts("session"):
                with attempt, attempt:
                    raise AssertionError("made twice")
        await anyio.sleep(0.02)

    async def test_shared_by_two_tasks_refuses_the_second(self):
        attempts = self.policy.attempts("session")
        made, refused = [], []

        async def writer():
            try:
                async for attempt in attempts:
                    with attempt:
                        await anyio.lowlevel.checkpoint()
                        made.append(attempt.number)
            except RuntimeError as error:
                refused.append(str(error))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(writer)
            tasks.start_soon(writer)
        assert made == [1]
        assert len(refused) == 1

    async def test_is_advanced_and_entered_by_the_task_of_its_loop_only(self):
        attempts = self.policy.attempts("session")
        attempt = await anext(aiter(attempts))
        refused = []

        async def other():
            for use in (attempt.__enter__, lambda: None):
                try:
                    use()
                    await anext(attempts)
                except RuntimeError as error:
                    refused.append(str(error))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(other)
        assert refused == ["attempts(...) serves one task; call it again in the other"] * 2
        with attempt:
            pass


class TestATimeLimit:
    @pytest.mark.parametrize("way", ["decorator", "with", "async with"])
    @pytest.mark.parametrize("rejected", [1, 2])
    def test_a_child_that_answers_stale_as_the_time_runs_out_is_judged_on_every_attempt(self, virtually, way, rejected):
        made = []

        async def stubborn():
            try:
                await anyio.sleep(60)
            except anyio.get_cancelled_exc_class():
                raise StaleSessionError from None

        async def append(session, event):
            made.append(session)
            if len(made) < rejected:
                raise StaleSessionError
            if len(made) == rejected:
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(stubborn)
                    tasks.start_soon(anyio.sleep, 60)

        async def main():
            policy = retry_on_stale_session(lambda session: session, attempt_timeout=1, max_attempts=9, **SOON)
            return await append_in(way, policy, append, "session", "event")

        virtually(main)
        assert len(made) == rejected + 1

    def test_a_block_over_its_time_is_in_doubt(self, virtually):
        async def main():
            policy = retry_on_stale_session(
                lambda session: session, on=TimeoutError, attempt_timeout=1, max_attempts=2, **SOON
            )
            with pytest.raises(InDoubtError):
                async for attempt in policy.attempts("session"):
                    with attempt:
                        await anyio.sleep(60)

        virtually(main)


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
@pytest.mark.parametrize("limit", [None, 0.02])
async def test_a_generator_that_yields_inside_its_block_and_is_closed_elsewhere_cancels_nothing_later(limit):
    policy = retry_on_stale_session(lambda session: session, attempt_timeout=limit, **SOON)

    async def turn():
        async for attempt in policy.attempts("session"):
            with attempt:
                yield attempt.number

    generator = turn()
    assert await anext(generator) == 1
    try:
        await asyncio.create_task(generator.aclose())
    except RuntimeError:
        assert limit is not None  # a time limit cannot be lifted from another task
    await asyncio.sleep(0.04)


async def test_a_group_with_a_stale_leaf_and_another_is_not_retried_in_a_block():
    with pytest.raises(ExceptionGroup):
        async for attempt in TestAnAttempts.policy.attempts("session"):
            with attempt:
                raise ExceptionGroup("two", [StaleSessionError(), KeyError()])
