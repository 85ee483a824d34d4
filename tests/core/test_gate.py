"""The gate: contenders of one session take turns while they retry."""

import asyncio
import contextvars
import logging
import threading
import uuid
from contextlib import asynccontextmanager

import anyio
import pytest

from stale_retry import (
    DeadlineExceededError,
    StaleSessionError,
    constant,
    retry_on_stale_session,
)
from stale_retry.testing import VersionedStore

from .ways import SOON, a_stale_session, by_id

on_both = pytest.mark.anyio


@pytest.fixture
def store():
    return VersionedStore()


class Held:
    """A gate that notes what is done to it, with a fault on demand."""

    def __init__(self, *, enter=None, leave=None):
        self.log = []
        self.sessions = []
        self.enter, self.leave = enter, leave

    def __call__(self, session):
        self.sessions.append(session)
        return self

    async def __aenter__(self):
        self.log.append("enter")
        if self.enter:
            await self.enter()
        self.log.append("entered")

    async def __aexit__(self, kind, error, traceback):
        self.log.append("leave")
        if self.leave:
            await self.leave()
        self.log.append("left")
        return True  # to suppress an error is not a gate's business, and is ignored


@on_both
class TestWhenItIsHeld:
    async def test_it_is_not_entered_for_the_first_attempt(self, store):
        gate = Held()
        append = retry_on_stale_session(store.refresh, gate=gate, **SOON)(store.append)
        await append(store.open(), "event")
        assert gate.log == []

    async def test_it_is_held_over_refresh_conflict_hook_and_append_and_never_while_waiting(self, store):
        gate = Held()

        async def refresh(session):
            gate.log.append("refresh")
            return await store.refresh(session)

        def backoff(state):
            gate.log.append("wait")
            return 0.001

        @retry_on_stale_session(
            refresh,
            gate=gate,
            on_conflict=lambda conflict: gate.log.append("conflict"),
            **{**SOON, "backoff": backoff},
        )
        async def append(session, event):
            gate.log.append("append")
            return await store.append(session, event)

        store.faults.stale = 2
        session = store.open()
        await append(session, "event")
        turn = ["wait", "enter", "entered", "refresh", "conflict", "append", "leave", "left"]
        assert gate.log == ["append", *turn, *turn]
        assert gate.sessions[0] is session
        assert gate.sessions[1] is not session

    async def test_it_is_left_soon_after_a_block_that_failed_whatever_the_loop_does_then(self, store):
        gate = Held()
        policy = retry_on_stale_session(store.refresh, gate=gate, **SOON)
        store.faults.stale = 2
        logs = []
        async for attempt in policy.attempts(store.open()):
            with attempt:
                await store.append(attempt.session, "event")
            await anyio.sleep(0.001)
            logs.append(list(gate.log))
        once = ["enter", "entered", "leave", "left"]
        assert logs == [[], once, [*once, *once]]

    async def test_it_is_left_when_the_session_is_gone(self, store):
        gate = Held()
        append = retry_on_stale_session(store.refresh, gate=gate, **SOON)(store.append)
        session = a_stale_session(store)
        store.faults.gone = True
        with pytest.raises(StaleSessionError):
            await append(session, "event")
        assert gate.log == ["enter", "entered", "leave", "left"]

    async def test_it_is_left_when_the_call_is_settled(self, store):
        gate = Held()
        policy = retry_on_stale_session(
            store.refresh, gate=gate, on_conflict=lambda conflict: conflict.settle("settled"), **SOON
        )
        assert await policy.call(store.append, a_stale_session(store), "event") == "settled"
        assert gate.log == ["enter", "entered", "leave", "left"]


