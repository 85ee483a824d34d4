"""Doubt: an attempt that was not answered may have stored the event, and nobody may say that it has not."""

import errno

import anyio
import pytest

from stale_retry import (
    AttemptsExhaustedError,
    DeadlineExceededError,
    InDoubtError,
    SessionGoneError,
    StaleSessionError,
    retry_if_conflict,
    retry_if_transient,
    retry_on_stale_session,
)
from stale_retry.testing import VersionedStore

from .lookalikes import lookalike
from .ways import SOON, WAYS, append_in

pytestmark = pytest.mark.anyio

DOUBT = {"in_doubt": ConnectionError, "on_conflict": lambda conflict: None}


async def append_with(policy, append, session="session", way="call"):
    return await append_in(way, policy, append, session, "event")


def answering(*answers):
    """An append whose attempts raise these errors in turn, the last one from then on; None is stored."""
    left = list(answers)

    async def append(session, event):
        await anyio.lowlevel.checkpoint()
        answer = left.pop(0) if len(left) > 1 else left[0]
        if answer is not None:
            raise answer
        return "stored"

    return append


def reloading(*answers):
    left = list(answers)

    def refresh(session):
        answer = left.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    return refresh


@pytest.mark.parametrize("way", WAYS)
async def test_what_may_be_stored_is_never_given_up_as_not_stored(way):
    events = []
    policy = retry_on_stale_session(
        lambda session: session, max_attempts=2, **{**SOON, **DOUBT, "observers": events.append}
    )
    lost = ConnectionError("lost")
    with pytest.raises(InDoubtError) as caught:
        await append_with(policy, answering(lost), way=way)
    error = caught.value
    assert not isinstance(error, StaleSessionError | ValueError)
    assert (error.attempts, error.reason, error.in_doubt, error.last_error) == (2, "max_attempts", True, lost)
    assert error.__cause__ is lost
    assert "may be stored" in str(error)
    assert [(event.kind, event.in_doubt) for event in events] == [("retrying", True), ("gave_up", True)]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("end", ["max_attempts", "stop", "deadline", "session_gone", "refresh_failed"])
async def test_a_doubt_stays_however_the_call_ends_and_whatever_was_rejected_since(way, end):
    options = {
        "max_attempts": {"max_attempts": 3},
        "stop": {"stop": lambda state: state.attempt_number == 3},
        "deadline": {"backoff": lambda state: 0.001 if state.attempt_number < 3 else 100, "deadline": 0.1},
        "session_gone": {"refresh": reloading("fresh", "fresh", None)},
        "refresh_failed": {"refresh": reloading("fresh", "fresh", OSError("the reload"))},
    }[end]
    doubt = ConnectionError("lost")
    policy = retry_on_stale_session(**{"refresh": lambda session: session, **SOON, **DOUBT, **options})
    with pytest.raises(InDoubtError) as caught:
        await append_with(policy, answering(doubt, StaleSessionError("rejected")), way=way)
    assert caught.value.reason == end


@pytest.mark.parametrize("way", WAYS)
async def test_a_rejection_alone_brings_no_doubt(way):
    events = []
    policy = retry_on_stale_session(lambda session: None, **{**SOON, **DOUBT, "observers": events.append})
    with pytest.raises(SessionGoneError) as caught:
        await append_with(policy, answering(StaleSessionError()), way=way)
    assert caught.value.in_doubt is False
    assert not any(event.in_doubt for event in events)


@pytest.mark.parametrize("order", ["doubt last", "rejection last"])
@pytest.mark.parametrize("reraise", [False, True])
async def test_rejection_and_doubt_are_both_reachable_and_with_reraise_it_is_the_doubt_that_is_raised(order, reraise):
    doubt, rejection = ConnectionError("lost"), StaleSessionError("rejected")
    answers = (rejection, doubt) if order == "doubt last" else (doubt, rejection)
    policy = retry_on_stale_session(lambda session: session, max_attempts=2, reraise=reraise, **SOON, **DOUBT)
    with pytest.raises(ConnectionError if reraise else InDoubtError) as caught:
        await append_with(policy, answering(*answers))
    links = []
    link = caught.value
    while link is not None:
        assert link not in links
        links.append(link)
        link = link.__cause__
    assert doubt in links
    assert rejection in links
    if reraise:
        assert caught.value is doubt


@pytest.mark.parametrize("way", WAYS)
async def test_a_hook_that_finds_the_event_ends_the_call_as_a_success(way):
    store = VersionedStore()
    store.faults.lost_acknowledgements = 1
    session = store.open()
    events = []
    policy = retry_on_stale_session(
        store.refresh,
        **{**SOON, "observers": events.append},
        in_doubt=ConnectionError,
        on_conflict=lambda conflict: conflict.settle("found") if "event" in conflict.fresh.events else None,
    )
    assert await append_with(policy, store.append, session, way) == "found"
    assert store.events() == ["event"]
    assert [event.kind for event in events] == ["retrying", "recovered"]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("accepted_by", ["on", "in_doubt"])
