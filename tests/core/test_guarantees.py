"""What the inside guarantees: nothing shared, nothing kept, errors chained, no multiplying, no swallowing."""

import asyncio
import sys
import weakref
from contextlib import suppress

import anyio
import pytest

from stale_retry import (
    AttemptsExhaustedError,
    SessionGoneError,
    SessionRefreshError,
    StaleSessionError,
    StaleSessionRetryError,
    constant,
    retry_on_stale_session,
)
from stale_retry.testing import VersionedStore

from .virtual import run
from .ways import SOON, WAYS, Thing, append_in, without_the_collector

if sys.version_info < (3, 11):
    from exceptiongroup import ExceptionGroup

pytestmark = pytest.mark.anyio


@pytest.fixture
def store():
    return VersionedStore()


def chain_of(error):
    """The errors that a traceback of `error` shows, `error` first."""
    links = []
    while error is not None and error not in links:
        links.append(error)
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    return links


class TestConcurrentCallsShareNothing:
    def test_overlapping_calls_report_their_own_attempts(self, virtually):
        events = []

        @retry_on_stale_session(lambda session: session, backoff=constant(1), jitter=None, observers=events.append)
        async def append(session, rejections):
            await anyio.sleep(0.1)
            if session.pop():
                raise StaleSessionError
            return rejections

        async def main():
            async with anyio.create_task_group() as tasks:
                for rejections in (1, 4, 2):
                    tasks.start_soon(append, [False] + [True] * rejections, rejections)

        virtually(main)
        recovered = sorted((event.attempt, round(event.elapsed, 6)) for event in events if event.kind == "recovered")
        assert recovered == [(2, 1.2), (3, 2.3), (5, 4.5)]
        retrying = sorted(event.attempt for event in events if event.kind == "retrying")
        assert retrying == [1, 1, 1, 2, 2, 3, 4]

    def test_each_call_hands_its_own_history_to_the_strategies(self, virtually):
        seen = {}

        def backoff(state):
            assert seen.setdefault(state.args[1], state) is state  # one state a call, and never another call's
            assert state.idle_for == pytest.approx(state.attempt_number - 1)
            assert state.seconds_since_start == pytest.approx(1.1 * (state.attempt_number - 1) + 0.1)
            return 1

        def stop(state):
            assert state.idle_for == pytest.approx(state.attempt_number - 1)  # the waits made, not the coming one
            assert state.upcoming_sleep == 1
            return state.attempt_number > 3 + state.args[1]

        @retry_on_stale_session(lambda session: session, backoff=backoff, stop=stop, jitter=None, observers=())
        async def append(session, number):
            await anyio.sleep(0.1)
            raise StaleSessionError

        ended = {}

        async def writer(number):
            try:
                await append("session", number)
            except AttemptsExhaustedError as error:
                ended[number] = error.attempts

        async def main():
            async with anyio.create_task_group() as tasks:
                for number in range(3):
                    tasks.start_soon(writer, number)

        virtually(main)
        assert ended == {0: 4, 1: 5, 2: 6}
        assert len({id(state) for state in seen.values()}) == 3

    async def test_a_frozen_policy_is_the_same_before_and_after(self, store):
        policy = retry_on_stale_session(lambda session: store.open(), **SOON)
        before = repr(policy)
        store.faults.stale = 3
        await policy.call(store.append, store.open(), "event")
        assert repr(policy) == before
        with pytest.raises(AttributeError, match=r"is frozen; replace\(deadline=\.\.\.\)"):
            policy.deadline = 1
        with pytest.raises(AttributeError, match="is frozen"):
            del policy.deadline
        assert policy.deadline == 90.0


def refuse(*_):
    raise StaleSessionError


def fails_with(kind):
    def hook(*_):
        raise kind

    return hook