@on_both
class TestFaults:
    async def test_a_gate_that_raises_on_entry_ends_the_call_with_its_error(self, store):
        async def refuse():
            raise ConnectionError("the lock server is down")

        events = []
        gate = Held(enter=refuse)
        policy = retry_on_stale_session(store.refresh, gate=gate, **{**SOON, "observers": events.append})
        with pytest.raises(ConnectionError) as caught:
            await policy.call(store.append, a_stale_session(store), "event")
        assert isinstance(caught.value.__cause__, StaleSessionError)
        assert [(event.kind, event.reason) for event in events] == [("retrying", None), ("gave_up", "gate_failed")]
        assert gate.log == ["enter"]
        assert store.refreshes == 0
        assert store.events() == []

    async def test_a_gate_that_cannot_be_made_ends_the_call_with_its_error(self, store):
        policy = retry_on_stale_session(store.refresh, key=lambda session: session.nonsense, **SOON)
        with pytest.raises(AttributeError, match="nonsense") as caught:
            await policy.call(store.append, a_stale_session(store), "event")
        assert store.appends == 0
        assert caught.value.__cause__ is None

    async def test_a_key_that_cannot_be_hashed_leaves_no_entry(self, store):
        gate = local_gate(lambda session: [])
        with pytest.raises(TypeError, match="unhashable"):
            await retry_on_stale_session(store.refresh, gate=gate, **SOON).call(
                store.append, a_stale_session(store), "event"
            )
        assert len(gate) == 0

    @pytest.mark.parametrize("stored", [True, False])
    async def test_a_gate_that_raises_on_exit_is_logged_and_changes_nothing(self, store, caplog, stored):
        async def fail():
            raise ConnectionError("the lock server is down")

        policy = retry_on_stale_session(store.refresh, gate=Held(leave=fail), max_attempts=2, **SOON)
        store.faults.stale = 1 if stored else 2
        with caplog.at_level(logging.WARNING, "stale_retry"):
            if stored:
                assert await policy.call(store.append, store.open(), "event") == "event"
            else:
                with pytest.raises(StaleSessionError, match="gave up after 2 attempts"):
                    await policy.call(store.append, store.open(), "event")
        assert [record.message for record in caplog.records] == ["the gate could not be released"]
        assert store.events() == ["event"] * stored


def test_a_gate_that_hangs_on_exit_is_given_up_on_and_logged(virtually, caplog):
    store = VersionedStore()
    gate = Held(leave=anyio.sleep_forever)
    policy = retry_on_stale_session(store.refresh, gate=gate, **SOON)

    async def main():
        answer = await policy.call(store.append, a_stale_session(store), "event")
        return answer, anyio.current_time()

    answer, ended = virtually(main)
    assert answer == "event"
    assert 5.0 <= ended < 5.1
    assert [record.message for record in caplog.records] == ["the gate was not released within 5 s"]


@on_both
class TestCancellation:
    @pytest.mark.parametrize("make", [lambda: by_id, lambda: ForeignGate()], ids=["local", "foreign"])
    async def test_who_is_cancelled_while_queueing_is_forgotten(self, store, make):
        gate = make()
        policy = retry_on_stale_session(store.refresh, gate=gate, **SOON)
        holding = anyio.Event()
        scope = anyio.CancelScope()
        let_go = anyio.Event()

        async def hold():
            async with gate(store.open()):
                holding.set()
                await let_go.wait()

        async def queue():
            with scope:
                await policy.call(store.append, a_stale_session(store), "cancelled")

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(hold)
            await holding.wait()
            tasks.start_soon(queue)
            await anyio.sleep(0.01)
            scope.cancel()
            await anyio.wait_all_tasks_blocked()
            assert scope.cancelled_caught
            let_go.set()
        assert await policy.call(store.append, a_stale_session(store), "next") == "next"
        assert len(gate) == 0
        assert store.events() == ["next"]

    @pytest.mark.parametrize("where", ["refresh", "hook", "append"])
    @pytest.mark.parametrize("make", [lambda: by_id, lambda: ForeignGate()], ids=["local", "foreign"])
    async def test_who_is_cancelled_while_holding_it_lets_go(self, store, make, where):
        gate = make()
        scope = anyio.CancelScope()
        reached = []

        async def hang_in(place):
            if place == where:
                reached.append(len(gate))
                scope.cancel()
                await anyio.sleep_forever()

        async def refresh(session):
            await hang_in("refresh")
            return await store.refresh(session)

        async def on_conflict(conflict):
            await hang_in("hook")

        @retry_on_stale_session(refresh, gate=gate, on_conflict=on_conflict, **SOON)
        async def append(session, event):
            if session.version == 0:
                await hang_in("append")
            return await store.append(session, event)

        with scope:
            await append(a_stale_session(store), "event")
        assert scope.cancelled_caught
        assert reached == [1]
        assert len(gate) == 0
        assert store.events() == []


