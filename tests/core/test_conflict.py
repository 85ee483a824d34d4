"""The conflict hook: between a refresh and the next attempt."""

import functools

import anyio
import pytest

from stale_retry import Conflict, StaleSessionError, retry_on_stale_session
from stale_retry.testing import VersionedStore, no_waiting
from stale_retry.typing import Settled

from .ways import SOON

pytestmark = pytest.mark.anyio


@pytest.fixture
def store():
    return VersionedStore()


def with_hook(store, *hooks, **options):
    on_conflict = hooks[0] if len(hooks) == 1 else list(hooks)
    return retry_on_stale_session(store.refresh, on_conflict=on_conflict, **{**SOON, **options})


async def stale_session(store):
    session = store.open()
    await store.append(store.open(), "theirs")
    return session


async def test_the_hook_is_told_what_is_known(store):
    conflicts = []
    session = await stale_session(store)
    await with_hook(store, conflicts.append).call(store.append, session, "ours")
    [conflict] = conflicts
    assert isinstance(conflict, Conflict)
    assert isinstance(conflict.error, StaleSessionError)
    assert conflict.stale is session
    assert conflict.fresh.events == ["theirs", "ours"]  # the one that was stored through
    assert conflict.attempt == 1
    assert 0 < conflict.elapsed < 60
    assert conflict.arguments == {"session": conflict.fresh, "event": "ours"}


async def test_a_session_updated_in_place_is_both_stale_and_fresh(store):
    conflicts = []
    session = await stale_session(store)

    def refresh(session):
        session.version += 1
        return session

    policy = retry_on_stale_session(refresh, on_conflict=conflicts.append, **SOON)
    await policy.call(store.append, session, "ours")
    assert conflicts[0].stale is conflicts[0].fresh is session


async def test_it_is_asked_after_each_refresh_and_never_otherwise(store):
    attempts = []
    store.faults.stale = 3
    policy = with_hook(store, lambda conflict: attempts.append(conflict.attempt))
    await policy.call(store.append, store.open(), "ours")
    await policy.call(store.append, store.open(), "ours")
    assert attempts == [1, 2, 3]


@pytest.mark.parametrize("asynchronous", [False, True])
async def test_changing_the_arguments_changes_the_call(store, asynchronous):
    def rebase(conflict):
        conflict.arguments["event"] = f"{conflict.arguments['event']} after {conflict.fresh.events[-1]}"

    async def rebase_async(conflict):
        await anyio.lowlevel.checkpoint()
        rebase(conflict)

    policy = with_hook(store, rebase_async if asynchronous else rebase)
    assert await policy.call(store.append, await stale_session(store), "ours") == "ours after theirs"
    assert store.events() == ["theirs", "ours after theirs"]


async def test_every_kind_of_argument_can_be_changed():
    def rebase(conflict):
        arguments = conflict.arguments
        arguments.update(more=(*arguments["more"], "new"), headers={"trace": 2}, flag=True, first="changed")

    @retry_on_stale_session(lambda first, session: "fresh", on_conflict=rebase, **SOON)
    async def append(first, /, session, *more, flag=False, **headers):
        if session != "fresh":
            raise StaleSessionError
        return first, more, flag, headers

    assert await append("first", "stale", "old", trace=1) == ("changed", ("old", "new"), True, {"trace": 2})


async def test_the_session_of_the_next_attempt_can_be_changed():
    seen = []

    def replace(conflict):
        conflict.arguments["session"] = "another"

    @retry_on_stale_session(lambda session: "fresh", on_conflict=replace, **SOON)
    async def append(session):
        seen.append(session)
        if session == "stale":
            raise StaleSessionError

    await append("stale")
    assert seen == ["stale", "another"]


async def test_changes_are_kept_from_one_conflict_to_the_next(store):
    def count(conflict):
        conflict.arguments["event"] += 1

    store.faults.stale = 3
    assert await with_hook(store, count).call(store.append, store.open(), 0) == 3