def test_an_attempt_cancelled_by_attempt_timeout_is_in_doubt_whoever_accepts_it(virtually, way, accepted_by):
    async def hangs(session, event):
        await anyio.sleep(100)

    async def main():
        policy = retry_on_stale_session(
            lambda session: session,
            **{**SOON, "on_conflict": lambda conflict: None, accepted_by: TimeoutError},
            attempt_timeout=1,
            max_attempts=2,
        )
        with pytest.raises(InDoubtError) as caught:
            await append_with(policy, hangs, way=way)
        assert isinstance(caught.value.last_error, TimeoutError)

    virtually(main)


@pytest.mark.parametrize("way", WAYS)
def test_a_rejection_after_an_attempt_that_timed_out_is_a_rejection(virtually, way):
    made = []

    async def append(session, event):
        made.append(session)
        if len(made) == 1:
            await anyio.sleep(100)
        raise StaleSessionError

    async def main():
        policy = retry_on_stale_session(
            lambda session: session,
            in_doubt=TimeoutError,
            on_conflict=lambda conflict: None,
            attempt_timeout=1,
            max_attempts=2,
            reraise=True,
            **SOON,
        )
        with pytest.raises(TimeoutError):  # what brought the doubt
            await append_with(policy, append, way=way)
        assert len(made) == 2

    virtually(main)


def test_a_reload_that_fails_stores_nothing_and_so_brings_no_doubt(virtually):
    async def main():
        def unreachable(session):
            raise ConnectionError("the reload")

        policy = retry_on_stale_session(unreachable, deadline=1, **SOON, **DOUBT)
        with pytest.raises(DeadlineExceededError) as caught:
            await append_with(policy, answering(StaleSessionError()))
        assert caught.value.in_doubt is False

    virtually(main)


async def test_an_error_that_nobody_accepts_after_a_doubt_is_raised_as_it_is_and_leads_to_the_doubt():
    doubt, other = ConnectionError("lost"), KeyError("other")
    policy = retry_on_stale_session(lambda session: session, **SOON, **DOUBT)
    with pytest.raises(KeyError) as caught:
        await append_with(policy, answering(doubt, other))
    assert caught.value is other
    assert other.__cause__ is doubt


REFUSED = ConnectionRefusedError(errno.ECONNREFUSED, "refused")
SERIALIZATION = lookalike("asyncpg.exceptions.SerializationError", sqlstate="40001")
ON = {
    "types": (StaleSessionError, ConnectionError),
    "a function": lambda error: True,
    "a union": retry_if_conflict() | retry_if_transient(),
    "in_doubt": retry_if_transient(),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("listed", ON)
class TestATransientErrorLeavesDoubtWhereverItIsListed:
    """It may be listed under `on` because the append is idempotent: it is retried, and the end stays honest."""

    async def ends_with(self, way, listed, *answers):
        options = {**DOUBT, "in_doubt": ON[listed]} if listed == "in_doubt" else {"on": ON[listed]}
        policy = retry_on_stale_session(lambda session: session, max_attempts=2, **SOON, **options)
        with pytest.raises(Exception) as caught:
            await append_with(policy, answering(*answers), way=way)
        return type(caught.value)

    async def test_after_a_lost_connection(self, way, listed):
        assert await self.ends_with(way, listed, ConnectionError("lost")) is InDoubtError
        assert await self.ends_with(way, listed, ConnectionResetError("lost"), StaleSessionError()) is InDoubtError

    async def test_but_not_after_one_that_proves_that_nothing_ran(self, way, listed):
        assert await self.ends_with(way, listed, REFUSED) is AttemptsExhaustedError

    async def test_but_not_after_a_conflict_that_is_transient_too(self, way, listed):
        expected = type(SERIALIZATION) if listed == "types" else AttemptsExhaustedError
        assert await self.ends_with(way, listed, SERIALIZATION) is expected


async def test_an_error_listed_as_in_doubt_of_which_nothing_is_known_leaves_doubt():
    policy = retry_on_stale_session(lambda session: session, max_attempts=2, **SOON, **{**DOUBT, "in_doubt": KeyError})
    with pytest.raises(InDoubtError):
        await append_with(policy, answering(KeyError("the driver's own")))


async def test_an_error_listed_under_on_of_which_nothing_is_known_is_a_rejection():
    policy = retry_on_stale_session(lambda session: session, max_attempts=2, on=KeyError, **SOON)
    with pytest.raises(AttemptsExhaustedError):
        await append_with(policy, answering(KeyError("the store's own rejection")))