@pytest.mark.asyncio
@pytest.mark.parametrize("where", ["queue", "refresh", "hook", "append"])
@pytest.mark.parametrize("local", [True, False])
async def test_a_task_that_is_cancelled_natively_lets_go_of_it(where, local):
    store = VersionedStore()
    gate = by_id if local else ForeignGate()
    there = asyncio.Event()

    async def hang_in(place):
        if place == where:
            there.set()
            await asyncio.sleep(3600)

    async def refresh(session):
        await hang_in("refresh")
        return await store.refresh(session)

    async def on_conflict(conflict):
        await hang_in("hook")

    @retry_on_stale_session(refresh, gate=gate, on_conflict=on_conflict, **SOON)
    async def append(session, event):
        if session.version == 0:
            await hang_in("append")
        return await store.append(session, event)

    if where == "queue":
        outside = contextvars.copy_context()  # what is started inside shares a local gate
        async with gate(store.open()):
            task = outside.run(asyncio.create_task, append(a_stale_session(store), "event"))
            await asyncio.sleep(0.02)
            task.cancel()
            await asyncio.wait([task])
    else:
        task = asyncio.create_task(append(a_stale_session(store), "event"))
        await there.wait()
        task.cancel()
        await asyncio.wait([task])
    assert task.cancelled()
    assert len(gate) == 0
    assert store.events() == []


@pytest.mark.asyncio
async def test_a_task_that_is_cancelled_natively_while_it_lets_go_is_cancelled():
    store = VersionedStore()
    leaving = asyncio.Event()

    async def leave():
        leaving.set()
        await asyncio.sleep(3600)

    policy = retry_on_stale_session(store.refresh, gate=Held(leave=leave), **SOON)
    attempts = policy.attempts(a_stale_session(store))

    async def block():
        async for attempt in attempts:
            async with attempt:
                await store.append(attempt.session, "event")

    task = asyncio.create_task(block())
    await leaving.wait()
    task.cancel()
    await asyncio.wait([task])
    assert task.cancelled()
    assert attempts._progress.failures.error is None  # it holds on to nothing


class ForeignGate:
    """As `redis.asyncio`'s lock is used: a plain async context manager that only an await can leave."""

    def __init__(self):
        self.locks = {}

    @asynccontextmanager
    async def __call__(self, session):
        lock = self.locks.setdefault(session.id, RedisLikeLock())
        async with lock:
            yield

    def __len__(self):
        return sum(lock.token is not None for lock in self.locks.values())


class RedisLikeLock:
    """A lock that is polled for and whose release is a request that takes a moment, as across a network."""

    def __init__(self):
        self.token = None

    async def __aenter__(self):
        token = uuid.uuid4()
        while self.token is not None:
            await anyio.sleep(0.001)
        self.token = token
        return self

    async def __aexit__(self, *_):
        await anyio.sleep(0.001)
        self.token = None


@on_both
async def test_behind_a_shared_gate_each_contender_needs_one_reload_only(store):
    # Without a gate twenty losers reload and append at once, and nineteen of them lose again.
    gate = ForeignGate()
    policy = retry_on_stale_session(store.refresh, gate=gate, **{**SOON, "backoff": constant(0)})
    sessions = [store.open() for _ in range(20)]

    async def writer(session, event):
        await policy.call(store.append, session, event)

    async with anyio.create_task_group() as tasks:
        for event, session in enumerate(sessions):
            tasks.start_soon(writer, session, event)
    assert sorted(store.events()) == list(range(20))
    assert store.refreshes == 19
    assert store.appends == 20 + 19
    assert len(gate) == 0


