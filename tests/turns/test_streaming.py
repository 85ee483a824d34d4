"""An async generator that is read inside a turn, however its events are awaited."""

import asyncio
import contextvars
import gc

import anyio
import pytest

from stale_retry.turns import SessionBusyError, TurnInterruptedError, TurnQueue

from .crowd import Crowd


def queue(*args, **options):
    return TurnQueue(*args, **{"observers": (), **options})


def elsewhere(work):
    """A task with a context of its own, as that of another request."""
    return contextvars.Context().run(asyncio.ensure_future, work)


class Answers:
    """Makes three events, a second each, and notes what happens."""

    def __init__(self, count=3, cleanup=0.0):
        self.log = []
        self.count = count
        self.cleanup = cleanup

    async def make(self, name="a"):
        self.log.append(f"{name} began")
        try:
            for number in range(self.count):
                await anyio.sleep(1)
                self.log.append(f"{name} {number}")
                yield number
        except BaseException as error:
            self.log.append(f"{name} {type(error).__name__}")
            if self.cleanup:
                await anyio.sleep(self.cleanup)
                self.log.append(f"{name} cleaned up")
            raise
        self.log.append(f"{name} ended")


async def plainly(events):
    return [event async for event in events]


async def each_in_a_task(events):
    read = []
    while True:
        try:
            read.append(await asyncio.ensure_future(anext(events)))
        except StopAsyncIteration:
            return read


async def with_wait_for(events):
    read = []
    while True:
        try:
            read.append(await asyncio.wait_for(anext(events), 30))
        except StopAsyncIteration:
            return read


async def prefetched(events):
    read = []
    ahead = asyncio.ensure_future(anext(events))
    while True:
        try:
            event = await ahead
        except StopAsyncIteration:
            return read
        ahead = asyncio.ensure_future(anext(events))
        await asyncio.sleep(0.1)
        read.append(event)


async def with_heartbeats(events):
    read = []
    while True:
        ahead = asyncio.ensure_future(anext(events))
        while not (await asyncio.wait({ahead}, timeout=0.3))[0]:
            pass
        try:
            read.append(ahead.result())
        except StopAsyncIteration:
            return read


READERS = [plainly, each_in_a_task, with_wait_for, prefetched, with_heartbeats]


@pytest.mark.parametrize("reader", READERS)
def test_turns_run_one_at_a_time_and_in_order_however_they_are_read(on_asyncio, reader):
    async def main():
        turns, answers = queue(), Answers(2)
        read = await asyncio.gather(*(reader(turns.stream("session", answers.make(name))) for name in "abc"))
        assert read == [[0, 1]] * 3
        assert answers.log == [f"{name} {what}" for name in "abc" for what in ("began", 0, 1, "ended")]
        assert len(turns) == 0

    on_asyncio(main)


def test_a_stream_works_on_trio_too(on_trio):
    async def main():
        turns, answers = queue(), Answers(2)
        assert await plainly(turns.stream("session", answers.make())) == [0, 1]
        assert len(turns) == 0

    on_trio(main)


def test_two_streams_may_be_merged_by_one_task(on_asyncio):
    async def main():
        turns, answers = queue(reader_patience=None), Answers(2)
        streams = [turns.stream("session", answers.make(name)) for name in "ab"]
        waiting = {asyncio.ensure_future(anext(stream)): stream for stream in streams}
        while waiting:
            done, _ = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                stream = waiting.pop(task)
                if task.exception() is None:
                    waiting[asyncio.ensure_future(anext(stream))] = stream
        assert answers.log == [f"{name} {what}" for name in "ab" for what in ("began", 0, 1, "ended")]

    on_asyncio(main)


def test_a_function_of_the_turn_may_make_the_events(virtually):
    async def main():
        turns = queue()
        ids = []

        async def answer(turn):
            ids.append(turn.id)
            yield turn.waited

        assert await plainly(turns.stream("session", answer)) == [0.0]
        assert len(ids[0]) == 32

    virtually(main)


def test_an_error_of_the_generator_is_the_readers_and_the_next_turn_begins(virtually):
    async def main():
        turns = queue()

        async def fails():
            yield 1
            raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            await plainly(turns.stream("session", fails()))
        assert len(turns) == 0

    virtually(main)


def test_any_async_iterator_may_be_read(virtually):
    class Countdown:
        def __init__(self):
            self.left = 2

        def __aiter__(self):
            return self

        async def __anext__(self):
            if not self.left:
                raise StopAsyncIteration
            self.left -= 1
            return self.left

    async def main():
        assert await plainly(queue().stream("session", Countdown())) == [1, 0]

    virtually(main)


def test_a_refused_turn_runs_nothing(virtually):
    async def main():
        turns, answers = queue("reject"), Answers()

        async def read():
            with pytest.raises(SessionBusyError):
                await plainly(turns.stream("session", answers.make()))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(Crowd(turns).turn, "running", 2)
            await anyio.sleep(1)
            await read()
        assert answers.log == []

    virtually(main)


