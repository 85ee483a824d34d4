"""A turn inside a turn of its key does not wait for itself."""

import asyncio
from contextlib import aclosing

import anyio
import pytest

from stale_retry.turns import SessionBusyError, TurnQueue, current_turn

from .crowd import Crowd, in_order
from .stores import Leases


def queue(*args, **options):
    return TurnQueue(*args, observers=(), **options)


@pytest.mark.parametrize("when_busy", ["enqueue", "reject", "interrupt"])
def test_a_turn_inside_a_turn_shares_its_slot(virtually, when_busy):
    async def main():
        crowd = Crowd(queue(when_busy, deadline=5))
        async with crowd.turns("session"), crowd.turns("session"):
            async with crowd.turns("session"):
                assert len(crowd.turns) == 1
            async with crowd.turns("session"):
                pass
        assert len(crowd.turns) == 0

    virtually(main)


def test_so_does_one_in_a_task_started_inside(virtually):
    async def main():
        crowd = Crowd(queue(deadline=5))

        async def inner():
            async with crowd.turns("session"):
                await anyio.sleep(1)

        async with crowd.turns("session"), anyio.create_task_group() as tasks:
            tasks.start_soon(inner)
            tasks.start_soon(inner)
        assert len(crowd.turns) == 0

    virtually(main)


def test_inside_a_turn_one_of_another_key_has_a_slot_of_its_own(virtually):
    async def main():
        turns = queue()
        async with turns("a"), turns("b"):
            assert len(turns) == 2
        assert len(turns) == 0

    virtually(main)


def test_two_queues_know_nothing_of_each_other(virtually):
    async def main():
        one, two = queue("reject"), queue("reject")
        async with one("session"), two("session"), one("session"):
            assert len(one) == len(two) == 1

    virtually(main)


def test_the_slot_is_kept_until_the_last_one_inside_has_left(on_asyncio):
    async def main():
        crowd = Crowd(queue())
        inside = asyncio.Event()

        async def inner():
            async with crowd.turns("session"):
                with crowd.runs("inner"):
                    inside.set()
                    await anyio.sleep(5)

        async with crowd.turns("session"):
            task = asyncio.create_task(inner())
            await inside.wait()
        waiting = asyncio.create_task(crowd.turn("next"))
        await asyncio.gather(task, waiting)
        assert crowd.began == ["inner", "next"]
        assert anyio.current_time() == pytest.approx(6)
        assert len(crowd.turns) == 0

    on_asyncio(main)


def test_a_task_started_inside_that_comes_after_the_turn_waits_like_everybody(on_asyncio):
    async def main():
        crowd = Crowd(queue())

        async def late():
            await anyio.sleep(1)
            await crowd.turn("late")

        async with crowd.turns("session"):
            task = asyncio.create_task(late())
        await asyncio.gather(crowd.turn("next", 5), task)
        assert crowd.began == ["next", "late"]

    on_asyncio(main)


def test_one_that_is_left_early_leaves_the_outer_one_its_slot(virtually):
    async def main():
        crowd = Crowd(queue())

        async def outer():
            async with crowd.turns("session"):
                async with crowd.turns("session"):
                    pass
                with crowd.runs("outer"):
                    await anyio.sleep(2)
                async with crowd.turns("session"):
                    pass

        async with anyio.create_task_group() as tasks:
            await in_order(tasks, (outer,), (crowd.turn, "next"))
        assert crowd.began == ["outer", "next"]

    virtually(main)


def test_a_task_that_reads_a_generator_inside_a_turn_does_not_wait_for_that_turn(on_asyncio):
    """Whatever context the generator runs in: who would have to go on reading is who would wait."""

    async def main():
        turns = queue(deadline=5)

        async def answers():
            async with turns("session"):
                for number in range(3):
                    yield number

        async with aclosing(answers()) as reading:
            async for number in reading:
                async with turns("session"):
                    assert number < 3
        assert len(turns) == 0

    on_asyncio(main)


def test_a_task_started_after_an_inner_turn_has_ended_is_inside_the_outer_one(on_asyncio):
    async def main():
        turns = queue("reject")

        async def inner():
            async with turns("session"):
                pass

        async with turns("session"):
            await inner()
            await asyncio.create_task(inner())

    on_asyncio(main)


def test_code_inside_a_turn_learns_which_one_it_is(virtually):
    async def main():
        turns = queue()
        assert current_turn() is None
        async with turns("a") as outer:
            assert current_turn() is outer
            async with turns("a"):
                assert current_turn() is outer
            async with turns("b") as inner:
                assert current_turn() is inner
                turns.stream("c", lambda turn: None)  # not read, so nothing is inside it
                assert current_turn() is inner
            assert current_turn() is outer
        assert current_turn() is None

    virtually(main)


def test_a_turn_inside_a_turn_that_is_released_leaves_the_outer_one_its_slot(virtually):
    async def main():
        turns = queue()
        async with turns("session"):
            inner = turns("session")
            await inner.__aenter__()
            inner.release()
            assert len(turns) == 1
        assert len(turns) == 0

    virtually(main)


def test_a_queue_for_keys_of_this_process_alone_asks_for_no_lease(virtually):
    async def main():
        leases = Leases()
        turns = queue(shared=leases)
        async with turns._unshared()("session"):
            assert len(turns) == 1
        assert leases.calls == []

    virtually(main)


def test_a_turn_may_wait_where_others_are_refused(virtually):
    async def main():
        turns = queue("reject")
        crowd = Crowd(turns)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(crowd.turn, "running", 2)
            await anyio.sleep(1)
            async with turns._patient()("session") as turn:
                assert turn.waited == pytest.approx(1)

    virtually(main)


def test_a_task_that_adopts_a_turn_of_another_task_does_not_wait_for_it(on_asyncio):
    async def main():
        turns = queue("reject")
        turn = turns("session")
        entered, ending = asyncio.Event(), asyncio.Event()

        async def run():
            async with turn:
                entered.set()
                await ending.wait()

        task = asyncio.create_task(run())
        await entered.wait()
        with pytest.raises(SessionBusyError):
            async with turns("session"):
                pass
        turn.adopt_current_task()
        async with turns("session"):
            ending.set()
        await task
        assert len(turns) == 0

    on_asyncio(main)
