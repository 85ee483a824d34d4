"""Messages that come while a turn runs are answered together by the next one."""

import asyncio
import contextvars

import anyio
import pytest

from stale_retry.turns import TurnQueue

from .crowd import Crowd, in_order


def queue(*args, **options):
    return TurnQueue(*args, **{"observers": (), **options})


class Model:
    """Answers messages a second later, and notes each call."""

    def __init__(self, seconds=1.0):
        self.calls = []
        self.ended = []
        self.seconds = seconds

    async def respond(self, messages):
        self.calls.append(messages)
        await anyio.sleep(self.seconds)
        self.ended.append(messages)
        return f"answer to {', '.join(map(str, messages))}"


class Callers:
    """Callers of `collect`, each with a message, and what became of each."""

    def __init__(self, turns, model=None, **options):
        self.turns = turns
        self.model = model or Model()
        self.options = options
        self.fates = {}
        self.scopes = {}

    async def send(self, message, **options):
        with anyio.CancelScope() as self.scopes[message]:
            try:
                self.fates[message] = await self.turns.collect(
                    "session", message, self.model.respond, **{**self.options, **options}
                )
            except Exception as error:
                self.fates[message] = getattr(error, "reason", None) or type(error).__name__


def test_five_messages_during_a_turn_make_one_more_turn(virtually):
    async def main():
        callers = Callers(queue())
        async with anyio.create_task_group() as tasks:
            await in_order(tasks, *((callers.send, number) for number in range(6)))
        assert callers.model.calls == [[0], [1, 2, 3, 4, 5]]
        assert callers.fates == {0: "answer to 0", **dict.fromkeys(range(1, 6), "answer to 1, 2, 3, 4, 5")}
        assert len(callers.turns) == 0

    virtually(main)


def test_a_lone_message_is_answered_at_once(virtually):
    async def main():
        callers = Callers(queue())
        start = anyio.current_time()
        await callers.send("hello")
        assert anyio.current_time() == start + 1

    virtually(main)


@pytest.mark.parametrize("leaver", [1, 2, 3])
def test_a_caller_that_leaves_before_the_batch_begins_takes_its_message_along(virtually, leaver):
    async def main():
        callers = Callers(queue())
        async with anyio.create_task_group() as tasks:
            await in_order(tasks, *((callers.send, number) for number in range(4)))
            callers.scopes[leaver].cancel()
        left = [number for number in (1, 2, 3) if number != leaver]
        assert callers.model.calls == [[0], left]
        assert set(callers.fates) == {0, *left}

    virtually(main)


def test_a_caller_that_leaves_while_the_batch_runs_leaves_its_message_and_the_others_are_answered(virtually):
    async def main():
        callers = Callers(queue())
        async with anyio.create_task_group() as tasks:
            await in_order(tasks, *((callers.send, number) for number in range(4)))
            await anyio.sleep(1.5)
            callers.scopes[1].cancel()
        assert callers.model.ended == [[0], [1, 2, 3]]
        assert set(callers.fates) == {0, 2, 3}

    virtually(main)


def test_a_batch_that_all_callers_left_is_cancelled_and_the_next_turn_begins(virtually):
    async def main():
        callers = Callers(queue(), Model(100))
        async with anyio.create_task_group() as tasks:
            await in_order(tasks, (callers.send, 0), (Crowd(callers.turns).turn, "next"))
            await anyio.sleep(1)
            callers.scopes[0].cancel()
        assert callers.model.ended == []
        assert anyio.current_time() < 1000
        assert len(callers.turns) == 0

    virtually(main)


def test_a_batch_that_all_callers_left_before_it_began_runs_nothing(virtually):
    async def main():
        callers = Callers(queue())
        async with anyio.create_task_group() as tasks:
            await in_order(tasks, (callers.send, 0), (callers.send, 1), (callers.send, 2))
            callers.scopes[1].cancel()
            callers.scopes[2].cancel()
        assert callers.model.calls == [[0]]
        assert len(callers.turns) == 0

    virtually(main)