@pytest.mark.parametrize("leave", ["close", "drop", "break"])
def test_a_reader_that_has_read_enough_ends_the_run(on_asyncio, leave):
    async def main():
        turns, answers = queue(), Answers()

        async def read():
            events = turns.stream("session", answers.make())
            if leave == "break":
                async for _ in events:
                    break
            else:
                await anext(events)
            if leave == "close":
                await events.aclose()

        await asyncio.create_task(read())
        gc.collect()
        async with turns("session") as turn:
            assert turn.waited == 0
        assert answers.log == ["a began", "a 0", "a GeneratorExit"]

    on_asyncio(main)


def test_a_reader_that_is_cancelled_cancels_the_run_and_waits_for_its_cleanup(virtually):
    async def main():
        turns, answers = queue(), Answers(cleanup=0.0)
        with anyio.move_on_after(1.5):
            await plainly(turns.stream("session", answers.make()))
        assert answers.log[:3] == ["a began", "a 0", "a CancelledError" if _is_asyncio() else "a Cancelled"]
        assert len(turns) == 0

    virtually(main)


def _is_asyncio():
    return asyncio._get_running_loop() is not None


def test_a_second_and_a_third_cancellation_are_passed_on(on_asyncio):
    async def main():
        turns = queue()
        cancelled = []

        async def stubborn():
            for _ in range(3):
                try:
                    await asyncio.sleep(100)
                except asyncio.CancelledError:
                    cancelled.append(asyncio.get_running_loop().time())
            yield 1

        task = asyncio.create_task(plainly(turns.stream("session", stubborn())))
        for _ in range(3):
            await asyncio.sleep(1)
            assert not task.done()
            task.cancel()
        await asyncio.wait({task})
        assert task.cancelled()
        assert cancelled == [1, 2, 3]
        assert len(turns) == 0

    on_asyncio(main)


def test_a_scope_that_cancels_again_and_again_leaves_the_run_time_to_clean_up(on_asyncio):
    async def main():
        turns, answers = queue(), Answers(cleanup=3)
        with anyio.move_on_after(1.5):
            await plainly(turns.stream("session", answers.make()))
        assert answers.log[-1] == "a cleaned up"
        assert anyio.current_time() == pytest.approx(4.5)
        assert len(turns) == 0

    on_asyncio(main)


def test_but_no_longer_than_five_seconds_at_a_time(on_asyncio):
    async def main():
        turns, answers = queue(), Answers(cleanup=100)
        with anyio.move_on_after(1.5):
            await plainly(turns.stream("session", answers.make()))
        assert anyio.current_time() == pytest.approx(6.5)
        assert len(turns) == 0

    on_asyncio(main)


def test_a_reader_that_is_gone_but_referenced_does_not_hold_up_the_next_turn_for_ever(on_asyncio):
    async def main():
        turns, answers = queue(reader_patience=30), Answers()
        kept = turns.stream("session", answers.make())
        await asyncio.create_task(anext(kept))
        await asyncio.sleep(100)  # as long as no turn waits, the run waits for its reader
        assert answers.log == ["a began", "a 0"]
        await asyncio.wait_for(elsewhere(Crowd(turns).turn("next")), 10)
        assert answers.log == ["a began", "a 0", "a 1", "a 2", "a ended"]

    on_asyncio(main)


def test_patience_counts_from_the_last_event_that_was_asked_for(on_asyncio):
    async def main():
        turns, answers = queue(reader_patience=30), Answers()
        kept = turns.stream("session", answers.make())
        await asyncio.create_task(anext(kept))
        next_turn = elsewhere(Crowd(turns).turn("next"))
        await asyncio.sleep(29.9)
        assert answers.log == ["a began", "a 0"]
        await asyncio.wait_for(next_turn, 5)

    on_asyncio(main)


def test_events_are_kept_for_a_reader_that_comes_back(on_asyncio):
    async def main():
        turns, answers = queue(reader_patience=5), Answers()

        async def slow():
            read = []
            async for event in turns.stream("session", answers.make()):
                read.append(event)
                await asyncio.sleep(20 if event == 0 else 0)
            return read

        task = elsewhere(slow())
        await asyncio.sleep(2)
        async with turns("session") as turn:
            assert turn.waited < 10
            assert not task.done()
        assert await task == [0, 1, 2]

    on_asyncio(main)


def test_an_error_after_the_reader_left_is_told_when_it_comes_back(on_asyncio):
    async def main():
        turns = queue(reader_patience=5)

        async def fails():
            yield 1
            yield 2
            raise ZeroDivisionError

        events = turns.stream("session", fails())
        assert await anext(events) == 1
        await elsewhere(Crowd(turns).turn("next"))
        assert await anext(events) == 2
        with pytest.raises(ZeroDivisionError):
            await anext(events)

    on_asyncio(main)


