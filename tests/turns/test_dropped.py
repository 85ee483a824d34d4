"""What nobody leaves is freed and warned about."""

import asyncio
import gc
import threading
import warnings

import anyio
import pytest
from core.virtual import VirtualLoop

from stale_retry.turns import TurnQueue, _queues, _turn

from .crowd import Crowd
from .stores import Leases


def queue(*args, **options):
    return TurnQueue(*args, **{"observers": (), **options})


@pytest.mark.parametrize("when_busy", ["enqueue", "reject", "interrupt"])
def test_a_turn_that_is_dropped_is_freed_and_warned_about(on_asyncio, when_busy):
    async def main():
        events = []
        turns = queue(when_busy, observers=events.append)
        turn = turns("session")
        await turn.__aenter__()
        with pytest.warns(ResourceWarning, match="dropped"):
            del turn
        assert len(turns) == 0
        async with turns("session"):
            pass
        assert [(event.kind, event.reason) for event in events][:2] == [("started", None), ("ended", "dropped")]

    on_asyncio(main)


def test_a_waiter_goes_on_when_the_turn_before_is_dropped(virtually):
    async def main():
        crowd = Crowd(queue())
        turn = crowd.turns("session")
        await turn.__aenter__()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(in_a_context_of_its_own(crowd))
            await anyio.sleep(1)
            assert not crowd.began
            with pytest.warns(ResourceWarning):
                del turn
        assert crowd.ended == ["next"]

    def in_a_context_of_its_own(crowd):
        async def turn():
            _turn._inside.set(())
            await crowd.turn("next")

        return turn

    virtually(main)


def test_a_turn_that_never_was_entered_may_be_dropped():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        queue()("session")


async def answers(turns):
    async with turns("session"):
        for number in range(3):
            yield number


@pytest.mark.parametrize("when_busy", ["enqueue", "interrupt"])
def test_a_generator_that_is_closed_in_another_task_gives_its_slot_back(on_asyncio, when_busy):
    async def main():
        turns = queue(when_busy)
        reading = answers(turns)
        assert await asyncio.create_task(anext(reading)) == 0
        assert len(turns) == 1
        await asyncio.create_task(reading.aclose())
        assert len(turns) == 0

    on_asyncio(main)


def test_a_generator_that_is_dropped_gives_its_slot_back(on_asyncio):
    async def main():
        turns = queue()
        reading = answers(turns)
        await anext(reading)
        del reading
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert len(turns) == 0

    on_asyncio(main)


def test_a_coroutine_that_is_closed_gives_its_slot_back():
    turns = queue()

    async def turn():
        async with turns("session"):
            await asyncio.sleep(100)

    async def main():
        coroutine = turn()
        coroutine.send(None)
        coroutine.close()
        assert len(turns) == 0

    asyncio.run(main())


def test_the_turn_of_an_event_loop_that_is_gone_holds_up_nobody():
    """Closed with its tasks as they were, and collected: the next one goes on. Still referred to: it does, too."""
    turns = queue()

    async def endless():
        async with turns("session"):
            await asyncio.sleep(100)

    for is_kept in (True, False):
        loop = VirtualLoop()
        task = loop.create_task(endless())
        loop.run_until_idle()
        loop.close()
        if not is_kept:
            task._log_destroy_pending = False
            del task, loop
            gc.collect()
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            asyncio.run(Crowd(turns).turn("next"))
        assert len(turns) == 0
        assert any(warning.category is ResourceWarning for warning in caught) == is_kept


@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_a_turn_that_is_collected_after_the_next_one_has_ended_changes_nothing():
    turns = queue()
    loop = VirtualLoop()

    async def endless():
        async with turns("session"):
            await asyncio.sleep(100)

    task = loop.create_task(endless())
    loop.run_until_idle()
    loop.close()
    asyncio.run(Crowd(turns).turn("next"))
    assert len(turns) == 0
    task._log_destroy_pending = False
    del task, loop
    gc.collect()
    assert len(turns) == 0


def test_a_lease_of_an_event_loop_that_is_gone_holds_up_nobody():
    """The turn was left, and the loop closed before its lease was given back."""
    turns = queue(shared=Leases())
    loop = VirtualLoop()

    async def left_at_once():
        turn = turns("session")
        await turn.__aenter__()
        turn.release()
        assert len(turns) == 1
        asyncio.get_running_loop().stop()

    task = loop.create_task(left_at_once())
    while not task.done():
        if loop.idle:
            loop.advance()
        loop.step()
    loop.close()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        asyncio.run(asyncio.wait_for(Crowd(turns).turn("next", 0.01), 10))


def test_a_waiter_in_an_event_loop_that_is_gone_is_passed_over():
    turns = queue(longest=2)
    crowd = Crowd(turns)
    loop = VirtualLoop()
    gone = VirtualLoop()

    async def first():
        async with turns("session"):
            await asyncio.sleep(1)

    running = loop.create_task(first())
    loop.run_until_idle()
    waiting = gone.create_task(crowd.turn("gone"))
    gone.run_until_idle()
    gone.close()
    after = loop.create_task(crowd.turn("next"))
    loop.run_virtually(asyncio.wait({running, after}))
    loop.finish()
    assert crowd.ended == ["next"]
    assert len(turns) == 0
    waiting._log_destroy_pending = False


def test_dropped_while_another_thread_changes_the_queue_it_is_freed_by_that_thread():
    turns = queue()
    turn = turns("session")
    asyncio.run(turn.__aenter__())
    holding, release = threading.Event(), threading.Event()

    def hold():
        with _queues._changing:
            holding.set()
            release.wait(10)

    thread = threading.Thread(target=hold)
    thread.start()
    holding.wait(10)
    with pytest.warns(ResourceWarning):
        del turn
    assert len(turns) == 1
    release.set()
    thread.join()
    assert len(turns) == 0


def test_a_turn_is_entered_and_left_once(virtually):
    async def main():
        turns = queue()
        turn = turns("session")
        async with turn:
            with pytest.raises(RuntimeError, match="entered already"):
                await turn.__aenter__()
        with pytest.raises(RuntimeError, match="left already"):
            await turn.__aexit__(None, None, None)
        with pytest.raises(RuntimeError, match="entered already"):
            await turn.__aenter__()
        assert len(turns) == 0

    virtually(main)