async def test_the_callers_own_arguments_stay_as_they_are():
    def rebase(conflict):
        conflict.arguments["headers"] = {"changed": True}

    @retry_on_stale_session(lambda session: "fresh", on_conflict=rebase, **SOON)
    async def append(session, **headers):
        if session != "fresh":
            raise StaleSessionError

    headers = {"trace": 1}
    await append("stale", **headers)
    assert headers == {"trace": 1}


@pytest.mark.parametrize("asynchronous", [False, True])
async def test_settling_ends_the_call_with_that_result_and_no_further_attempt(store, asynchronous):
    def settle(conflict):
        return conflict.settle("settled")

    async def settle_async(conflict):
        await anyio.lowlevel.checkpoint()
        return settle(conflict)

    policy = with_hook(store, settle_async if asynchronous else settle)
    with no_waiting() as events:
        assert await policy.call(store.append, await stale_session(store), "ours") == "settled"
    assert store.appends == 2
    assert store.events() == ["theirs"]
    assert [event.kind for event in events] == ["retrying", "recovered"]


async def test_settling_without_a_result_returns_none(store):
    policy = with_hook(store, lambda conflict: conflict.settle())
    assert await policy.call(store.append, await stale_session(store), "ours") is None


async def test_raising_aborts_and_reaches_the_caller_chained_to_the_conflict(store):
    aborted = KeyError("not any more")

    def abort(conflict):
        raise aborted

    with no_waiting() as events, pytest.raises(KeyError) as caught:
        await with_hook(store, abort).call(store.append, await stale_session(store), "ours")
    assert caught.value is aborted
    assert isinstance(aborted.__cause__, StaleSessionError)
    assert store.events() == ["theirs"]
    assert [(event.kind, event.reason, event.error) for event in events[1:]] == [("gave_up", "aborted", aborted)]


class TestSeveralHooks:
    async def test_run_in_order_on_the_same_arguments(self, store):
        def add(letter, conflict):
            conflict.arguments["event"] += letter

        policy = with_hook(store, *(functools.partial(add, letter) for letter in "abc"))
        assert await policy.call(store.append, await stale_session(store), "") == "abc"

    async def test_the_first_that_settles_is_the_last_that_is_asked(self, store):
        asked = []
        policy = with_hook(
            store, asked.append, lambda conflict: conflict.settle("second"), lambda conflict: asked.append("third")
        )
        assert await policy.call(store.append, await stale_session(store), "ours") == "second"
        assert len(asked) == 1

    async def test_the_first_that_raises_is_the_last_that_is_asked(self, store):
        asked = []

        def abort(conflict):
            raise KeyError

        with pytest.raises(KeyError):
            await with_hook(store, abort, asked.append).call(store.append, await stale_session(store), "ours")
        assert asked == []


@pytest.mark.parametrize("answer", [True, "settled", 0, object()])
async def test_any_other_answer_is_refused_and_not_quoted(store, answer):
    with pytest.raises(TypeError, match=r"on_conflict must return None or conflict\.settle\(result\)") as caught:
        await with_hook(store, lambda conflict: answer).call(store.append, await stale_session(store), "ours")
    assert type(answer).__name__ in str(caught.value)
    assert isinstance(caught.value.__cause__, StaleSessionError)
    assert store.events() == ["theirs"]


async def test_a_new_argument_is_refused(store):
    def add(conflict):
        conflict.arguments["evnt"] = "ours"

    with pytest.raises(TypeError, match=r"conflict\.arguments has no 'evnt'; there are session, event"):
        await with_hook(store, add).call(store.append, await stale_session(store), "ours")
    assert store.events() == ["theirs"]


async def test_it_does_not_run_when_refresh_fails(store):
    asked = []
    store.faults.refresh = 1
    with pytest.raises(StaleSessionError, match="could not reload the session"):
        await with_hook(store, asked.append).call(store.append, await stale_session(store), "ours")
    assert asked == []


def test_what_it_is_told_shows_no_session_and_no_argument():
    conflict = Conflict(StaleSessionError("rejected"), "stale one", "fresh one", 1, 0.5, {"event": "secret"})
    assert "secret" not in repr(conflict)
    assert "fresh one" not in repr(conflict)
    assert "secret" not in repr(conflict.settle("secret"))
    assert conflict.settle("secret") == Settled("secret")
