"""`Turn.release` works from anywhere and raises nothing."""

import asyncio
import contextlib
import sys
import threading

import anyio
import pytest

from stale_retry.turns import TurnQueue

from .crowd import Crowd
from .stores import Leases


def queue(*args, **options):
    return TurnQueue(*args, **{"observers": (), **options})


def in_the_task(loop, turn):
    turn.release()


def in_a_callback(loop, turn):
    loop.call_soon(turn.release)


def in_a_thread(loop, turn):
    thread = threading.Thread(target=turn.release)
    thread.start()
    thread.join()


WAYS = [in_the_task, in_a_callback, in_a_thread]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("when_busy", ["enqueue", "interrupt"])
@pytest.mark.parametrize("is_shared", [False, True])
def test_it_frees_a_turn_that_runs(on_asyncio, way, when_busy, is_shared):
    async def main():
        turns = queue(when_busy, shared=Leases() if is_shared else None)
        turn = turns("session")
        await turn.__aenter__()
        way(asyncio.get_running_loop(), turn)
        await asyncio.sleep(0.1)
        assert len(turns) == 0
        turn.release()

    on_asyncio(main)


@pytest.mark.parametrize("way", WAYS)
def test_an_observer_hears_of_the_end(on_asyncio, way):
    async def main():
        events = []
        turn = queue(observers=events.append)("session")
        await turn.__aenter__()
        way(asyncio.get_running_loop(), turn)
        await asyncio.sleep(0.1)
        assert [event.kind for event in events] == ["started", "ended"]

    on_asyncio(main)


@pytest.mark.skipif(sys.version_info < (3, 11), reason="cancellations are counted from Python 3.11 on")
def test_of_an_interruption_no_cancellation_stays_counted(on_asyncio):
    async def main():
        turns = queue("interrupt")
        turn = turns("session")

        async def old():
            await turn.__aenter__()
            try:
                await asyncio.sleep(100)
            except asyncio.CancelledError:
                turn.release()
            return asyncio.current_task().cancelling()

        task = asyncio.create_task(old())
        await asyncio.sleep(1)
        await Crowd(turns).turn("new")
        assert await task == 0

    on_asyncio(main)


@pytest.mark.parametrize("way", WAYS)
def test_it_frees_a_turn_that_was_interrupted(on_asyncio, way):
    async def main():
        loop, turns = asyncio.get_running_loop(), queue("interrupt")
        complaints = []
        loop.set_exception_handler(lambda _, context: complaints.append(context))
        turn = turns("session")

        async def old():
            await turn.__aenter__()
            try:
                await asyncio.sleep(100)
            except asyncio.CancelledError:
                way(loop, turn)
                await asyncio.sleep(50)
            return "ended"

        task = asyncio.create_task(old())
        await asyncio.sleep(1)
        await Crowd(turns).turn("new")
        assert loop.time() < 10
        assert await task == "ended"
        assert (len(turns), complaints) == (0, [])

    on_asyncio(main)


def test_on_trio_it_frees_a_turn_from_the_task_that_entered_it(on_trio):
    async def main():
        turns = queue()
        with anyio.CancelScope():  # is left in order, so the turn's own scope is left too
            turn = turns("session")
            await turn.__aenter__()
            turn.release()
        assert len(turns) == 0
        await anyio.sleep(1)

    on_trio(main)


def test_on_trio_another_task_frees_the_turn_and_trio_complains_in_the_first(on_trio):
    async def main():
        turns = queue()
        turn = turns("session")

        async def runs():
            await turn.__aenter__()
            await anyio.sleep(5)

        with contextlib.suppress(BaseException):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(runs)
                await anyio.sleep(1)
                turn.release()
                assert len(turns) == 0
                await anyio.sleep(1)
        assert len(turns) == 0

    on_trio(main)


def test_an_observer_that_raises_does_not_reach_the_caller(on_asyncio):
    async def main():
        def raises(event):
            raise ZeroDivisionError

        turns = queue(observers=raises)
        turn = turns("session")
        await turn.__aenter__()
        asyncio.get_running_loop().call_soon(turn.release)
        await asyncio.sleep(1)
        assert len(turns) == 0

    on_asyncio(main)
