"""Stores that answer instead of raising: what an append returns may be a rejection."""

import asyncio
import sys

import anyio
import pytest
import tenacity

from stale_retry import AttemptsExhaustedError, StaleSessionError, retry_on_stale_session

from .ways import SOON, Thing

pytestmark = pytest.mark.anyio

IS_FALSE = tenacity.retry_if_result(lambda answer: answer is False)


def compare_and_set(rejections, answer=False):
    made = []

    async def append(session, event):
        await anyio.lowlevel.checkpoint()
        made.append(session)
        return answer if len(made) <= rejections else True

    append.made = made
    return append


STRATEGIES = {
    "alone": IS_FALSE,
    "or": IS_FALSE | tenacity.retry_if_exception_type(OSError),
    "or, the other way round": tenacity.retry_if_exception_type(OSError) | IS_FALSE,
    "and": IS_FALSE & tenacity.retry_if_not_result(bool),
    "by what is right": tenacity.retry_if_not_result(bool),
    "of one's own": lambda retry_state: not retry_state.outcome.failed and retry_state.outcome.result() is False,
}


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("key", [None, repr], ids=["no queue", "queue"])
async def test_an_answer_that_is_to_be_retried_is_a_rejection(strategy, key):
    append = compare_and_set(2)
    policy = retry_on_stale_session(lambda session: session + 1, on=STRATEGIES[strategy], key=key, **SOON)
    assert await policy.call(append, 0, "event") is True
    assert append.made == [0, 1, 2]
    assert await policy(append)(10, "event") is True


def test_an_async_strategy_for_results_is_refused():
    async def refused(answer):
        return answer is False

    with pytest.raises(TypeError, match=r"on must be .*plain function"):
        retry_on_stale_session(lambda session: session, on=tenacity.asyncio.retry_if_result(refused))


@pytest.mark.parametrize("reraise", [False, True])
async def test_giving_up_on_an_answer_names_its_type_and_never_its_value(reraise):
    events = []
    policy = retry_on_stale_session(
        lambda session: session,
        on=tenacity.retry_if_result(lambda answer: isinstance(answer, str)),
        max_attempts=2,
        reraise=reraise,
        **{**SOON, "observers": events.append},
    )
    with pytest.raises(StaleSessionError) as caught:
        await policy.call(compare_and_set(9, "secret payload"), 0, "event")
    error = caught.value if reraise else caught.value.last_error
    assert isinstance(caught.value, AttemptsExhaustedError) is not reraise
    assert type(error) is StaleSessionError
    assert "str" in str(error)
    assert "secret" not in f"{error}{caught.value}{events}"


async def test_hooks_and_strategies_are_told_of_a_rejection_like_any_other():
    told = []

    def hook(conflict):
        told.append(type(conflict.error))

    def backoff(retry_state):
        told.append(retry_state.outcome.result())
        return 0

    policy = retry_on_stale_session(
        lambda session: session, on=IS_FALSE, on_conflict=hook, backoff=backoff, jitter=None, observers=()
    )
    await policy.call(compare_and_set(1), 0, "event")
    assert told == [False, StaleSessionError]


async def test_a_strategy_for_results_leaves_errors_alone_and_the_other_way_round():
    async def broken(session):
        raise StaleSessionError

    with pytest.raises(StaleSessionError):
        await retry_on_stale_session(lambda session: session, on=IS_FALSE, **SOON).call(broken, 0)

    async def answers(session, event):
        return False

    policy = retry_on_stale_session(lambda session: session, on=StaleSessionError, **SOON)
    assert not policy.asks_results
    assert await policy.call(answers, 0, "event") is False


@pytest.mark.parametrize(
    "strategy",
    [
        tenacity.retry_always,
        tenacity.retry_unless_exception_type(OSError),
        tenacity.retry_if_not_exception_message("x"),
        IS_FALSE | tenacity.retry_always,
        tenacity.retry_always & tenacity.retry_always,
    ],
)
def test_a_strategy_that_takes_every_answer_for_a_rejection_is_refused(strategy):
    with pytest.raises(TypeError, match="on must not accept every result"):
        retry_on_stale_session(lambda session: session, on=strategy)


@pytest.mark.parametrize("strategy", [IS_FALSE, IS_FALSE | tenacity.retry_if_exception_type(OSError)])
def test_a_block_has_no_answer_so_a_strategy_for_answers_is_refused(strategy):
    policy = retry_on_stale_session(lambda session: session, on=strategy)
    with pytest.raises(TypeError, match="a block has none"):
        policy.attempts("session")


@pytest.mark.skipif(sys.version_info < (3, 11), reason="nobody counts cancellations before")
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_an_answer_given_in_spite_of_a_cancellation_is_the_callers_and_is_not_retried():
    made = []
    started = asyncio.Event()

    async def append(session, event):
        made.append(session)
        started.set()
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            await asyncio.sleep(0)  # a tracer loses sight of what a cancellation wakes until its next wait
            return False

    policy = retry_on_stale_session(lambda session: session, on=IS_FALSE, **SOON)
    task = asyncio.create_task(policy.call(append, 0, "event"))
    await started.wait()
    task.cancel()
    assert await task is False
    assert made == [0]


async def test_a_strategy_for_results_that_raises_ends_the_call_and_leads_to_the_rejection_before():
    asked = []

    def judge(answer):
        asked.append(answer)
        if len(asked) == 2:
            raise ZeroDivisionError
        return answer is False

    policy = retry_on_stale_session(lambda session: session, on=tenacity.retry_if_result(judge), key=repr, **SOON)
    with pytest.raises(ZeroDivisionError) as caught:
        await policy.call(compare_and_set(9), 0, "event")
    assert isinstance(caught.value.__cause__, StaleSessionError)
    assert len(policy.queues) == 0


@pytest.mark.skipif(sys.version_info < (3, 11), reason="nobody counts cancellations before")
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_a_waiter_does_not_take_such_an_answer_for_an_event_that_is_stored():
    refreshed, made, started, session = [], [], asyncio.Event(), Thing()

    async def append(session, event):
        made.append(event)
        if event != "first":
            return True
        started.set()
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            return False

    def refresh(session):
        refreshed.append(session)
        return session

    policy = retry_on_stale_session(refresh, on=IS_FALSE, key=lambda session: "all", **SOON)
    first = asyncio.create_task(policy.call(append, session, "first"))
    await started.wait()
    others = [asyncio.create_task(policy.call(append, session, event)) for event in ("second", "third")]
    await asyncio.sleep(0)
    first.cancel()
    assert await asyncio.gather(first, *others) == [False, True, True]
    assert made == ["first", "second", "third"]
    assert refreshed == [session]
