"""A turn whose lease is lost: no turn runs at the same time in its process, and it stores nothing more."""

import asyncio
import logging

import anyio
import pytest

from stale_retry import retry_on_stale_session
from stale_retry._context import retry_checks
from stale_retry.testing import VersionedStore
from stale_retry.turns import TurnLostError, TurnQueue

from .crowd import Crowd
from .stores import Leases


async def slow_to_end(crowd, name, seconds):
    with pytest.raises(TurnLostError):
        async with crowd.turns("session"):
            with crowd.runs(name):
                try:
                    await anyio.sleep(100)
                finally:
                    with anyio.CancelScope(shield=True):
                        await anyio.sleep(seconds)


def lost(seconds):
    """A turn that needs so long to end when its lease is lost, and one that waits for it."""

    async def main():
        leases = Leases()
        crowd = Crowd(TurnQueue(shared=leases, observers=()))
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(slow_to_end, crowd, "lost", seconds)
            await anyio.sleep(0.5)
            tasks.start_soon(crowd.turn, "next")
            await anyio.sleep(0.5)
            del leases.held['"session"']  # the server restarts and forgets
        return crowd

    return main


def test_the_next_turn_of_the_process_begins_when_the_lost_one_has_ended(virtually):
    async def main():
        crowd = await lost(4)()
        assert crowd.log == [("lost", "began"), ("next", "began"), ("next", "ended")]

    virtually(main)


def test_but_five_seconds_later_at_the_latest_and_a_warning_says_so(virtually, caplog):
    caplog.set_level(logging.WARNING, "stale_retry")

    async def main():
        leases = Leases()
        turns = TurnQueue(shared=leases, observers=())
        began = []

        async def next_turn():
            async with turns("session"):
                began.append(anyio.current_time())

        async def never_ends():
            with pytest.raises(TurnLostError):
                async with turns("session"):
                    del leases.held['"session"']
                    try:
                        await anyio.sleep(100)
                    finally:
                        with anyio.CancelScope(shield=True):
                            await anyio.sleep(60)

        start = anyio.current_time()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(never_ends)
            await anyio.sleep(0.5)
            tasks.start_soon(next_turn)
        assert began[0] - start == pytest.approx(6, abs=0.1)  # a second until it is noticed
        assert len(turns) == 0

    virtually(main)
    assert "has not ended within 5 s; the next turn of its key begins" in caplog.text


def test_an_abort_hook_that_a_lost_turn_ignores_is_followed_by_a_cancellation(virtually):
    async def main():
        leases = Leases()
        turns = TurnQueue(shared=leases, observers=())
        start = anyio.current_time()
        with pytest.raises(TurnLostError):
            async with turns("session", abort=lambda: None):
                del leases.held['"session"']
                await anyio.sleep(100)
        assert anyio.current_time() - start == pytest.approx(6, abs=0.1)

    virtually(main)


async def run_the_checks():
    """What each retried append does before another attempt."""
    for check in retry_checks.get():
        await check()