def test_a_message_after_a_batch_that_all_callers_left_makes_a_new_one(virtually):
    async def main():
        callers = Callers(queue())
        async with anyio.create_task_group() as tasks:
            await in_order(tasks, (callers.send, 0), (callers.send, 1))
            callers.scopes[1].cancel()
            await in_order(tasks, (callers.send, 2))
        assert callers.model.calls == [[0], [2]]

    virtually(main)


def test_an_error_is_every_callers(virtually):
    async def main():
        async def fails(messages):
            if len(messages) > 1:
                raise ZeroDivisionError
            await anyio.sleep(1)

        callers = Callers(queue())
        callers.model.respond = fails
        async with anyio.create_task_group() as tasks:
            await in_order(tasks, *((callers.send, number) for number in range(3)))
        assert callers.fates == {0: None, 1: "ZeroDivisionError", 2: "ZeroDivisionError"}

    virtually(main)


def test_beyond_longest_a_message_is_refused_and_none_is_dropped(virtually):
    async def main():
        callers = Callers(queue(longest=3))
        async with anyio.create_task_group() as tasks:
            await in_order(tasks, *((callers.send, number) for number in range(6)))
        assert callers.model.calls == [[0], [1, 2, 3]]
        assert [callers.fates[number] for number in (4, 5)] == ["longest", "longest"]

    virtually(main)


def test_a_turn_that_is_refused_is_refused_to_all_of_its_batch(virtually):
    async def main():
        callers = Callers(queue(deadline=2))
        async with anyio.create_task_group() as tasks:
            await in_order(tasks, (Crowd(callers.turns).turn, "long", 10), (callers.send, 1), (callers.send, 2))
        assert callers.fates == {1: "deadline", 2: "deadline"}
        assert callers.model.calls == []

    virtually(main)


def test_with_reject_a_message_is_refused_while_a_turn_runs(virtually):
    async def main():
        callers = Callers(queue("reject"))
        async with anyio.create_task_group() as tasks:
            await in_order(tasks, (callers.send, 0), (callers.send, 1))
        assert callers.fates == {0: "answer to 0", 1: "busy"}

    virtually(main)


def test_with_interrupt_a_message_ends_the_batch_that_runs(virtually):
    async def main():
        callers = Callers(queue("interrupt"))
        async with anyio.create_task_group() as tasks:
            await in_order(tasks, (callers.send, 0), (callers.send, 1))
        assert callers.fates == {0: "newer", 1: "answer to 1"}

    virtually(main)


def test_a_stop_is_told_to_every_caller(virtually):
    async def main():
        callers = Callers(queue(), Model(100))
        async with anyio.create_task_group() as tasks:
            await in_order(tasks, (Crowd(callers.turns).turn, "first"), (callers.send, 1), (callers.send, 2))
            await anyio.sleep(2)
            assert await callers.turns.stop("session")
        assert callers.fates == {1: "stopped", 2: "stopped"}

    virtually(main)


def test_a_message_does_not_overtake_a_turn_that_came_before_it(virtually):
    async def main():
        log = []
        turns = queue()

        async def respond(messages):
            log.append(messages)
            await anyio.sleep(1)

        async def turn():
            async with turns("session"):
                log.append("a turn of its own")

        async def send(message):
            await turns.collect("session", message, respond)

        async with anyio.create_task_group() as tasks:
            await in_order(tasks, (send, 0), (send, 1), (turn,), (send, 2), (send, 3))
        assert log == [[0], [1], "a turn of its own", [2, 3]]

    virtually(main)


def test_only_messages_of_one_group_are_answered_together(virtually):
    async def main():
        callers = Callers(queue())
        groups = ["a", "a", "b", "b", "a"]
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(callers.send, "first")
            await anyio.sleep(0.01)
            for number, group in enumerate(groups):

                async def send(number=number, group=group):
                    await callers.send(number, group=group)

                await in_order(tasks, (send,))
        assert callers.model.calls == [["first"], [0, 1], [2, 3], [4]]

    virtually(main)


def test_other_keys_are_not_mixed(virtually):
    async def main():
        turns, model = queue(), Model()

        async def send(key, message):
            await turns.collect(key, message, model.respond)

        async with anyio.create_task_group() as tasks:
            await in_order(tasks, *((send, key, f"{key}{n}") for n in range(3) for key in "ab"))
        assert model.calls == [["a0"], ["b0"], ["a1", "a2"], ["b1", "b2"]]

    virtually(main)


