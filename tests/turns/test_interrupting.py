"""The newest turn wins: it ends the running one and begins when that one has let go."""

import asyncio
import contextlib
import sys
import threading

import anyio
import pytest

from stale_retry.turns import SessionBusyError, TurnInterruptedError, TurnQueue

from .crowd import Crowd, in_order


def queue(**options):
    return TurnQueue("interrupt", observers=(), **options)


def test_the_newest_turn_ends_the_running_one_and_takes_its_slot(virtually):
    async def main():
        crowd = Crowd(queue())
        async with anyio.create_task_group() as tasks:
            await in_order(tasks, (crowd.turn, "old", 100), (crowd.turn, "new"))
        assert crowd.ended == ["new"]
        assert crowd.errors() == {"old": "TurnInterruptedError"}
        assert len(crowd.turns) == 0

    virtually(main)


def test_it_begins_only_when_the_interrupted_one_has_let_go(virtually):
    async def main():
        crowd = Crowd(queue())

        async def cleans_up():
            with pytest.raises(TurnInterruptedError) as error:
                async with crowd.turns("session"):
                    with crowd.runs("old"):
                        try:
                            await anyio.sleep(100)
                        finally:
                            with anyio.CancelScope(shield=True):
                                await anyio.sleep(5)
            assert error.value.started

        async with anyio.create_task_group() as tasks:
            await in_order(tasks, (cleans_up,), (crowd.turn, "new"))
        assert crowd.began == ["old", "new"]
        assert anyio.current_time() == pytest.approx(began + 6.01)

    began = 0.0
    virtually(main)


def test_a_waiter_gives_way_to_a_turn_that_is_newer_still(virtually):
    async def main():
        crowd = Crowd(queue())

        async def slow():
            with pytest.raises(TurnInterruptedError):
                async with crowd.turns("session"):
                    try:
                        await anyio.sleep(100)
                    finally:
                        with anyio.CancelScope(shield=True):
                            await anyio.sleep(5)

        async def superseded():
            error = await crowd.turn("superseded")
            assert isinstance(error, TurnInterruptedError)
            assert not error.started
            assert "nothing is stored" in str(error)
            assert crowd.turns.waiting("session") == 1

        async with anyio.create_task_group() as tasks:
            await in_order(tasks, (slow,), (superseded,), (crowd.turn, "newest"))
        assert crowd.began == ["newest"]

    virtually(main)


async def asyncio_goes_on():
    ends = asyncio.get_running_loop().time() + 10
    while asyncio.get_running_loop().time() < ends:
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.sleep(1)


async def trio_goes_on():
    with anyio.CancelScope(shield=True):
        await anyio.sleep(10)
    await anyio.lowlevel.checkpoint()


@pytest.mark.parametrize("goes_on", [asyncio_goes_on, trio_goes_on])
def test_a_turn_that_does_not_end_is_waited_for_until_the_deadline(goes_on, on_asyncio, on_trio):
    async def main():
        turns = queue(deadline=3)

        async def stubborn():
            with pytest.raises(TurnInterruptedError):
                async with turns("session"):
                    await goes_on()

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(stubborn)
            await anyio.sleep(1)
            with pytest.raises(SessionBusyError) as error:
                await turns("session").__aenter__()
        assert error.value.reason == "deadline"

    (on_asyncio if goes_on is asyncio_goes_on else on_trio)(main)


def test_a_block_that_ends_all_the_same_is_told_that_it_was_interrupted(on_asyncio):
    async def main():
        turns = queue()

        async def swallows():
            with pytest.raises(TurnInterruptedError):
                async with turns("session"):
                    with contextlib.suppress(asyncio.CancelledError):
                        await asyncio.sleep(100)
            assert sys.version_info < (3, 11) or asyncio.current_task().cancelling() == 0

        task = asyncio.create_task(swallows())
        await asyncio.sleep(1)
        async with turns("session"):
            pass
        await task

    on_asyncio(main)


@pytest.mark.parametrize("is_stopped", [False, True])
def test_a_generator_that_no_task_reads_any_more_gives_its_slot_back_and_is_told_if_it_goes_on(on_asyncio, is_stopped):
    async def main():
        events = []
        turns = TurnQueue("interrupt", deadline=3, observers=events.append)

        async def answers():
            async with turns("session"):
                yield 1

        reading = answers()
        await asyncio.create_task(anext(reading))
        if is_stopped:
            assert await turns.stop("session")
        await asyncio.create_task(Crowd(turns).turn("next"))
        assert asyncio.get_running_loop().time() == 1
        with pytest.raises(TurnInterruptedError):
            await anext(reading)
        assert len(turns) == 0
        kinds = [event.kind for event in events]
        assert kinds.count("started") == kinds.count("ended") == 2

    on_asyncio(main)


def test_what_such_a_generator_started_inside_is_waited_for(on_asyncio):
    async def main():
        turns, tasks = queue(), []

        async def inner():
            async with turns("session"):
                await asyncio.sleep(5)

        async def answers():
            async with turns("session"):
                tasks.append(asyncio.create_task(inner()))
                await asyncio.sleep(1)
                yield 1

        reading = answers()
        await asyncio.create_task(anext(reading))
        await asyncio.create_task(Crowd(turns).turn("next"))
        assert asyncio.get_running_loop().time() == 6
        await asyncio.gather(*tasks)
        await reading.aclose()

    on_asyncio(main)


