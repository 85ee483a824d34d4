"""A lease that processes share: taken, kept alive, given back, and lost with an error."""

import asyncio
import copy
import uuid

import anyio
import pytest

from stale_retry.turns import LeaseStore, SessionBusyError, TurnInterruptedError, TurnLostError, TurnQueue
from stale_retry.turns.leases import name_of

from .crowd import Crowd, in_order
from .stores import Leases


def processes(count=2, *, when_busy="enqueue", leases=None, **options):
    """Queues that share nothing but a store of leases, as those of several processes do."""
    leases = leases or Leases()
    stores = [leases, *(copy.copy(leases) for _ in range(count - 1))]
    return [TurnQueue(when_busy, shared=store, observers=(), **options) for store in stores], leases


async def settled(*queues):
    await anyio.sleep(0.1)
    assert all(len(queue) == 0 for queue in queues)


def test_turns_of_two_processes_run_one_at_a_time(virtually):
    async def main():
        (one, other), leases = processes()
        crowd, same = Crowd(one), Crowd(other)
        same.running = crowd.running
        async with anyio.create_task_group() as tasks:
            for number in range(4):
                tasks.start_soon((crowd if number % 2 else same).turn, number)
        assert sorted(crowd.ended + same.ended) == [0, 1, 2, 3]
        assert leases.held == {}
        await settled(one, other)

    virtually(main)


def test_the_next_turn_asks_for_the_lease_when_the_one_before_has_given_it_back(virtually):
    class SlowToRelease(Leases):
        async def release(self, name, token):
            await anyio.sleep(1)
            return await super().release(name, token)

    async def main():
        (one,), leases = processes(1, leases=SlowToRelease())
        crowd = Crowd(one)
        async with anyio.create_task_group() as tasks:
            await in_order(tasks, (crowd.turn, "a"), (crowd.turn, "b"))
        assert [call for call in leases.calls if call in ("acquire", "release")] == ["acquire", "release"] * 2

    virtually(main)


def test_in_one_process_the_order_is_that_of_arrival(virtually):
    async def main():
        (one,), _ = processes(1)
        crowd = Crowd(one)
        async with anyio.create_task_group() as tasks:
            await in_order(tasks, *((crowd.turn, number) for number in range(6)))
        assert crowd.began == list(range(6))

    virtually(main)


def test_a_turn_inside_a_turn_shares_the_lease(virtually):
    async def main():
        (one,), leases = processes(1)
        async with one("session"), one("session"):
            pass
        assert leases.calls == ["acquire", "release"]

    virtually(main)


def test_a_turn_of_minutes_keeps_its_lease(virtually):
    async def main():
        (one, other), leases = processes(deadline=3600)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(Crowd(one).turn, "long", 300)
            await anyio.sleep(1)
            waits = Crowd(other)
            await waits.turn("next")
            assert anyio.current_time() > began + 300
        assert leases.calls.count("renew") >= 29
        assert waits.ended == ["next"]

    began = 0.0
    virtually(main)


def test_the_lease_of_a_killed_process_is_free_after_its_timeout(virtually):
    async def main():
        (one,), leases = processes(1)
        leases.take_away()  # and nobody renews it
        async with one("session") as turn:
            assert 30 <= turn.waited <= 32

    virtually(main)


def test_a_turn_that_lost_its_lease_is_told_within_a_second_and_cancelled(virtually):
    async def main():
        (one,), leases = processes(1)
        events = []
        one = TurnQueue(shared=leases, observers=events.append)
        with pytest.raises(TurnLostError, match="another process may have begun"):
            async with one("session"):
                leases.take_away()
                await anyio.sleep(100)
        assert anyio.current_time() == pytest.approx(began + 1, abs=0.1)
        assert [(event.kind, event.reason) for event in events] == [
            ("started", None),
            ("interrupted", "lost"),
            ("ended", "lost"),
        ]
        assert leases.held['"session"'][0] == "somebody else"
        await settled(one)

    began = 0.0
    virtually(main)


