"""Turns of one process that wait for each other."""

import logging

import anyio
import pytest

from stale_retry.turns import SessionBusyError, TurnQueue

from .crowd import Crowd, in_order


def queue(*args, **options):
    return TurnQueue(*args, **{"observers": (), **options})


@pytest.mark.parametrize("keys", ["ab", "abc", "abcde"])
def test_the_turn_that_closes_a_circle_is_refused_at_once_and_the_others_run(virtually, keys):
    async def main():
        turns, outcomes = queue(), {}

        async def nested(outer, inner, after):
            try:
                async with turns(outer):
                    await anyio.sleep(after)
                    async with turns(inner):
                        pass
                outcomes[outer] = "ended"
            except SessionBusyError as error:
                outcomes[outer] = error.reason

        start = anyio.current_time()
        async with anyio.create_task_group() as tasks:
            for number, key in enumerate(keys):
                tasks.start_soon(nested, key, keys[(number + 1) % len(keys)], 1 + number)
        assert outcomes == {**dict.fromkeys(keys, "ended"), keys[-1]: "deadlock"}
        assert anyio.current_time() - start == pytest.approx(len(keys))
        assert len(turns) == 0

    virtually(main)


def test_a_circle_over_two_queues_is_one_too(virtually):
    async def main():
        one, two = queue(), queue()
        reasons = []

        async def nested(outer, inner, after):
            async with outer("session"):
                await anyio.sleep(after)
                try:
                    async with inner("session"):
                        pass
                except SessionBusyError as error:
                    reasons.append(error.reason)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(nested, one, two, 1)
            tasks.start_soon(nested, two, one, 2)
        assert reasons == ["deadlock"]

    virtually(main)


def test_the_message_says_what_to_do(virtually):
    async def main():
        turns = queue()
        async with anyio.create_task_group() as tasks:

            async def other():
                async with turns("b"), turns("a"):
                    pass

            async with turns("a"):
                tasks.start_soon(in_a_fresh_context, other)
                await anyio.sleep(1)
                with pytest.raises(SessionBusyError, match="take turns of several keys in the same order") as error:
                    async with turns("b"):
                        pass
                assert error.value.reason == "deadlock"

    async def in_a_fresh_context(work):
        from stale_retry.turns import _turn

        _turn._inside.set(())
        await work()

    virtually(main)


def test_waiting_in_turn_is_no_circle(virtually):
    async def main():
        turns = queue()
        done = []

        async def nested(name):
            async with turns("a"):
                await anyio.sleep(1)
                async with turns("b"):
                    done.append(name)

        async with anyio.create_task_group() as tasks:
            await in_order(tasks, *((nested, name) for name in range(4)))
            async with turns("b"):
                await anyio.sleep(3)
        assert done == [0, 1, 2, 3]

    virtually(main)


def test_waits_of_several_tasks_inside_a_turn_are_no_circle(virtually):
    async def main():
        turns = queue()

        async def short(key):
            async with turns(key):
                pass

        async def with_two_children():
            async with turns("a"):
                await anyio.sleep(1)
                async with anyio.create_task_group() as children:
                    children.start_soon(short, "b")
                    children.start_soon(short, "b")

        async def inside_another():
            async with turns("c"):
                await anyio.sleep(2)
                async with turns("a"):
                    pass

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(with_two_children)
            tasks.start_soon(inside_another)
            await in_order(tasks, (Crowd(turns).turn, "b", 5, "b"))
        assert len(turns) == 0

    virtually(main)


def test_a_turn_inside_one_of_another_key_may_interrupt(virtually):
    async def main():
        turns = queue("interrupt")
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(Crowd(turns).turn, "old", 10, "b")
            await anyio.sleep(1)
            async with turns("a"), turns("b") as turn:
                assert turn.waited < 1

    virtually(main)


def test_a_wait_that_was_given_up_makes_no_circle(virtually):
    async def main():
        turns = queue()

        async def impatient():
            async with turns("a"):
                await anyio.sleep(0.5)
                with anyio.move_on_after(1):
                    async with turns("b"):
                        pass
                await anyio.sleep(5)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(impatient)
            await anyio.sleep(0.1)
            async with turns("b"):
                await anyio.sleep(3)
                async with turns("a") as turn:
                    assert turn.waited == pytest.approx(3.4)

    virtually(main)


def test_a_turn_that_waits_for_a_minute_logs_one_warning(virtually, caplog):
    caplog.set_level(logging.WARNING, "stale_retry")

    async def main():
        crowd = Crowd(queue(name="chat"))
        async with anyio.create_task_group() as tasks:
            await in_order(tasks, (crowd.turn, "long", 300), (crowd.turn, "waits"), apart=10)

    virtually(main)
    assert [record.getMessage() for record in caplog.records] == [
        "chat: a turn has waited 60 s; the running one began 70 s ago"
    ]


def test_and_so_does_one_that_waits_for_another_process(virtually, caplog):
    from .test_leases import processes

    caplog.set_level(logging.WARNING, "stale_retry")

    async def main():
        (one, other), _ = processes()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(Crowd(one).turn, "long", 200)
            await anyio.sleep(1)
            tasks.start_soon(Crowd(other).turn, "waits")

    virtually(main)
    (record,) = caplog.records
    assert "a turn of another process runs" in record.getMessage()