def test_an_error_of_the_interrupted_block_is_the_callers(virtually):
    async def main():
        turns = queue()

        async def fails():
            with pytest.raises(ZeroDivisionError):
                async with turns("session"):
                    try:
                        await anyio.sleep(100)
                    finally:
                        raise ZeroDivisionError

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(fails)
            await anyio.sleep(1)
            async with turns("session"):
                pass

    virtually(main)


def test_a_turn_that_is_cancelled_and_interrupted_at_once_is_cancelled(virtually):
    async def main():
        turns = queue()
        with anyio.CancelScope() as scope:
            async with anyio.create_task_group() as tasks:
                entered = anyio.Event()

                async def turn():
                    async with turns("session"):
                        entered.set()
                        await anyio.sleep(100)

                tasks.start_soon(turn)
                await entered.wait()
                tasks.start_soon(turn)
                await anyio.lowlevel.checkpoint()
                scope.cancel()
        assert scope.cancelled_caught
        assert len(turns) == 0

    virtually(main)


def test_a_native_cancellation_beside_the_interruption_is_not_swallowed(on_asyncio):
    async def main():
        turns = queue()

        async def turn():
            async with turns("session"):
                await asyncio.sleep(100)

        task = asyncio.create_task(turn())
        await asyncio.sleep(1)
        newer = asyncio.create_task(turn())
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled() or sys.version_info < (3, 11)
        newer.cancel()
        await asyncio.wait([newer])
        assert newer.cancelled()

    on_asyncio(main)


def test_scopes_and_task_groups_inside_the_block_are_cancelled_with_it(virtually):
    async def main():
        turns = queue()
        cancelled = []

        async def child():
            try:
                await anyio.sleep(100)
            finally:
                cancelled.append("child")

        async def turn():
            with pytest.raises(TurnInterruptedError):
                async with turns("session"):
                    with anyio.fail_after(50):
                        async with anyio.create_task_group() as tasks:
                            tasks.start_soon(child)
                            tasks.start_soon(child)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(turn)
            await anyio.sleep(1)
            async with turns("session"):
                assert cancelled == ["child", "child"]

    virtually(main)


def test_an_abort_hook_ends_the_block_more_gently(virtually):
    async def main():
        turns = queue()
        log = []

        async def polite():
            stop = anyio.Event()
            with pytest.raises(TurnInterruptedError) as error:
                async with turns("session", abort=stop.set):
                    await stop.wait()
                    await anyio.sleep(1)  # nothing cancels it
                    log.append("said goodbye")
            assert error.value.started

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(polite)
            await anyio.sleep(1)
            async with turns("session"):
                assert log == ["said goodbye"]

    virtually(main)


def test_an_abort_hook_that_raises_is_logged_and_the_block_cancelled(virtually, caplog):
    async def main():
        turns = queue()

        def raises():
            raise ZeroDivisionError

        async def turn():
            with pytest.raises(TurnInterruptedError):
                async with turns("session", abort=raises):
                    await anyio.sleep(100)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(turn)
            await anyio.sleep(1)
            async with turns("session"):
                pass

    virtually(main)
    assert "abort hook" in caplog.text


def test_a_turn_in_another_thread_is_interrupted_too():
    turns = queue()
    outcomes = []

    async def old():
        with pytest.raises(TurnInterruptedError):
            async with turns("session"):
                thread.start()
                await anyio.sleep(100)
        outcomes.append("old ended")

    async def new():
        async with turns("session"):
            outcomes.append("new ran")

    thread = threading.Thread(target=anyio.run, args=(new,))
    anyio.run(old)
    thread.join()
    assert sorted(outcomes) == ["new ran", "old ended"]
    assert len(turns) == 0


def test_of_turns_inside_a_turn_the_outermost_is_ended_and_the_others_with_it(virtually):
    async def main():
        turns = queue()

        async def nested():
            with pytest.raises(TurnInterruptedError):
                async with turns("session"), turns("session"), anyio.create_task_group() as tasks:
                    tasks.start_soon(inner)

        async def inner():
            async with turns("session"):
                await anyio.sleep(100)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(nested)
            await anyio.sleep(1)
            async with turns("session"):
                pass
        assert len(turns) == 0

    virtually(main)


def test_an_abort_hook_is_for_a_turn_that_runs_and_one_that_waits_just_gives_way(virtually):
    async def main():
        events = []
        turns = TurnQueue("interrupt", observers=events.append)
        called = []

        async def slow():
            stop = anyio.Event()
            with pytest.raises(TurnInterruptedError):
                async with turns("session", abort=stop.set):
                    await stop.wait()
                    await anyio.sleep(5)

        async def superseded():
            with pytest.raises(TurnInterruptedError) as error:
                async with turns("session", abort=lambda: called.append("aborted")):
                    raise AssertionError("entered")
            assert not error.value.started

        async with anyio.create_task_group() as tasks:
            await in_order(tasks, (slow,), (superseded,), (Crowd(turns).turn, "newest"))
        assert called == []
        assert max(event.waiting for event in events) == 1

    virtually(main)
