"""`policy.attempts(...)`: a block of code in a runner's own loop, retried."""

import sys

import anyio
import pytest
from tenacity import stop_after_attempt

from stale_retry import AttemptsExhaustedError, StaleSessionError, retry_on_stale_session
from stale_retry.testing import VersionedStore

from .ways import SOON, by_id, keys_in_use

if sys.version_info < (3, 11):
    from exceptiongroup import ExceptionGroup

pytestmark = pytest.mark.anyio


@pytest.fixture
def store():
    return VersionedStore()


@pytest.fixture
def retrying(store):
    return retry_on_stale_session(store.refresh, **SOON)


async def someone_else_appends(store):
    await store.append(store.open(), "theirs")


class TestTheLoop:
    async def test_a_stale_block_is_run_again_with_the_refreshed_session(self, store, retrying):
        session = store.open()
        await someone_else_appends(store)
        numbers = []
        async for attempt in retrying.attempts(session):
            numbers.append(attempt.number)
            with attempt:
                await store.append(attempt.session, "ours")
        assert numbers == [1, 2]
        assert store.events() == ["theirs", "ours"]
        assert store.refreshes == 1
        assert attempt.session.events == ["theirs", "ours"]
        assert attempt.session is not session
        assert attempt.settled is None

    async def test_another_error_leaves_the_loop_at_once(self, store, retrying):
        error = KeyError("other")
        with pytest.raises(KeyError) as caught:
            async for attempt in retrying.attempts(store.open()):
                with attempt:
                    raise error
        assert caught.value is error
        assert store.refreshes == 0

    async def test_giving_up_raises_out_of_the_loop(self, store, retrying):
        error = StaleSessionError()
        with pytest.raises(AttemptsExhaustedError) as caught:
            async for attempt in retrying.replace(max_attempts=2).attempts(store.open()):
                with attempt:
                    raise error
        assert caught.value.attempts == 2
        assert caught.value.last_error is error
        assert store.refreshes == 1

    @pytest.mark.parametrize("rejections", [0, 1])
    async def test_break_inside_the_block_ends_it_as_a_success(self, store, retrying, rejections):
        events = []
        async for attempt in retrying.replace(observers=events.append, key=by_id).attempts(store.open()):
            with attempt:
                if attempt.number <= rejections:
                    raise StaleSessionError
                break
        assert [event.kind for event in events] == ["retrying", "recovered"][: 2 * rejections]
        assert keys_in_use() == 0

    @pytest.mark.parametrize("rejections", [0, 2])
    async def test_return_inside_the_block_returns(self, store, retrying, rejections):
        store.faults.stale = rejections

        async def append():
            async for attempt in retrying.attempts(store.open()):
                with attempt:
                    return await store.append(attempt.session, "ours")
            raise AssertionError("the loop ended without an answer")

        assert await append() == "ours"
        assert store.events() == ["ours"]

    async def test_an_on_that_raises_is_chained_to_the_stale_error(self, store, retrying):
        def on(error):
            raise ZeroDivisionError

        stale = StaleSessionError()
        with pytest.raises(ZeroDivisionError) as caught:
            async for attempt in retrying.replace(on=on).attempts(store.open()):
                with attempt:
                    raise stale
        assert caught.value.__context__ is stale or caught.value.__cause__ is stale

    async def test_a_conflict_hook_can_settle_the_block(self, store, retrying):
        def settle(conflict):
            assert set(conflict.arguments) == {"session"}
            return conflict.settle("already there")

        runs = 0
        events = []
        async for attempt in retrying.replace(on_conflict=settle, observers=events.append).attempts(store.open()):
            runs += 1
            with attempt:
                raise StaleSessionError
        assert runs == 1
        assert attempt.settled.result == "already there"
        assert [event.kind for event in events] == ["retrying", "recovered"]

    async def test_an_attempt_over_its_time_is_cancelled(self, store, retrying):
        numbers = []
        policy = retrying.replace(attempt_timeout=0.01, on=(StaleSessionError, TimeoutError))
        async for attempt in policy.attempts(store.open()):
            numbers.append(attempt.number)
            with attempt:
                if attempt.number <= 2:
                    await anyio.sleep_forever()
        assert numbers == [1, 2, 3]

    async def test_an_attempt_over_its_time_raises_timeout_error(self, store, retrying):
        with pytest.raises(TimeoutError, match="attempt_timeout; the event may be stored"):
            async for attempt in retrying.replace(attempt_timeout=0.01).attempts(store.open()):
                with attempt:
                    await anyio.sleep_forever()
        assert store.refreshes == 0

    async def test_the_slot_is_held_from_the_first_attempt_to_the_last(self, store, retrying):
        held = []
        store.faults.stale = 2
        async for attempt in retrying.replace(key=by_id).attempts(store.open()):
            with attempt:
                held.append(keys_in_use())
                await store.append(attempt.session, "ours")
            held.append(keys_in_use())
        assert held == [1, 1, 1, 1, 1, 0]


