"""The heart: whatever goes wrong, and in whatever order, an append returned and its event is stored once, or it raised
and its event is not stored.

Hypothesis plays the scheduler. Every store and reload waits until it is let go on, and hypothesis says who goes
on next, who is cancelled and how, when time passes, and what fails. Nothing is left to luck or to the machine's speed.
"""

import asyncio
import sys

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from tenacity import stop_never

from stale_retry import (
    InDoubtError,
    Settled,
    StaleSessionError,
    StaleSessionRetryError,
    exponential,
    full_jitter,
    limits,
    retry_on_stale_session,
)
from stale_retry.testing import VersionedStore

from .virtual import VirtualLoop, examples
from .ways import keys_in_use

WAYS = ["decorated", "call", "with"]


class HookError(Exception):
    pass


# What a caller may be told. Anything else, an error of the retry machinery itself for instance, is a bug.
ANSWERS = (StaleSessionRetryError, InDoubtError, StaleSessionError, ConnectionError, TimeoutError, HookError)


def find_stored(session, event):
    return Settled(event) if event in session.events else None


class World(RuleBasedStateMachine):
    """Writers on two sessions of one store, and everything that can happen to them."""

    @initialize(
        key=st.sampled_from([None, lambda session: session.id]),
        hows=st.lists(st.sampled_from(WAYS), min_size=2, max_size=4),
        deadline=st.sampled_from([None, 0.3, 5.0]),
        max_attempts=st.sampled_from([None, None, 1, 4]),
        attempt_timeout=st.sampled_from([None, None, 0.2]),
        jitter=st.sampled_from([None, full_jitter]),
        settles=st.booleans(),
        reraise=st.booleans(),
        in_place=st.booleans(),
    )
    def build(self, key, hows, deadline, max_attempts, attempt_timeout, jitter, settles, reraise, in_place):
        self.loop = VirtualLoop()
        self.store = VersionedStore()
        self.parked = []
        self.writers = {}  # event -> (session id, task)
        self.scopes = {}  # event -> the cancel scope around its writer
        self.outcomes = {}  # event -> ("returned", result) or ("raised", error)
        self.unacknowledged = set()
        self.cancelled = set()
        self.faults = dict.fromkeys(["observers", "hooks"], 0)
        self.in_place = in_place
        self.policy = retry_on_stale_session(
            self.reload,
            in_doubt=(ConnectionError, TimeoutError) if settles else None,
            backoff=exponential(0.05, max=0.4),
            jitter=jitter,
            max_attempts=max_attempts,
            deadline=deadline,
            attempt_timeout=attempt_timeout,
            stop=stop_never,
            key=key,
            find_stored=find_stored if settles else None,
            on_conflict=self.look_at_conflict,
            observers=self.observe,
            reraise=reraise,
        )
        self.settles = settles
        self.append = self.policy(self.plain_append)
        self.start_writers("a", hows, None)

    def teardown(self):
        if not hasattr(self, "loop"):
            return
        self.faults = dict.fromkeys(self.faults, 0)
        self.store.faults = type(self.store.faults)()
        for _ in range(10_000):
            self.loop.run_until_idle()
            if all(task.done() for _, task in self.writers.values()):
                break
            if self.parked:
                self.parked[0].set_result(None)
            else:
                assert self.loop.advance(), "a writer waits for something that never comes"
        self.loop.run_until_idle()
        self.check_every_answer()
        assert len(self.outcomes) == len(self.writers)
        assert self.policy.queues is None or len(self.policy.queues) == 0
        assert self.parked == []
        assert asyncio.all_tasks(self.loop) == set()
        assert self.loop.timers == []
        assert self.loop.complaints == []
        self.loop.finish()

    # What the writers do

    async def pause(self):
        """Wait until the scheduler says go on."""
        going_on = self.loop.create_future()
        self.parked.append(going_on)
        try:
            await going_on
        finally:
            self.parked.remove(going_on)

    def strikes(self, fault):
        left, self.faults[fault] = self.faults[fault], max(0, self.faults[fault] - 1)
        return left > 0

    async def plain_append(self, session, event):
        await self.pause()
        try:
            await self.store.append(session, event)
        except ConnectionError:
            self.unacknowledged.add(event)
            raise
        self.unacknowledged.add(event)
        await self.pause()  # the acknowledgement is on its way; who is cancelled here never sees it
        self.unacknowledged.remove(event)
        return event

    async def reload(self, session):
        await self.pause()
        fresh = await self.store.refresh(session)
        if fresh is None or not self.in_place:
            return fresh
        session.version, session.events = fresh.version, fresh.events
        return session

    async def look_at_conflict(self, conflict):
        await self.pause()
        if self.strikes("hooks"):
            raise HookError

    def observe(self, event):
        if self.strikes("observers"):
            raise RuntimeError("an observer is broken")

    async def write(self, how, session, event):
        if how == "decorated":
            return await self.append(session, event)
        if how == "call":
            return await self.policy.call(self.plain_append, session, event=event)
        own = (lambda session: find_stored(session, event)) if self.settles else None
        async for attempt in self.policy.attempts(session, find_stored=own):
            with anyio.CancelScope(), attempt:
                await self.plain_append(attempt.session, event)
        return event

    async def writer(self, how, session, event, deadline):
        answer = ("raised", None)
        try:
            with anyio.CancelScope() as self.scopes[event], limits(deadline=deadline):
                answer = ("returned", await self.write(how, session, event))
        except BaseException as error:
            answer = ("raised", error)
        self.outcomes[event] = answer

    # What the scheduler may do

    @rule(
        session=st.sampled_from("aab"),
        hows=st.lists(st.sampled_from(WAYS), min_size=1, max_size=4),
        deadline=st.sampled_from([None, None, None, 0.1]),
    )
    @precondition(lambda self: len(self.writers) < 16)
    def start_writers(self, session, hows, deadline):
        for how in hows:
            event = len(self.writers)
            writer = self.writer(how, self.store.open(session), event, deadline)
            self.writers[event] = (session, self.loop.create_task(writer))
        self.loop.run_until_idle()

    @rule(choices=st.lists(st.integers(0, 15), min_size=1, max_size=20))
    def let_some_go_on(self, choices):
        for choice in choices:
            waiting = [future for future in self.parked if not future.done()]
            if waiting:
                waiting[choice % len(waiting)].set_result(None)
            else:
                self.loop.advance()
            self.loop.run_until_idle()

    @rule(choice=st.integers(0, 15))
    def let_one_go_on_by_a_single_step(self, choice):
        waiting = [future for future in self.parked if not future.done()]
        if waiting:
            waiting[choice % len(waiting)].set_result(None)
        self.loop.step()

    @rule()
    def let_time_pass(self):
        self.loop.advance()

    @rule(data=st.data(), natively=st.booleans(), at_rest=st.booleans())
    @precondition(lambda self: any(not task.done() for _, task in self.writers.values()))
    def cancel_one(self, data, natively, at_rest):
        event = data.draw(st.sampled_from([event for event, (_, task) in self.writers.items() if not task.done()]))
        if natively:
            self.writers[event][1].cancel()
            # Before Python 3.11 a task does not count its cancellations: one that meets a scope's own is lost.
            if sys.version_info >= (3, 11):
                self.cancelled.add(event)
        else:
            self.loop.call_soon(self.scopes[event].cancel)
        if at_rest:
            self.loop.run_until_idle()
        else:
            self.loop.step()

    @rule(fault=st.sampled_from(["stale", "stale", "refresh", "lost_acknowledgements"]), times=st.integers(1, 4))
    def break_the_store(self, fault, times):
        setattr(self.store.faults, fault, times)

    @rule(gone=st.booleans())
    def lose_the_sessions(self, gone):
        self.store.faults.gone = gone

    @rule(fault=st.sampled_from(["observers", "hooks"]), times=st.integers(1, 2))
    def break_a_hook(self, fault, times):
        self.faults[fault] = times

    # What must hold all along

    @invariant()
    def nothing_is_stored_twice(self):
        for session in "ab":
            stored = self.store.events(session)
            assert len(stored) == len(set(stored))

    @invariant()
    def check_every_answer(self):
        for event, (kind, answer) in self.outcomes.items():
            stored = self.store.events(self.writers[event][0]).count(event)
            if kind == "returned":
                assert event not in self.cancelled
                assert answer == event
                assert stored == 1
                continue
            # None: an anyio cancel scope has taken its own cancellation, and nothing was returned.
            assert answer is None or isinstance(answer, (*ANSWERS, asyncio.CancelledError)), repr(answer)
            # A caller that is cancelled while it looks is cancelled, although its event is stored.
            assert stored == 0 or event in self.unacknowledged or isinstance(answer, asyncio.CancelledError)
            assert stored == 0 or not isinstance(answer, StaleSessionError), "it was said not to be stored"
            assert event not in self.cancelled or isinstance(answer, asyncio.CancelledError), repr(answer)