ENDINGS = {
    "success": {"rejections": 0},
    "recovery": {"rejections": 2},
    "recovery in a queue": {"rejections": 2, "key": id},
    "another error": {"rejections": 0, "then": KeyError},
    "another error after a retry": {"rejections": 1, "then": KeyError},
    "attempts exhausted": {"rejections": 9, "max_attempts": 3},
    "attempts exhausted, the store's error": {"rejections": 9, "max_attempts": 3, "reraise": True},
    "stopped": {"rejections": 9, "stop": lambda state: True},
    "deadline": {"rejections": 9, "deadline": 0.0001},
    "session gone": {"rejections": 9, "refresh": lambda session: None},
    "session gone, the store's error": {"rejections": 9, "refresh": lambda session: None, "reraise": True},
    "refresh failed": {"rejections": 9, "refresh": fails_with(OSError)},
    "refresh failed, its own error": {"rejections": 9, "refresh": fails_with(OSError), "reraise": True},
    "refresh rejected too": {"rejections": 9, "refresh": fails_with(StaleSessionError), "max_attempts": 3},
    "hook aborted": {"rejections": 9, "on_conflict": fails_with(KeyError)},
    "hook settled": {"rejections": 9, "on_conflict": lambda conflict: conflict.settle()},
    "on raised": {"rejections": 9, "on": fails_with(ZeroDivisionError)},
    "backoff raised": {"rejections": 9, "backoff": fails_with(ZeroDivisionError)},
    "jitter raised": {"rejections": 9, "jitter": fails_with(ZeroDivisionError)},
    "stop raised": {"rejections": 9, "stop": fails_with(ZeroDivisionError)},
    "observer raised": {"rejections": 1, "observers": fails_with(ZeroDivisionError)},
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("ending", ENDINGS)
async def test_session_and_event_are_freed_without_a_garbage_collection(way, ending, caplog):
    options = dict(ENDINGS[ending])
    rejections, then = options.pop("rejections"), options.pop("then", None)
    caplog.set_level("CRITICAL", "stale_retry")  # a log record of an observer's error would hold its frames
    calls = 0

    async def plain(session, event):
        nonlocal calls
        calls += 1
        await anyio.lowlevel.checkpoint()
        if calls <= rejections:
            raise StaleSessionError(session, event)
        if then is not None:
            raise then

    policy = retry_on_stale_session(**{"refresh": lambda session: session, **SOON, **options})

    async def once():
        session, event = Thing(), Thing()
        watched = weakref.ref(session), weakref.ref(event)
        with suppress(Exception):
            await append_in(way, policy, plain, session, event)
        return watched

    await once()  # what the first call of anything leaves in caches
    calls = 0
    with without_the_collector():
        session, event = await once()
        await anyio.lowlevel.checkpoint()  # trio keeps the frames around a sleep until it next switches tasks
        assert session() is None
        assert event() is None


async def test_session_and_event_are_freed_when_the_call_is_cancelled():
    @retry_on_stale_session(lambda session: session, backoff=constant(60), observers=())
    async def append(session, event):
        raise StaleSessionError(session, event)

    watched = []

    async def once():
        session, event = Thing(), Thing()
        watched[:] = weakref.ref(session), weakref.ref(event)
        await append(session, event)

    with without_the_collector():
        with anyio.move_on_after(0.01):
            await once()
        await anyio.lowlevel.checkpoint()
        assert [reference() for reference in watched] == [None, None]


class TestTheChainOfErrors:
    """Whatever is raised, a traceback of it shows the stale error too."""

    async def raised_with(self, kind, **options):
        self.stale = StaleSessionError("stale")

        @retry_on_stale_session(**{"refresh": lambda session: session, **SOON, **options})
        async def append(session):
            raise self.stale

        with pytest.raises(kind) as caught:
            await append("session")
        return caught.value

    @pytest.mark.parametrize("option", ["refresh", "on_conflict", "on", "backoff", "jitter", "stop"])
    async def test_a_hook_or_strategy_that_raises_leads_to_the_stale_error(self, option):
        kind = SessionRefreshError if option == "refresh" else ZeroDivisionError
        error = await self.raised_with(kind, **{option: fails_with(ZeroDivisionError)})
        assert any(isinstance(link, ZeroDivisionError) for link in chain_of(error))
        assert chain_of(error)[-1] is self.stale

    @pytest.mark.parametrize("option", ["refresh", "on_conflict"])
    async def test_it_keeps_the_causes_it_came_with(self, option):
        cause = OSError("the network")

        def hook(*_):
            raise ZeroDivisionError from cause

        error = await self.raised_with(Exception, **{option: hook})
        assert chain_of(error)[-2:] == [cause, self.stale]

    @pytest.mark.parametrize("option", ["refresh", "on_conflict"])
    async def test_one_that_hides_its_context_does_not_hide_the_stale_error(self, option):
        def hook(*_):
            try:
                raise KeyError
            except KeyError:
                raise ZeroDivisionError from None

        error = await self.raised_with(Exception, **{option: hook})
        assert not any(isinstance(link, KeyError) for link in chain_of(error))
        assert chain_of(error)[-1] is self.stale

    async def test_a_hook_that_raises_the_stale_error_itself_makes_no_circle(self):
        def hook(conflict):
            raise conflict.error

        error = await self.raised_with(StaleSessionError, on_conflict=hook)
        assert chain_of(error) == [self.stale]

    async def test_a_hook_that_raises_from_the_stale_error_is_left_as_it_is(self):
        def hook(conflict):
            raise ZeroDivisionError from conflict.error

        error = await self.raised_with(ZeroDivisionError, on_conflict=hook)
        assert chain_of(error) == [error, self.stale]

    async def test_a_refresh_that_raises_is_the_cause(self):
        broken = OSError("unreadable")
        error = await self.raised_with(SessionRefreshError, refresh=fails_with(broken))
        assert error.__cause__ is broken
        assert error.last_error is self.stale

    async def test_a_refresh_that_raises_comes_itself_where_the_policy_says_so(self):
        broken = OSError("unreadable")
        error = await self.raised_with(OSError, refresh=fails_with(broken), reraise=True)
        assert error is broken
        assert error.__cause__ is self.stale

    async def test_a_refresh_error_that_counts_as_an_attempt_leads_to_the_one_before(self):
        broken = StaleSessionError("the reload is stale too")
        error = await self.raised_with(AttemptsExhaustedError, refresh=fails_with(broken), max_attempts=2)
        assert error.last_error is broken
        assert chain_of(error) == [error, broken, self.stale]

    async def test_an_observer_that_raises_is_not_seen(self, caplog):
        error = await self.raised_with(
            AttemptsExhaustedError, observers=fails_with(ZeroDivisionError("observer")), max_attempts=2
        )
        assert chain_of(error) == [error, self.stale]
        assert [record.exc_info[0] for record in caplog.records] == [ZeroDivisionError, ZeroDivisionError]


async def test_the_log_of_an_observer_that_raises_does_not_quote_the_store(caplog):
    def observe(event):
        raise ZeroDivisionError from event.error

    @retry_on_stale_session(lambda session: "fresh", **{**SOON, "observers": observe})
    async def append(session, event):
        if session != "fresh":
            raise StaleSessionError("secret payload")

    await append("session", "event")
    assert "ZeroDivisionError" in caplog.text
    assert "secret payload" not in caplog.text


async def test_an_observer_that_raises_does_not_silence_the_next_one(store, caplog):
    events = []
    policy = retry_on_stale_session(
        store.refresh, **{**SOON, "observers": [fails_with(ZeroDivisionError), events.append]}
    )
    store.faults.stale = 1
    assert await policy.call(store.append, store.open(), "event") == "event"
    assert [event.kind for event in events] == ["retrying", "recovered"]


class FrozenError(StaleSessionError):
    """As frozen attrs classes are: only the interpreter's own attributes can be set."""

    def __setattr__(self, name, value):
        if name not in ("__cause__", "__context__", "__traceback__", "__suppress_context__", "__notes__"):
            raise AttributeError("frozen")
        super().__setattr__(name, value)


class TestNesting:
    @pytest.mark.parametrize("reraise", [False, True])
    @pytest.mark.parametrize("outer_on", [StaleSessionError, Exception])
    async def test_decorated_calls_inside_each_other_do_not_multiply(self, reraise, outer_on):
        calls = 0

        @retry_on_stale_session(lambda session: session, on=outer_on, max_attempts=3, reraise=reraise, **SOON)
        @retry_on_stale_session(lambda session: session, max_attempts=3, reraise=reraise, **SOON)
        async def append(session):
            nonlocal calls
            calls += 1
            raise StaleSessionError

        with pytest.raises(StaleSessionError) as caught:
            await append("session")
        assert calls == 3
        assert isinstance(caught.value, StaleSessionRetryError) is not reraise

    @pytest.mark.parametrize("reraise", [False, True])
    @pytest.mark.parametrize("outer_on", [StaleSessionError, Exception])
    async def test_not_in_task_groups_either(self, reraise, outer_on):
        calls = 0

        @retry_on_stale_session(lambda session: session, max_attempts=3, reraise=reraise, **SOON)
        async def inner(session):
            nonlocal calls
            calls += 1
            raise StaleSessionError

        on = [outer_on, lambda error: True][outer_on is Exception]

        @retry_on_stale_session(lambda session: session, on=on, max_attempts=3, **SOON)
        async def outer(session):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(inner, session)

        with pytest.raises(BaseException) as caught:
            await outer("session")
        assert calls == 3
        assert not isinstance(caught.value, StaleSessionRetryError)

    async def test_an_inner_call_that_gives_up_in_a_refresh_hook_ends_the_outer_one(self):
        calls = 0

        @retry_on_stale_session(lambda session: session, max_attempts=2, reraise=True, **SOON)
        async def reload(session):
            nonlocal calls
            calls += 1
            raise StaleSessionError("the replica lags")

        @retry_on_stale_session(reload, max_attempts=5, **SOON)
        async def append(session):
            raise StaleSessionError

        with pytest.raises(SessionRefreshError) as caught:
            await append("session")
        assert calls == 2
        assert caught.value.attempts == 1

    async def test_an_inner_call_that_recovers_is_a_success_of_the_outer_one(self):
        calls = 0

        @retry_on_stale_session(lambda session: session, max_attempts=1, **SOON)
        @retry_on_stale_session(lambda session: session, max_attempts=3, reraise=True, **SOON)
        async def append(session):
            nonlocal calls
            calls += 1
            if calls < 3:
                raise StaleSessionError
            return "stored"

        assert await append("session") == "stored"

    async def test_a_store_that_raises_one_error_object_again_and_again_is_still_retried(self):
        error = StaleSessionError("always the same")
        left = 0

        @retry_on_stale_session(lambda session: session, max_attempts=3, reraise=True, **SOON)
        async def append(session):
            nonlocal left
            if left:
                left -= 1
                raise error
            return "stored"

        left = 9
        with pytest.raises(StaleSessionError) as caught:
            await append("session")
        assert caught.value is error
        left = 2
        assert await append("session") == "stored"

    async def test_an_error_class_that_is_frozen_can_be_given_up_with(self):
        error = FrozenError("frozen")

        @retry_on_stale_session(lambda session: session, max_attempts=2, reraise=True, **SOON)
        async def append(session):
            raise error

        with pytest.raises(FrozenError) as caught:
            await append("session")
        assert caught.value is error


class TestCancellation:
    @pytest.mark.parametrize("where", ["append", "wait", "queue", "refresh", "find_stored", "hook"])
    async def test_it_propagates_from_everywhere_and_is_never_retried(self, where):
        reached, finished = [], []
        scope = anyio.CancelScope()

        async def hang_in(step):
            if step == where:
                reached.append(step)
                scope.cancel()
                await anyio.sleep_forever()

        async def refresh(session):
            await hang_in("refresh")
            return session

        async def find_stored(session):
            await hang_in("find_stored")

        async def on_conflict(conflict):
            await hang_in("hook")

        def backoff(state):
            if where == "wait":
                reached.append("wait")
                scope.deadline = anyio.current_time() + 0.01
                return 60
            return 0

        policy = retry_on_stale_session(
            refresh,
            key=str,
            find_stored=find_stored,
            on_conflict=on_conflict,
            backoff=backoff,
            jitter=None,
            observers=(),
        )

        async def append(session, event):
            if event == "holder":
                await anyio.sleep_forever()
            await hang_in("append")
            if len(finished) == 0:
                finished.append("rejected")
                raise StaleSessionError
            finished.append("stored")

        async with anyio.create_task_group() as tasks:
            if where == "queue":
                tasks.start_soon(policy.call, append, "session", "holder")
                await anyio.wait_all_tasks_blocked()
                scope.deadline = anyio.current_time() + 0.01
                reached.append("queue")
            with scope:
                await policy.call(append, "session", "event")
            tasks.cancel_scope.cancel()
        assert scope.cancelled_caught
        assert "stored" not in finished
        assert reached == [where]
        assert len(policy.queues) == 0

    @pytest.mark.parametrize("way", WAYS)
    async def test_on_exception_never_retries_a_cancellation(self, way):
        calls = 0
        policy = retry_on_stale_session(lambda session: session, on=Exception, **SOON)

        async def append(session):
            nonlocal calls
            calls += 1
            await anyio.sleep_forever()

        with anyio.move_on_after(0.01) as scope:
            await append_in(way, policy, append)
        assert scope.cancelled_caught
        assert calls == 1

    @pytest.mark.parametrize("raised", [asyncio.CancelledError, KeyboardInterrupt, SystemExit, GeneratorExit])
    @pytest.mark.parametrize("on", [BaseException, lambda error: True])
    @pytest.mark.parametrize("way", WAYS)
    @pytest.mark.parametrize("rejections", [0, 1])
    def test_what_is_no_exception_is_never_retried(self, raised, on, way, rejections):
        calls = 0
        policy = retry_on_stale_session(lambda session: session, on=on, **SOON)

        async def append(session):
            nonlocal calls
            calls += 1
            raise StaleSessionError if calls <= rejections else raised

        async def main():
            try:
                await append_in(way, policy, append)
            except BaseException as error:
                return type(error)

        assert run(main) is raised
        assert calls == rejections + 1


@pytest.mark.asyncio
@pytest.mark.parametrize("where", ["wait", "append"])
async def test_a_native_cancellation_propagates(where):
    there = asyncio.Event()

    @retry_on_stale_session(lambda session: "fresh", backoff=constant(0 if where == "append" else 60), observers=())
    async def append(session, event):
        there.set()
        if session == "fresh":
            await asyncio.sleep(60)
        raise StaleSessionError

    task = asyncio.create_task(append("session", "event"))
    await there.wait()
    await asyncio.sleep(0.01)
    task.cancel()
    await asyncio.wait([task])
    assert task.cancelled()


@pytest.mark.skipif(sys.version_info < (3, 11), reason="a task of Python 3.10 does not count its cancellations")
@pytest.mark.parametrize("first", ["deadline", "cancellation"])
def test_a_native_cancellation_at_the_very_instant_of_the_deadline_is_not_swallowed(first):
    async def refresh(session):
        await asyncio.sleep(60)

    @retry_on_stale_session(refresh, deadline=5, **{**SOON, "backoff": constant(1)})
    async def append(session):
        raise StaleSessionError

    async def main():
        loop = asyncio.get_running_loop()
        task = asyncio.create_task(append("session"))
        if first == "cancellation":
            loop.call_at(5, task.cancel)
        await asyncio.sleep(2)
        if first == "deadline":
            loop.call_at(5, task.cancel)
        await asyncio.wait([task])
        return task.cancelled(), loop.time()

    assert run(main) == (True, 5)


class TestExceptionGroups:
    async def stored_after(self, error):
        @retry_on_stale_session(lambda session: "fresh", **SOON)
        async def append(session, event):
            if session != "fresh":
                raise error
            return "stored"

        return await append("session", "event")

    async def test_a_group_of_only_stale_errors_is_retried(self):
        group = ExceptionGroup("", [StaleSessionError(), ExceptionGroup("", [StaleSessionError()])])
        assert await self.stored_after(group) == "stored"

    async def test_a_mixed_group_is_not(self):
        group = ExceptionGroup("", [StaleSessionError(), KeyError()])
        with pytest.raises(ExceptionGroup) as caught:
            await self.stored_after(group)
        assert caught.value is group

    async def test_a_group_with_a_call_that_gave_up_is_not(self):
        group = ExceptionGroup(
            "", [StaleSessionError(), SessionGoneError("gone", attempts=1, elapsed=0.0, last_error=KeyError())]
        )
        with pytest.raises(ExceptionGroup) as caught:
            await self.stored_after(group)
        assert caught.value is group


def test_elapsed_time_counts_from_the_entry_of_the_call():
    store = VersionedStore()

    @retry_on_stale_session(store.refresh, max_attempts=2, backoff=constant(2), jitter=None, observers=())
    async def append(session, event):
        await anyio.sleep(5)
        raise StaleSessionError

    async def main():
        with pytest.raises(AttemptsExhaustedError) as caught:
            await append(store.open(), "event")
        return caught.value.elapsed

    assert run(main) == pytest.approx(12)