@on_both
async def test_a_thousand_different_sessions_leave_no_entry_behind(store):
    gate = by_id
    policy = retry_on_stale_session(store.refresh, gate=gate, **SOON)
    most = 0

    async def append(session, event):
        nonlocal most
        most = max(most, len(gate))
        return await store.append(session, event)

    async def writer(number):
        session = store.open(str(number))
        session.version = -1
        await policy.call(append, session, number)

    async with anyio.create_task_group() as tasks:
        for number in range(1000):
            tasks.start_soon(writer, number)
    assert most > 0
    assert len(gate) == 0
    assert all(store.events(str(number)) == [number] for number in range(1000))


@on_both
async def test_different_sessions_do_not_wait_for_each_other(store):
    gate = by_id
    with anyio.fail_after(5):
        async with gate(store.open("a")), gate(store.open("b")):
            assert len(gate) == 2
    assert len(gate) == 0


@on_both
async def test_decorated_appends_inside_each_other_may_share_one_gate(store):
    # To queue behind oneself would last until the deadline.
    gate = by_id
    policy = retry_on_stale_session(store.refresh, gate=gate, **SOON)

    @policy
    async def inner(session, event):
        assert len(gate) <= 1
        return await store.append(session, event)

    @policy
    async def outer(session, event):
        if session.version < 0:
            raise StaleSessionError
        answer = await inner(session, event)
        assert len(gate) == 1  # the inner call has let go of its own turn only
        return answer

    session = a_stale_session(store)
    store.faults.stale = 2
    assert await outer(session, "event") == "event"
    assert store.events() == ["event"]
    assert len(gate) == 0


def test_two_event_loops_in_two_threads_may_share_one_gate():
    store = VersionedStore()
    gate = local_gate(lambda session: "one for all")
    policy = retry_on_stale_session(lambda session: session, gate=gate, **SOON)
    both_hold_it = threading.Barrier(2, timeout=10)
    answers = []

    async def append(session, event):
        if session.version == -1:
            session.version = 0
            raise StaleSessionError
        # Blocks the whole loop, so that both loops are here at once: each has a queue of its own.
        both_hold_it.wait()
        answers.append((event, len(gate)))
        both_hold_it.wait()

    async def main(event):
        session = store.open()
        session.version = -1
        await policy.call(append, session, event)

    threads = [
        threading.Thread(target=anyio.run, args=(main, backend), kwargs={"backend": backend})
        for backend in ("asyncio", "trio")
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert sorted(answers) == [("asyncio", 2), ("trio", 2)]
    assert len(gate) == 0


def test_a_busy_gate_is_queued_for_until_the_deadline_and_no_longer(virtually):
    store = VersionedStore()
    gate = by_id
    policy = retry_on_stale_session(store.refresh, gate=gate, deadline=3, **{**SOON, "backoff": constant(1)})

    async def main():
        async with anyio.create_task_group() as tasks:
            held = anyio.Event()

            async def hold():
                async with gate(store.open()):
                    held.set()
                    await anyio.sleep_forever()

            tasks.start_soon(hold)
            await held.wait()
            with pytest.raises(DeadlineExceededError):
                await policy.call(store.append, a_stale_session(store), "event")
            assert anyio.current_time() == 3
            tasks.cancel_scope.cancel()

    virtually(main)
    assert store.refreshes == 0
    assert len(gate) == 0


def test_a_gate_may_hold_a_task_group_open_while_it_is_held(virtually):
    # As one does that renews the lease of a lock on another machine.
    store = VersionedStore()
    renewals = []

    @asynccontextmanager
    async def gate(session):
        async def renew():
            while True:
                await anyio.sleep(1)
                renewals.append(anyio.current_time())

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(renew)
            yield
            tasks.cancel_scope.cancel()

    @retry_on_stale_session(store.refresh, gate=gate, attempt_timeout=10, **SOON)
    async def append(session, event):
        await anyio.sleep(3.5)
        return await store.append(session, event)

    async def main():
        return await append(a_stale_session(store), "event")

    assert virtually(main) == "event"
    assert len(renewals) == 3


def test_a_local_gate_needs_a_key_function():
    with pytest.raises(TypeError, match="key must be a function of the session"):
        local_gate("id")