def test_an_append_is_stored_once_or_raises_and_is_not_stored():
    run_state_machine_as_test(World, settings=examples(150, stateful_step_count=50))


@pytest.mark.parametrize("key", [None, lambda session: session.id])
@examples(30)
@given(
    delays=st.lists(st.integers(0, 30), min_size=40, max_size=40),
    writers=st.integers(1, 8),
    losses=st.integers(0, 8),
    rejections=st.integers(0, 8),
    broken_reloads=st.integers(0, 4),
)
def test_with_find_stored_not_even_a_lost_acknowledgement_loses_or_doubles_an_event(
    virtually, key, delays, writers, losses, rejections, broken_reloads
):
    store = VersionedStore()
    store.faults.lost_acknowledgements, store.faults.stale, store.faults.refresh = losses, rejections, broken_reloads
    durations = iter(delays * 100)

    async def refresh(session):
        await anyio.sleep(next(durations) / 1000)
        return await store.refresh(session)

    @retry_on_stale_session(
        refresh,
        in_doubt=ConnectionError,
        find_stored=find_stored,
        key=key,
        deadline=3600,
        observers=(),
    )
    async def append(session, event):
        await anyio.sleep(next(durations) / 1000)
        return await store.append(session, event)

    answers = []

    async def writer(event):
        answers.append(await append(store.open(), event))

    async def main():
        async with anyio.create_task_group() as tasks:
            for event in range(writers):
                tasks.start_soon(writer, event)

    virtually(main)
    assert sorted(answers) == list(range(writers))
    assert sorted(store.events()) == list(range(writers))
    assert keys_in_use() == 0