class TestMisuse:
    async def test_a_missing_with_is_told(self, store, retrying):
        with pytest.raises(RuntimeError, match="write `with attempt:` around the append"):
            async for attempt in retrying.attempts(store.open()):
                await store.append(attempt.session, "ours")
        assert store.events() == ["ours"]

    async def test_a_with_that_is_missing_later_is_told_and_frees_the_slot(self, store, retrying):
        stale = StaleSessionError()
        with pytest.raises(RuntimeError, match="write `with attempt:`") as caught:
            async for attempt in retrying.replace(key=by_id).attempts(store.open()):
                if attempt.number == 1:
                    with attempt:
                        raise stale
        assert caught.value.__cause__ is stale
        assert keys_in_use() == 0

    @pytest.mark.parametrize("leading", [(), ("store", "session")])
    async def test_arguments_that_refresh_cannot_take_are_refused(self, leading):
        def reload(session):
            return session

        with pytest.raises(TypeError, match=r"the session last: .*reload\(session\)"):
            retry_on_stale_session(reload).attempts(*leading)


class TestAttempts:
    policy = retry_on_stale_session(lambda session: session, max_attempts=2, **SOON)

    @pytest.mark.parametrize("ending", ["stored", "gave up", "broke off"])
    async def test_serves_one_loop(self, ending):
        attempts = self.policy.attempts("session")
        try:
            async for attempt in attempts:
                with attempt:
                    if ending == "broke off":
                        break
                    if ending == "gave up":
                        raise StaleSessionError
        except AttemptsExhaustedError:
            pass
        with pytest.raises(RuntimeError, match="serves one loop"):
            async for _ in attempts:
                raise AssertionError("made again")

    async def test_is_not_entered_when_it_is_over(self):
        async for attempt in self.policy.attempts("session"):
            with attempt:
                pass
        with pytest.raises(RuntimeError, match="entered once"), attempt:
            raise AssertionError("made again")

    async def test_is_not_entered_before_its_loop_begins(self):
        with pytest.raises(RuntimeError, match="entered once"), self.policy.attempts("session"):
            raise AssertionError("made")

    async def test_entered_within_itself_fails_at_once_and_cancels_nothing_later(self):
        with pytest.raises(RuntimeError, match="entered once"):
            async for attempt in self.policy.replace(attempt_timeout=0.01).attempts("session"):
                with attempt, attempt:
                    raise AssertionError("made twice")
        await anyio.sleep(0.02)

    async def test_shared_by_two_tasks_refuses_the_second(self):
        attempts = self.policy.attempts("session")
        made, refused = [], []

        async def writer():
            try:
                async for attempt in attempts:
                    with attempt:
                        await anyio.lowlevel.checkpoint()
                        made.append(attempt.number)
            except RuntimeError as error:
                refused.append(str(error))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(writer)
            tasks.start_soon(writer)
        assert made == [1]
        assert len(refused) == 1

    async def test_is_advanced_and_entered_by_the_task_of_its_loop_only(self):
        attempts = self.policy.attempts("session")
        attempt = await anext(aiter(attempts))
        refused = []

        async def other():
            for use in (attempt.__enter__, lambda: None):
                try:
                    use()
                    await anext(attempts)
                except RuntimeError as error:
                    refused.append(str(error))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(other)
        assert refused == ["attempts(...) serves one task; call it again in the other"] * 2
        with attempt:
            pass


async def test_what_refresh_takes_before_the_session_is_handed_to_it():
    calls = []

    def refresh(store, session):
        calls.append((store, session))
        return "fresh"

    async for attempt in retry_on_stale_session(refresh, **SOON).attempts("store", "old"):
        with attempt:
            if attempt.session == "old":
                raise StaleSessionError
    assert calls == [("store", "old")]
    assert attempt.session == "fresh"


async def test_a_policy_may_be_iterated_by_several_tasks_at_once(store, retrying):
    numbers = {}

    async def writer(event):
        async for attempt in retrying.attempts(store.open()):
            with attempt:
                numbers[event] = attempt.number
                await anyio.sleep(0.001)
                await store.append(attempt.session, event)

    async with anyio.create_task_group() as tasks:
        for event in range(5):
            tasks.start_soon(writer, event)
    assert sorted(store.events()) == list(range(5))
    assert min(numbers.values()) == 1
    assert max(numbers.values()) > 1


async def test_the_first_attempt_counts_for_the_stop_strategy(store, retrying):
    runs = 0
    with pytest.raises(AttemptsExhaustedError):
        async for attempt in retrying.replace(stop=stop_after_attempt(2)).attempts(store.open()):
            with attempt:
                runs += 1
                raise StaleSessionError
    assert runs == 2


async def test_the_name_of_a_block_is_that_of_the_policy_or_append(store, retrying):
    names = []
    policy = retrying.replace(observers=lambda event: names.append(event.name))
    for named in (policy, policy.replace(name="turn")):
        store.faults.stale = 1
        async for attempt in named.attempts(store.open()):
            with attempt:
                await store.append(attempt.session, "ours")
    assert names == ["append", "append", "turn", "turn"]


async def test_a_group_with_a_stale_leaf_and_another_is_not_retried_in_a_block():
    with pytest.raises(ExceptionGroup):
        async for attempt in TestAttempts.policy.attempts("session"):
            with attempt:
                raise ExceptionGroup("two", [StaleSessionError(), KeyError()])