def test_a_block_that_ends_before_it_could_be_told_ends_with_the_error_too(virtually):
    async def main():
        (one,), leases = processes(1)
        with pytest.raises(TurnLostError):
            async with one("session"):
                leases.take_away()
        with pytest.raises(ZeroDivisionError):
            async with one("other"):
                leases.take_away('"other"')
                raise ZeroDivisionError

    virtually(main)


def test_an_abort_hook_is_told_of_a_lost_lease(virtually):
    async def main():
        (one,), leases = processes(1)
        stop = anyio.Event()
        with pytest.raises(TurnLostError):
            async with one("session", abort=stop.set) as turn:
                leases.take_away()
                await stop.wait()
                assert turn.ended == "lost"

    virtually(main)


def test_a_store_that_is_away_for_less_than_the_timeout_is_not_noticed(virtually, caplog):
    async def main():
        (one,), leases = processes(1)
        async with one("session"):
            await anyio.sleep(9)
            leases.is_down = True
            await anyio.sleep(15)
            leases.is_down = False
            await anyio.sleep(100)
        assert leases.held == {}

    virtually(main)
    assert "could not be renewed" in caplog.text


@pytest.mark.parametrize("fault", ["is_down", "hangs"])
def test_a_store_that_is_away_for_longer_ends_the_turn_before_the_lease_runs_out(virtually, fault):
    async def main():
        (one,), leases = processes(1)
        with pytest.raises(TurnLostError):
            async with one("session"):
                setattr(leases, fault, True)
                await anyio.sleep(100)
        ended = anyio.current_time()
        assert 20 < ended - began < 36  # 27 s, and where the store hangs 5 s that it is given to take the lease back

    began = 0.0
    virtually(main)


def test_a_store_that_cannot_be_reached_refuses_the_turn_with_its_own_error(virtually):
    async def main():
        (one,), leases = processes(1)
        leases.is_down = True
        with pytest.raises(ConnectionError, match="the store is down"):
            async with one("session"):
                raise AssertionError("entered")
        await settled(one)
        leases.is_down = False
        async with one("session"):
            pass

    virtually(main)


def test_a_waiter_goes_on_asking_while_the_store_restarts(virtually):
    async def main():
        (one,), leases = processes(1)
        leases.take_away()
        async with anyio.create_task_group() as tasks:
            crowd = Crowd(one)
            tasks.start_soon(crowd.turn, "waits")
            await anyio.sleep(5)
            leases.is_down = True
            await anyio.sleep(20)
            leases.is_down = False
        assert crowd.ended == ["waits"]

    virtually(main)


def test_but_no_longer_than_the_timeout(virtually):
    async def main():
        (one,), leases = processes(1)
        leases.take_away()
        with pytest.raises(ConnectionError):
            async with anyio.create_task_group() as tasks:

                async def goes_away():
                    await anyio.sleep(5)
                    leases.is_down = True

                tasks.start_soon(goes_away)
                try:
                    async with one("session"):
                        raise AssertionError("entered")
                except ConnectionError as error:
                    problem = error
            raise problem
        await anyio.sleep(6)
        assert len(one) == 0

    virtually(main)


def test_reject_asks_once(virtually):
    async def main():
        (one, other), leases = processes(when_busy="reject")
        async with one("session"):
            with pytest.raises(SessionBusyError) as error:
                async with other("session"):
                    raise AssertionError("entered")
            assert error.value.reason == "busy"
            assert leases.asked == {}
        assert leases.calls == ["acquire", "acquire", "release", "release"]

    virtually(main)


def test_interrupt_ends_a_turn_of_another_process_within_two_seconds(virtually):
    async def main():
        (one, other), _ = processes(when_busy="interrupt")
        crowd = Crowd(one)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(crowd.turn, "theirs", 50)
            await anyio.sleep(1)
            tasks.start_soon(Crowd(other).turn, "old")
            await anyio.sleep(0.01)
            async with other("session") as turn:  # also ends the one that waits in this process
                assert turn.waited <= 3
        assert crowd.errors() == {"theirs": "TurnInterruptedError"}

    virtually(main)