class TestZombies:
    """Appends of a turn that lost its lease."""

    def test_before_the_lease_runs_out_nothing_is_asked(self, virtually):
        async def main():
            leases = Leases()
            async with TurnQueue(shared=leases, observers=())("session"):
                await anyio.sleep(0.1)
                await run_the_checks()
            assert leases.calls == ["acquire", "release"]

        virtually(main)

    def test_after_it_ran_out_the_store_is_asked_and_the_append_refused(self, on_asyncio):
        async def main():
            leases = Leases(timeout=30)
            with pytest.raises(TurnLostError):
                async with TurnQueue(shared=leases, observers=())("session"):
                    asyncio.get_running_loop().now += 31  # the process is suspended
                    leases.take_away()
                    await run_the_checks()

        on_asyncio(main)

    def test_one_that_nobody_took_meanwhile_goes_on(self, on_asyncio):
        async def main():
            leases = Leases(timeout=30)
            async with TurnQueue(shared=leases, observers=())("session"):
                asyncio.get_running_loop().now += 31
                await run_the_checks()
                assert set(leases.calls) == {"acquire", "renew"}

        on_asyncio(main)

    def test_a_store_that_does_not_answer_then_refuses_the_append_too(self, on_asyncio):
        async def main():
            leases = Leases(timeout=30)
            with pytest.raises(TurnLostError):
                async with TurnQueue(shared=leases, observers=())("session"):
                    asyncio.get_running_loop().now += 31
                    leases.is_down = True
                    await run_the_checks()

        on_asyncio(main)

    def test_a_tool_that_outlives_its_lost_turn_is_refused(self, on_asyncio):
        async def main():
            leases = Leases()
            turns = TurnQueue(shared=leases, observers=())

            async def tool():
                await asyncio.sleep(20)
                await run_the_checks()

            with pytest.raises(TurnLostError):
                async with turns("session"):
                    task = asyncio.create_task(tool())
                    leases.take_away()
                    await asyncio.sleep(10)
            with pytest.raises(TurnLostError, match="the turn that this append belongs to has lost its lease"):
                await task

        on_asyncio(main)

    def test_a_task_that_outlives_a_turn_which_ended_well_is_not(self, on_asyncio):
        async def main():
            turns = TurnQueue(shared=Leases(), observers=())

            async def background():
                await asyncio.sleep(100)
                await run_the_checks()

            async with turns("session"):
                task = asyncio.create_task(background())
                await asyncio.sleep(1)
            await task

        on_asyncio(main)

    def test_a_retried_append_of_a_lost_turn_stores_nothing(self, on_asyncio):
        async def main():
            store, leases = VersionedStore(), Leases(timeout=30)
            append = retry_on_stale_session(store.refresh, observers=())(store.append)
            with pytest.raises(TurnLostError):
                async with TurnQueue(shared=leases, observers=())("session"):
                    session = store.open()
                    asyncio.get_running_loop().now += 31  # the process is suspended
                    leases.take_away()
                    await store.append(store.open(), "of the turn that came next")
                    await append(session, "of the zombie")
            assert [event for event in store.events() if "zombie" in str(event)] == []

        on_asyncio(main)

    def test_after_the_turn_nothing_is_checked(self, virtually):
        async def main():
            async with TurnQueue(shared=Leases(), observers=())("session") as turn:
                assert turn.ended is None
                assert len(retry_checks.get()) == 1
            assert retry_checks.get() == ()

        virtually(main)

    def test_turns_that_are_released_leave_no_checks(self, on_asyncio):
        async def main():
            turns = TurnQueue(shared=Leases(), observers=())
            for number in range(5):
                turn = turns(number)
                await turn.__aenter__()
                turn.release()
                await asyncio.sleep(1)
            assert len(retry_checks.get()) == 1

        on_asyncio(main)

    def test_without_shared_leases_nothing_is_checked(self, virtually):
        async def main():
            async with TurnQueue(observers=())("session"):
                assert retry_checks.get() == ()

        virtually(main)


def test_a_renewal_that_fails_is_repeated_with_a_pause(virtually):
    async def main():
        leases = Leases(timeout=30)
        with pytest.raises(TurnLostError):
            async with TurnQueue(shared=leases, observers=())("session"):
                leases.is_down = True
                await anyio.sleep(100)
        assert 20 <= len([call for call in leases.calls if call in ("look", "renew")]) <= 40

    virtually(main)


def test_a_release_that_fails_after_the_lease_ran_out_is_a_loss(on_asyncio):
    async def main():
        leases = Leases(timeout=30)
        with pytest.raises(TurnLostError):
            async with TurnQueue(shared=leases, observers=())("session"):
                asyncio.get_running_loop().now += 31
                leases.is_down = True

    on_asyncio(main)
