"""A turn is stopped from outside, by its key or by its id."""

import asyncio
import threading

import anyio
import pytest

from stale_retry.turns import TurnInterruptedError, TurnQueue

from .crowd import Crowd, in_order
from .test_leases import processes


def queue(*args, **options):
    return TurnQueue(*args, **{"observers": (), **options})


async def stopped(turns, ids=None, key="session", **arguments):
    """A turn that runs until it is stopped, and why it ended."""
    turn = turns(key, **arguments)
    if ids is not None:
        ids.append(turn.id)
    try:
        async with turn:
            await anyio.sleep(1000)
    except TurnInterruptedError as error:
        return error


def test_the_turn_that_runs_is_stopped_and_the_next_one_begins(virtually):
    async def main():
        crowd, outcomes = Crowd(queue()), []

        async def first():
            outcomes.append(await stopped(crowd.turns))

        async with anyio.create_task_group() as tasks:
            await in_order(tasks, (first,), (crowd.turn, "next"))
            assert await crowd.turns.stop("session") is True
        assert (outcomes[0].reason, outcomes[0].started) == ("stopped", True)
        assert "this turn was stopped; what it stored until then is stored" in str(outcomes[0])
        assert crowd.ended == ["next"]

    virtually(main)


def test_nothing_is_stopped_where_no_turn_runs(virtually):
    async def main():
        turns = queue()
        assert await turns.stop("session", waiting=True) is False
        async with turns("session"):
            assert await turns.stop("another session") is False

    virtually(main)


def test_a_stop_by_id_does_not_hit_the_next_turn(virtually):
    async def main():
        turns, ids = queue(), []
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(stopped, turns, ids)
            await anyio.sleep(1)
            tasks.start_soon(stopped, turns, ids)
            await anyio.sleep(1)
            assert await turns.stop("session", turn=ids[0])
            await anyio.sleep(1)
            assert not await turns.stop("session", turn=ids[0])
            assert turns.waiting("session") == 0
            assert len(turns) == 1
            assert await turns.stop("session", turn=ids[1])
        assert len(turns) == 0

    virtually(main)


def test_a_turn_that_waits_is_stopped_by_its_id_before_it_begins(virtually):
    async def main():
        crowd, ids, outcomes = Crowd(queue()), [], []

        async def waits():
            outcomes.append(await stopped(crowd.turns, ids))

        async with anyio.create_task_group() as tasks:
            await in_order(tasks, (crowd.turn, "runs"), (waits,))
            assert await crowd.turns.stop("session", turn=ids[0])
        assert (outcomes[0].reason, outcomes[0].started) == ("stopped", False)
        assert "before it began; nothing is stored" in str(outcomes[0])
        assert crowd.ended == ["runs"]

    virtually(main)


@pytest.mark.parametrize("waiting", [False, True])
def test_those_that_wait_are_stopped_if_asked(virtually, waiting):
    async def main():
        crowd = Crowd(queue())
        async with anyio.create_task_group() as tasks:
            await in_order(tasks, *((crowd.turn, name) for name in "abc"))
            assert await crowd.turns.stop("session", waiting=waiting)
        assert crowd.ended == ([] if waiting else ["b", "c"])
        assert set(crowd.errors()) == (set("abc") if waiting else {"a"})
        assert len(crowd.turns) == 0

    virtually(main)


def test_an_abort_hook_is_called_and_the_block_cancelled_five_seconds_later(virtually):
    async def main():
        turns, aborted = queue(), []
        async with anyio.create_task_group() as tasks:

            async def deaf():
                error = await stopped(turns, abort=lambda: aborted.append(anyio.current_time()))
                assert error.reason == "stopped"

            tasks.start_soon(deaf)
            await anyio.sleep(1)
            stopped_at = anyio.current_time()
            assert await turns.stop("session")
        assert aborted == [stopped_at]
        assert anyio.current_time() == pytest.approx(stopped_at + 5)

    virtually(main)


def test_of_turns_inside_a_turn_only_the_outermost_is_asked_to_end(virtually):
    async def main():
        turns, asked = queue(), []

        async def nested():
            stop = anyio.Event()
            with pytest.raises(TurnInterruptedError):
                async with (
                    turns("session", abort=lambda: (asked.append("outer"), stop.set())),
                    turns("session", abort=lambda: asked.append("inner")),
                ):
                    await stop.wait()

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(nested)
            await anyio.sleep(1)
            await turns.stop("session")
        assert asked == ["outer"]

    virtually(main)


def test_a_block_that_heeds_its_abort_hook_is_not_cancelled_later(virtually):
    async def main():
        turns, stop = queue(), anyio.Event()

        async def heeds():
            with pytest.raises(TurnInterruptedError):
                async with turns("session", abort=stop.set):
                    await stop.wait()
            await anyio.sleep(20)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(heeds)
            await anyio.sleep(1)
            await turns.stop("session")

    virtually(main)


def test_a_turn_in_another_thread_is_stopped():
    turns, began = queue(), threading.Event()
    outcomes = []

    async def runs():
        async with turns("session"):
            began.set()
            await anyio.sleep(60)

    def thread():
        try:
            anyio.run(runs)
        except TurnInterruptedError as error:
            outcomes.append(error.reason)

    running = threading.Thread(target=thread)
    running.start()
    began.wait(10)
    assert asyncio.run(turns.stop("session"))
    running.join(10)
    assert outcomes == ["stopped"]


def test_a_turn_of_another_process_is_told_within_two_seconds(virtually):
    async def main():
        (here, there), _ = processes()
        ids, ended = [], []

        async def theirs():
            error = await stopped(there, ids)
            ended.append((error.reason, anyio.current_time()))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(theirs)
            await anyio.sleep(5.5)
            assert not await here.stop("session", turn="of another turn")
            asked = anyio.current_time()
            assert await here.stop("session", turn=ids[0])
        assert ended[0][0] == "stopped"
        assert ended[0][1] - asked <= 2

    virtually(main)


def test_a_turn_of_another_process_is_stopped_though_one_waits_here(virtually):
    async def main():
        (here, there), _ = processes()
        crowd = Crowd(here)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(stopped, there)
            await anyio.sleep(1)
            tasks.start_soon(crowd.turn, "waits here")
            await anyio.sleep(1)
            assert await here.stop("session")
        assert crowd.ended == ["waits here"]

    virtually(main)


def test_a_second_stop_changes_nothing(virtually):
    async def main():
        turns = queue()

        async def cleans_up():
            with pytest.raises(TurnInterruptedError):
                async with turns("session"):
                    try:
                        await anyio.sleep(100)
                    finally:
                        with anyio.CancelScope(shield=True):
                            await anyio.sleep(3)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(cleans_up)
            await anyio.sleep(1)
            assert await turns.stop("session")
            await anyio.sleep(1)
            assert await turns.stop("session")
        assert len(turns) == 0

    virtually(main)


def test_one_question_a_second_is_asked_for_all_turns_of_a_process(virtually):
    async def main():
        (here,), leases = processes(1)

        async def turn(number):
            async with here(number):
                await anyio.sleep(20)

        async with anyio.create_task_group() as tasks:
            for number in range(200):
                tasks.start_soon(turn, number)
        questions = [call for call in leases.calls if call in ("look", "renew")]
        assert 15 <= len(questions) <= 21
        assert 1 <= questions.count("renew") <= 3

    virtually(main)