@examples(30)
@given(
    delays=st.lists(st.integers(0, 30), min_size=40, max_size=40),
    cancelled_at=st.lists(st.one_of(st.none(), st.integers(0, 200)), min_size=1, max_size=8),
    key=st.sampled_from([None, lambda session: session.id]),
    deadline=st.sampled_from([0.05, 0.2, 60.0]),
)
def test_writers_that_are_cancelled_at_any_time_leave_nothing_behind(virtually, delays, cancelled_at, key, deadline):
    store = VersionedStore()
    durations = iter(delays * 100)
    answers = {}

    async def refresh(session):
        await anyio.sleep(next(durations) / 1000)
        return await store.refresh(session)

    @retry_on_stale_session(refresh, key=key, deadline=deadline, observers=())
    async def append(session, event):
        await anyio.sleep(next(durations) / 1000)
        return await store.append(session, event)

    async def writer(event, after):
        with anyio.move_on_after(60 if after is None else after / 1000):
            try:
                answers[event] = await append(store.open(), event)
            except StaleSessionRetryError as error:
                answers[event] = error

    async def main():
        async with anyio.create_task_group() as tasks:
            for event, after in enumerate(cancelled_at):
                tasks.start_soon(writer, event, after)

    virtually(main)
    stored = store.events()
    assert sorted(stored) == sorted(event for event, answer in answers.items() if answer == event)
    assert keys_in_use() == 0