def test_a_turn_that_waits_is_interrupted_by_a_newer_one_of_another_process(virtually):
    async def main():
        (runs, waits, newest), leases = processes(3, when_busy="interrupt")
        events, outcomes = [], []
        waits = TurnQueue("interrupt", shared=copy.copy(leases), observers=events.append)

        async def slow_to_end():
            with pytest.raises(TurnInterruptedError):
                async with runs("session"):
                    try:
                        await anyio.sleep(100)
                    finally:
                        with anyio.CancelScope(shield=True):
                            await anyio.sleep(10)

        async def waiting():
            with pytest.raises(TurnInterruptedError) as error:
                async with waits("session"):
                    raise AssertionError("entered")
            outcomes.append((error.value.reason, error.value.started))

        async with anyio.create_task_group() as tasks:
            await in_order(tasks, (slow_to_end,), (waiting,), (Crowd(newest).turn, "newest"), apart=1)
            await anyio.sleep(3)
            assert outcomes == [("newer", False)]
        assert [(event.kind, event.reason) for event in events] == [("waiting", None), ("interrupted", "newer")]

    virtually(main)


def test_interrupt_ends_one_of_this_process_that_has_the_lease(virtually):
    async def main():
        (one,), leases = processes(1, when_busy="interrupt")

        async def old():
            with pytest.raises(TurnInterruptedError):
                async with one("session"):
                    await anyio.sleep(100)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(old)
            await anyio.sleep(1)
            async with one("session"):
                assert len(leases.held) == 1

    virtually(main)


def test_the_deadline_covers_waiting_for_the_lease(virtually):
    async def main():
        (one,), leases = processes(1, deadline=5)
        leases.take_away()
        with pytest.raises(SessionBusyError) as error:
            async with one("session"):
                raise AssertionError("entered")
        assert error.value.reason == "deadline"
        await settled(one)

    virtually(main)


@pytest.mark.parametrize("after", [0.0, 0.0005, 0.001, 0.0015, 0.5, 1.5])
def test_cancelled_while_it_asks_or_has_the_lease_it_leaves_none_behind(virtually, after):
    async def main():
        (one,), leases = processes(1)
        with anyio.move_on_after(after):
            async with one("session"):
                await anyio.sleep(100)
        await anyio.sleep(0.1)
        assert leases.held == {}
        assert len(one) == 0

    virtually(main)


def test_a_store_that_hangs_keeps_a_cancelled_turn_for_five_seconds_at_most(virtually):
    async def main():
        (one,), leases = processes(1)
        leases.hangs = True
        start = anyio.current_time()
        with anyio.move_on_after(1):
            async with one("session"):
                raise AssertionError("entered")
        assert anyio.current_time() - start <= 1.1
        leases.hangs = False
        async with one("session"):
            assert anyio.current_time() - start <= 12

    virtually(main)


def test_a_cancelled_turn_ends_when_its_lease_is_given_back(virtually):
    async def main():
        (one,), leases = processes(1)
        with anyio.move_on_after(1):
            async with one("session"):
                await anyio.sleep(100)
        assert leases.calls[-1] == "release"
        assert leases.held == {}

    virtually(main)


def test_dropped_or_closed_it_gives_the_lease_back_all_the_same(on_asyncio):
    async def main():
        (one,), leases = processes(1)
        turn = one("session")
        await turn.__aenter__()
        with pytest.warns(ResourceWarning):
            del turn
        await settled(one)
        assert leases.held == {}
        reading = answers(one)
        await anext(reading)
        await reading.aclose()
        await settled(one)
        assert leases.held == {}

    async def answers(turns):
        async with turns("session"):
            yield 1

    on_asyncio(main)


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_the_event_loop_that_ends_gives_its_leases_back(backend):
    """Ctrl-C and a deployment free the session at once, and only what is killed is waited for."""
    leases = Leases()
    turns = TurnQueue(shared=leases, observers=())

    async def main():
        turn = turns("session")
        await turn.__aenter__()
        assert leases.held
        return turn

    anyio.run(main, backend=backend)
    assert leases.held == {}