class TestPause:
    """Waiting for more messages before an idle session starts."""

    def sent(self, *at, pause=0.5, **options):
        """Runs, with messages sent at these times; returns the calls and when each began."""

        async def main():
            began = []

            async def respond(messages):
                began.append((round(anyio.current_time() - start, 2), messages))
                await anyio.sleep(1)

            start = anyio.current_time()
            turns = queue()

            async def send(message, when):
                await anyio.sleep(when)
                await turns.collect("session", message, respond, pause=pause, **options)

            async with anyio.create_task_group() as tasks:
                for number, when in enumerate(at):
                    tasks.start_soon(send, number, when)
            self.began = began

        return main

    def test_a_lone_message_waits_once(self, virtually):
        virtually(self.sent(0))
        assert self.began == [(0.5, [0])]

    def test_each_message_begins_the_pause_again(self, virtually):
        virtually(self.sent(0, 0.4, 0.8))
        assert self.began == [(1.3, [0, 1, 2])]

    def test_but_all_in_all_it_has_an_end(self, virtually):
        virtually(self.sent(0, 0.4, 0.8, 1.2, pause_at_most=1.0))
        assert self.began == [(1.0, [0, 1, 2]), (2.0, [3])]

    def test_messages_that_had_to_wait_for_a_turn_wait_no_longer(self, virtually):
        virtually(self.sent(0, 1.4))
        assert self.began == [(0.5, [0]), (1.5, [1])]


def test_a_function_that_is_not_async_is_told_so_inside_a_turn_too(virtually):
    async def main():
        turns = TurnQueue(observers=())
        words = "respond must be a coroutine function \\(async def\\), but .*<lambda> returned a str"
        with pytest.raises(TypeError, match=words):
            await turns.collect("session", "message", lambda messages: "answer")
        async with turns("session"):
            with pytest.raises(TypeError, match=words):
                await turns.collect("session", "message", lambda messages: "answer")

    virtually(main)


def test_a_message_from_inside_a_turn_is_answered_inside_it(virtually):
    async def main():
        turns, model = queue(), Model()
        async with turns("session"):
            assert await turns.collect("session", "inner", model.respond) == "answer to inner"
        assert model.calls == [["inner"]]

    virtually(main)


def test_a_message_from_inside_a_turn_does_not_join_those_that_wait_for_that_turn(on_asyncio):
    async def main():
        turns, model = queue(), Model()
        async with turns("session"):
            outside = contextvars.Context().run(
                asyncio.ensure_future, turns.collect("session", "outside", model.respond)
            )
            await asyncio.sleep(1)
            assert await turns.collect("session", "inner", model.respond) == "answer to inner"
        assert await outside == "answer to outside"

    on_asyncio(main)


def test_a_cancelled_caller_waits_for_the_end_of_a_run_that_is_only_its_own(on_asyncio):
    async def main():
        turns, log = queue(), []

        async def respond(messages):
            try:
                await asyncio.sleep(100)
            finally:
                await asyncio.sleep(3)
                log.append("cleaned up")

        task = asyncio.create_task(turns.collect("session", "hello", respond))
        await asyncio.sleep(1)
        task.cancel()
        await asyncio.wait({task})
        assert task.cancelled()
        assert log == ["cleaned up"]
        assert len(turns) == 0

    on_asyncio(main)


@pytest.mark.parametrize(
    ("options", "kind", "message"),
    [
        ({"respond": 1}, TypeError, "respond must be a coroutine function of the list of messages"),
        ({"pause": 0}, ValueError, "pause must be above zero"),
        ({"pause_at_most": None}, TypeError, "pause_at_most must be seconds"),
        ({"pause_at_most": float("inf")}, ValueError, "pause_at_most must be finite"),
    ],
)
def test_a_wrong_option_is_refused_by_name(virtually, options, kind, message):
    async def main():
        with pytest.raises(kind, match=message):
            await queue().collect("session", "message", **{"respond": Model().respond, **options})

    virtually(main)
