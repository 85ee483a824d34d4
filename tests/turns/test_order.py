"""One turn at a time for each key, in the order they came."""

import threading

import anyio
import pytest

from stale_retry.turns import SessionBusyError, TurnQueue

from .crowd import Crowd, in_order


def queue(*args, **options):
    return TurnQueue(*args, observers=(), **options)


def test_turns_of_one_key_run_one_at_a_time_in_the_order_they_came(virtually):
    async def main():
        crowd = Crowd(queue())
        async with anyio.create_task_group() as tasks:
            await in_order(tasks, *((crowd.turn, number) for number in range(10)))
        assert crowd.began == crowd.ended == list(range(10))
        assert anyio.current_time() == pytest.approx(began + 10)
        assert len(crowd.turns) == 0

    began = 0.0
    virtually(main)


def test_turns_of_other_keys_do_not_wait(virtually):
    async def main():
        began = anyio.current_time()
        turns = queue()
        async with anyio.create_task_group() as tasks:
            for number in range(10):
                tasks.start_soon(Crowd(turns).turn, "turn", 1.0, f"session {number}")
        assert anyio.current_time() == pytest.approx(began + 1)

    virtually(main)


def test_no_later_turn_overtakes_even_when_the_slot_is_just_given_back(virtually):
    async def main():
        crowd = Crowd(queue())

        async def again(name):
            await crowd.turn(name)
            await crowd.turn(f"{name} again")

        async with anyio.create_task_group() as tasks:
            await in_order(tasks, (again, "first"), (crowd.turn, "second"))
        assert crowd.began == ["first", "second", "first again"]

    virtually(main)


def test_an_error_of_the_block_is_the_callers_and_the_next_one_goes_on(virtually):
    async def main():
        crowd = Crowd(queue())

        async def fails():
            with pytest.raises(ZeroDivisionError):
                async with crowd.turns("session"):
                    await anyio.sleep(1)
                    raise ZeroDivisionError

        async with anyio.create_task_group() as tasks:
            await in_order(tasks, (fails,), (crowd.turn, "next"))
        assert crowd.ended == ["next"]
        assert len(crowd.turns) == 0

    virtually(main)


def test_reject_refuses_at_once_and_the_block_is_not_entered(virtually):
    async def main():
        crowd = Crowd(queue("reject"))
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(crowd.turn, "first")
            await anyio.sleep(0.5)
            before = anyio.current_time()
            error = await crowd.turn("second")
            assert anyio.current_time() == before
        assert isinstance(error, SessionBusyError)
        assert (error.reason, error.waiting) == ("busy", 0)
        assert crowd.began == ["first"]
        await crowd.turn("third")
        assert crowd.ended == ["first", "third"]

    virtually(main)


def test_no_more_wait_than_longest_says(virtually):
    async def main():
        crowd = Crowd(queue(longest=2))
        refused = []

        async def turn(name):
            error = await crowd.turn(name)
            if error:
                refused.append((name, error.reason, error.waiting))

        async with anyio.create_task_group() as tasks:
            await in_order(tasks, *((turn, number) for number in range(5)))
            await anyio.sleep(1)  # one has ended, so there is room for another
            tasks.start_soon(turn, 5)
        assert refused == [(3, "longest", 2), (4, "longest", 2)]
        assert crowd.ended == [0, 1, 2, 5]

    virtually(main)


def test_longest_bounds_each_key_for_itself(virtually):
    async def main():
        crowds = [Crowd(turns) for turns in [queue(longest=1)] * 2]
        async with anyio.create_task_group() as tasks:
            for key, crowd in enumerate(crowds):
                await in_order(tasks, (crowd.turn, "a", 1.0, key), (crowd.turn, "b", 1.0, key))
        assert all(crowd.ended == ["a", "b"] for crowd in crowds)

    virtually(main)


def test_nobody_waits_longer_than_the_deadline(virtually):
    async def main():
        crowd = Crowd(queue(deadline=2))
        async with anyio.create_task_group() as tasks:
            await in_order(tasks, (crowd.turn, "endless", 10), (crowd.turn, "short"))
            before = anyio.current_time()
            error = await crowd.turn("last")
            assert anyio.current_time() == pytest.approx(before + 2)
        assert error.reason == "deadline"
        assert error.waited == pytest.approx(2)
        assert "waited 2.0 s" in str(error)
        assert crowd.ended == ["endless"]
        assert len(crowd.turns) == 0

    virtually(main)


def test_a_slot_that_is_granted_at_the_very_moment_of_the_deadline_is_kept_or_refused_and_never_lost(virtually):
    async def main():
        crowd = Crowd(queue(deadline=1))
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(crowd.turn, "first", 1.0)
            await anyio.lowlevel.checkpoint()
            tasks.start_soon(crowd.turn, "second", 1.0)
            tasks.start_soon(crowd.turn, "third", 1.0)
        assert len(crowd.turns) == 0
        assert crowd.ended == crowd.began
        assert len(crowd.ended) + len(crowd.errors()) == 3

    virtually(main)


def test_the_deadline_does_not_bound_how_long_a_turn_runs(virtually):
    async def main():
        crowd = Crowd(queue(deadline=1))
        await crowd.turn("long", 100)
        assert crowd.ended == ["long"]

    virtually(main)


def test_a_turn_knows_how_long_it_waited(virtually):
    async def main():
        turns = queue()
        crowd = Crowd(turns)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(crowd.turn, "first", 3.0)
            await anyio.sleep(1)
            async with turns("session") as turn:
                assert turn.waited == pytest.approx(2)
                await anyio.sleep(1)
                assert turn.waited == pytest.approx(2)

    virtually(main)


def test_event_loops_in_several_threads_wait_in_one_queue():
    crowd = Crowd(queue())
    threads = []

    async def turn(number):
        async with crowd.turns("session"):
            with crowd.runs(number):
                await anyio.sleep(0.001)

    async def first():
        async with crowd.turns("session"):
            for number in range(8):
                arguments = {"backend": ("asyncio", "trio")[number % 2]}
                thread = threading.Thread(target=anyio.run, args=(turn, number), kwargs=arguments)
                threads.append(thread)
                thread.start()
                while crowd.turns.waiting("session") <= number:
                    await anyio.sleep(0.001)

    anyio.run(first)
    for thread in threads:
        thread.join()
    assert crowd.began == list(range(8))
    assert len(crowd.turns) == 0


def test_nothing_is_kept_of_a_key_that_nobody_uses(virtually):
    async def main():
        turns = queue()
        for number in range(100):
            async with turns(number):
                assert len(turns) == 1
        assert len(turns) == 0
        assert turns._queues._queues == {}

    virtually(main)


def test_a_queue_that_nobody_uses_is_not_false():
    assert queue()