@pytest.mark.parametrize("patience", [30, None])
def test_a_reader_that_is_stuck_holds_up_neither_an_interruption_nor_a_stop(on_asyncio, patience):
    async def main():
        turns, answers = queue("interrupt", reader_patience=patience), Answers()
        read = []

        async def stuck():
            async for event in turns.stream("session", answers.make()):
                read.append(event)
                await asyncio.sleep(50)

        task = elsewhere(stuck())
        await asyncio.sleep(1.5)
        async with turns("session") as turn:
            assert turn.waited < 0.1
        with pytest.raises(TurnInterruptedError) as error:
            await task
        assert (error.value.reason, read) == ("newer", [0])

    on_asyncio(main)


def test_a_run_that_ignores_its_abort_is_cancelled_after_five_seconds(on_asyncio):
    async def main():
        turns = queue("interrupt")
        aborted = []

        async def deaf():
            yield 1
            await asyncio.sleep(100)

        events = turns.stream("session", deaf(), abort=lambda: aborted.append(asyncio.get_running_loop().time()))
        assert await anext(events) == 1
        task = asyncio.create_task(anext(events))
        await asyncio.sleep(1)
        await elsewhere(Crowd(turns).turn("new"))
        assert aborted == [1]
        with pytest.raises(TurnInterruptedError):
            await task
        assert asyncio.get_running_loop().time() == pytest.approx(7)

    on_asyncio(main)


def test_a_run_that_heeds_its_abort_is_not_cancelled_and_its_last_events_are_read(on_asyncio):
    async def main():
        turns = queue("interrupt")
        stop = asyncio.Event()

        async def polite():
            yield "began"
            await stop.wait()
            yield "ending"
            await asyncio.sleep(1)
            yield "ended"

        async def read():
            events = turns.stream("session", polite(), abort=stop.set)
            got = []
            with pytest.raises(TurnInterruptedError):
                async for event in events:
                    got.append(event)  # noqa: PERF401 - the events before the error count
            return got

        task = asyncio.create_task(read())
        await asyncio.sleep(1)
        await elsewhere(Crowd(turns).turn("new"))
        assert await task == ["began", "ending", "ended"]

    on_asyncio(main)


def test_a_run_that_heeds_its_abort_ends_without_its_stuck_reader(on_asyncio):
    async def main():
        turns, stop, log = queue("interrupt"), asyncio.Event(), []

        async def polite():
            yield "began"
            await stop.wait()
            yield "ending"
            log.append("ended")

        async def stuck():
            read = []
            with pytest.raises(TurnInterruptedError):
                async for event in turns.stream("session", polite(), abort=stop.set):
                    read.append(event)
                    await asyncio.sleep(50)
            return read

        task = elsewhere(stuck())
        await asyncio.sleep(1)
        async with turns("session") as turn:
            assert turn.waited < 1
            assert log == ["ended"]
        assert await task == ["began", "ending"]

    on_asyncio(main)


async def directly(turn):
    await turn()


async def gathered(turn):
    await asyncio.gather(turn())


async def waited_for(turn):
    await asyncio.wait_for(turn(), 30)


async def in_a_group(turn):
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(turn)


@pytest.mark.parametrize("ask", [directly, gathered, waited_for, in_a_group])
@pytest.mark.parametrize("per_event", [False, True], ids=["async for", "a task for each event"])
def test_a_turn_that_the_reader_asks_for_between_two_events_is_inside(on_asyncio, ask, per_event):
    async def main():
        turns, answers = queue("reject"), Answers(2)

        async def inner():
            async with turns("session"):
                await asyncio.sleep(0.1)

        events = turns.stream("session", answers.make())
        while True:
            try:
                await (asyncio.ensure_future(anext(events)) if per_event else anext(events))
            except StopAsyncIteration:
                break
            await ask(inner)
        assert len(turns) == 0

    on_asyncio(main)


def test_a_turn_inside_the_generator_is_inside(virtually):
    async def main():
        turns = queue("reject")

        async def nests():
            async with turns("session"):
                yield 1

        assert await plainly(turns.stream("session", nests())) == [1]
        assert len(turns) == 0

    virtually(main)


def test_a_stream_inside_a_turn_of_its_key_is_inside(virtually):
    async def main():
        turns = queue("reject")
        async with turns("session"):
            assert await plainly(turns.stream("session", Answers(1).make())) == [0]
        assert len(turns) == 0

    virtually(main)


def test_after_the_stream_its_reader_waits_like_any_other(on_asyncio):
    async def main():
        turns = queue("reject")
        assert await plainly(turns.stream("session", Answers(1).make())) == [0]
        running = elsewhere(Crowd(turns).turn("other", 5))
        await asyncio.sleep(1)
        with pytest.raises(SessionBusyError):
            async with turns("session"):
                pass
        await running

    on_asyncio(main)


def test_a_stream_that_was_never_read_holds_nothing(virtually):
    async def main():
        turns = queue("reject")
        turns.stream("session", Answers().make)
        async with turns("session"):
            pass

    virtually(main)


def test_a_stream_that_is_cancelled_before_it_begins_holds_nothing(on_asyncio):
    async def main():
        turns = queue()
        task = asyncio.create_task(plainly(turns.stream("session", Answers().make())))
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait({task})
        await asyncio.sleep(0)
        assert len(turns) == 0

    on_asyncio(main)