def test_a_coroutine_that_is_closed_gives_its_lease_back_without_awaiting(on_asyncio):
    async def main():
        (one,), leases = processes(1)

        async def block():
            async with one("session"):
                await asyncio.get_running_loop().create_future()

        coroutine = block()
        while not leases.held:
            future = coroutine.send(None)
            future._asyncio_future_blocking = False  # stands in for the task that would wait for it
            await asyncio.wait([future])
        coroutine.send(None)
        coroutine.close()
        await settled(one)
        assert leases.held == {}

    on_asyncio(main)


def test_a_lease_that_cannot_be_given_back_runs_out_and_the_turn_has_ended_well(virtually, caplog):
    async def main():
        (one,), leases = processes(1)
        async with one("session"):
            leases.is_down = True
        assert len(leases.held) == 1

    virtually(main)
    assert "could not be given back" in caplog.text


def test_a_task_started_inside_that_comes_while_the_lease_is_given_back_asks_for_its_own(on_asyncio):
    async def main():
        (one,), leases = processes(1)
        leaving = asyncio.Event()

        async def late():
            await leaving.wait()
            async with one("session"):
                await anyio.sleep(1)
                return len(leases.held)

        async with one("session"):
            task = asyncio.create_task(late())
            await anyio.sleep(1)
            leaving.set()
        assert await task == 1
        assert leases.calls.count("acquire") == 2

    on_asyncio(main)


def test_a_turn_that_waits_for_another_process_is_reported_as_waiting(virtually):
    async def main():
        events = []
        leases = Leases()
        leases.take_away()
        turns = TurnQueue(shared=leases, observers=events.append)
        async with turns("session"):
            pass
        assert [event.kind for event in events] == ["waiting", "started", "ended"]

    virtually(main)


def test_a_key_has_one_name_in_every_process_and_no_other_keys_name():
    keys = ["a", ("a",), ("a", "b"), "a,b", ("a,b",), 1, "1", None, ("a", None), ("ä" * 300,), ("ä" * 301,)]
    names = [name_of(key) for key in keys]
    assert len(set(names)) == len(keys)
    assert all(len(name) <= 200 for name in names)
    assert name_of(("app", "user", "session")) == '["app", "user", "session"]'


def test_a_uuid_is_a_key_and_not_the_same_one_as_its_text():
    key = uuid.UUID(int=1)
    assert len({name_of(key), name_of(str(key)), name_of(key.hex), name_of((key,))}) == 4
    assert name_of(key) == name_of(uuid.UUID(int=1))


def test_a_key_that_has_no_name_is_refused_before_the_turn_waits():
    turns = TurnQueue(shared=Leases())
    with pytest.raises(TypeError, match=r"a key that processes share must be .* contains a frozenset"):
        turns(frozenset("session"))


def test_a_store_of_leases_is_any_object_with_these_methods():
    assert isinstance(Leases(), LeaseStore)


def test_queues_that_share_one_lease_object_are_one_queue(virtually):
    async def main():
        leases = Leases()
        one, other = (TurnQueue(shared=leases, observers=(), deadline=5) for _ in range(2))
        async with one("session"), other("session"), one("session"):
            assert len(one) == len(other) == 1
        crowd, same = Crowd(one), Crowd(other)
        same.running = crowd.running
        async with anyio.create_task_group() as tasks:
            await in_order(tasks, (crowd.turn, "a"), (same.turn, "b"), (crowd.turn, "c"))
        assert crowd.ended + same.ended == ["a", "c", "b"]

    virtually(main)


def test_connections_of_a_store_are_closed_when_the_last_turn_has_ended_for_a_while(virtually):
    class Connected(Leases):
        closed = 0

        async def close_here(self):
            self.closed += 1

    async def main():
        leases = Connected()
        turns = TurnQueue(shared=leases, observers=())
        for _ in range(2):
            async with turns("session"):
                await anyio.sleep(20)
            await anyio.sleep(4)
            assert leases.closed == 0
        await anyio.sleep(2)
        assert leases.closed == 1

    virtually(main)
