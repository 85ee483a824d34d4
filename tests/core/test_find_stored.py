"""`find_stored` looks whether an event is stored already, since only looking can tell."""

import asyncio
import functools
import sys

import anyio
import pytest
import tenacity

from stale_retry import (
    AttemptsExhaustedError,
    DeadlineExceededError,
    InDoubtError,
    SessionGoneError,
    SessionRefreshError,
    Settled,
    StaleSessionError,
    retry_on_stale_session,
)

from .ways import SOON, WAYS

pytestmark = pytest.mark.anyio


class Session:
    def __init__(self, number=0):
        self.number = number


class Store:
    """Stores events by id, and raises these faults: before an event is stored, or after it ("answer lost")."""

    def __init__(self, *faults):
        self.faults = list(faults)
        self.events, self.looked, self.log = [], [], []
        self.refreshes = 0

    async def refresh(self, session):
        self.refreshes += 1
        self.log.append("refresh")
        return Session(self.refreshes)

    async def append(self, session, event):
        self.log.append("append")
        fault = self.faults.pop(0) if self.faults else None
        when, error = fault or (None, None)
        if when != "rejected":
            self.events.append(event)
        if error is not None:
            raise error
        return "appended"

    async def find_stored(self, session, event):
        self.log.append("find")
        self.looked.append((session.number, event))
        return f"found {event}" if event in self.events else None


REJECTED = "rejected", StaleSessionError("rejected")
LOST = "answer lost", ConnectionError("lost")
RESENT = "answer lost", StaleSessionError("the client sent it again, and lost to itself")


def policy(store, **options):
    return retry_on_stale_session(**{**SOON, "refresh": store.refresh, "find_stored": store.find_stored, **options})


async def append_in(way, retrying, store, session, event="event"):
    """What the call ends with, each way there is; a block brings a finder of its own."""
    if way == "decorator":
        return await retrying(store.append)(session, event)
    if way == "call":
        return await retrying.call(store.append, session, event)
    result, finder = None, retrying.find_stored
    attempts = retrying.attempts(session, find_stored=lambda session: finder(session=session, event=event))
    async for attempt in attempts:
        with attempt:
            result = await store.append(attempt.session, event)
    return result if attempts.settled is None else attempts.settled.result


@pytest.mark.parametrize("way", WAYS)
class TestWhenItLooks:
    async def test_after_every_failed_attempt_on_the_refreshed_session_and_before_the_conflict_hooks(self, way):
        store = Store(REJECTED, REJECTED)
        retrying = policy(store, on_conflict=lambda conflict: store.log.append("hook"))
        assert await append_in(way, retrying, store, Session()) == "appended"
        assert store.log == ["append", *["refresh", "find", "hook", "append"] * 2]
        assert store.looked == [(1, "event"), (2, "event")]

    async def test_not_before_the_first_attempt(self, way):
        store = Store()
        await append_in(way, policy(store), store, Session())
        assert store.log == ["append"]

    async def test_once_more_before_the_call_gives_up(self, way):
        store = Store(REJECTED, RESENT)
        assert await append_in(way, policy(store, max_attempts=2), store, Session()) == "found event"
        assert store.log == ["append", "refresh", "find", "append", "refresh", "find"]

    async def test_after_a_doubt_for_an_error_too_that_is_not_retried(self, way):
        # The unique constraint on the event's id.
        duplicate = "rejected", KeyError("duplicate id")
        store = Store(LOST, duplicate)
        found = []

        async def find_stored(session, event):
            found.append(session.number)
            return len(found) > 1 and "found"

        retrying = policy(store, find_stored=find_stored, in_doubt=ConnectionError)
        assert await append_in(way, retrying, store, Session()) == "found"
        assert found == [1, 2]

    @pytest.mark.parametrize("look", [lambda: None, lambda: 1 / 0], ids=["finds nothing", "fails"])
    async def test_after_a_doubt_an_error_that_is_not_retried_is_raised_as_it_is_unless_the_look_finds(self, way, look):
        lost, duplicate = ConnectionError("lost"), KeyError("duplicate id")
        store = Store(("rejected", lost), ("rejected", duplicate))
        looks = []

        def find_stored(session, event):
            looks.append(session.number)
            return look() if len(looks) > 1 else None

        retrying = policy(store, find_stored=find_stored, in_doubt=ConnectionError)
        with pytest.raises(KeyError) as caught:
            await append_in(way, retrying, store, Session())
        assert caught.value is duplicate
        assert duplicate.__cause__ is lost
        assert looks == [1, 2]

    async def test_never_for_an_error_that_is_not_retried_without_a_doubt(self, way):
        store = Store(("rejected", KeyError("other")))
        with pytest.raises(KeyError):
            await append_in(way, policy(store), store, Session())
        assert store.log == ["append"]


@pytest.mark.parametrize("way", ["decorator", "call"])
async def test_it_gets_the_arguments_that_were_sent_last(way):
    store = Store(REJECTED, LOST)
    retrying = policy(
        store,
        in_doubt=ConnectionError,
        on_conflict=lambda conflict: conflict.arguments.update(event=f"{conflict.arguments['event']}+"),
    )
    assert await append_in(way, retrying, store, Session()) == "found event+"
    assert store.looked == [(1, "event"), (2, "event+")]


@pytest.mark.parametrize("way", WAYS)
class TestWhatItAnswers:
    @pytest.mark.parametrize("fault", [LOST, RESENT], ids=["the answer got lost", "the client sent it again"])
    async def test_an_event_that_is_found_is_not_stored_again_and_ends_the_call(self, way, fault):
        store = Store(fault)
        retrying = policy(store, in_doubt=ConnectionError)
        assert await append_in(way, retrying, store, Session()) == "found event"
        assert store.events == ["event"]

    @pytest.mark.parametrize("answer", [None, False, 0, "", [], ()], ids=repr)
    async def test_what_is_falsy_is_not_found(self, way, answer):
        store = Store(REJECTED)
        retrying = policy(store, find_stored=lambda session, event: answer)
        assert await append_in(way, retrying, store, Session()) == "appended"
        assert store.events == ["event"]

    @pytest.mark.parametrize("result", [None, False, "stored"])
    async def test_settled_ends_the_call_with_its_result_whatever_that_is(self, way, result):
        store = Store(REJECTED)
        retrying = policy(store, find_stored=lambda session, event: Settled(result))
        assert await append_in(way, retrying, store, Session()) is result
        assert store.events == []


class TestDoubt:
    @pytest.mark.parametrize("way", WAYS)
    async def test_a_rejection_whose_look_finds_nothing_clears_the_doubt(self, way):
        store = Store(("rejected", ConnectionError("lost")), REJECTED, REJECTED)
        retrying = policy(store, in_doubt=ConnectionError, max_attempts=3)
        with pytest.raises(AttemptsExhaustedError) as caught:
            await append_in(way, retrying, store, Session())
        assert caught.value.in_doubt is False

    @pytest.mark.parametrize("way", WAYS)
    async def test_an_unanswered_attempt_stays_in_doubt_though_the_look_finds_nothing(self, way):
        # It may be stored later: a request that is still under way.
        store = Store(*[("rejected", ConnectionError("lost"))] * 2)
        retrying = policy(store, in_doubt=ConnectionError, max_attempts=2)
        with pytest.raises(InDoubtError) as caught:
            await append_in(way, retrying, store, Session())
        assert caught.value.reason == "max_attempts"

    @pytest.mark.parametrize("way", WAYS)
    @pytest.mark.parametrize("failing", ["find_stored", "refresh", "the session is gone"])
    @pytest.mark.parametrize("reraise", [False, True])
    async def test_a_last_look_that_fails_leaves_doubt(self, way, failing, reraise):
        store = Store(REJECTED)

        def fail(session, event=None):
            raise LookupError

        options = {"refresh": lambda session: None} if failing == "the session is gone" else {failing: fail}
        with pytest.raises(InDoubtError) as caught:
            await append_in(way, policy(store, max_attempts=1, reraise=reraise, **options), store, Session())
        assert caught.value.reason == "max_attempts"
        assert isinstance(caught.value.last_error, StaleSessionError)

    @pytest.mark.parametrize("way", ["decorator", "call"])
    async def test_an_attempt_over_its_time_is_looked_for(self, way):
        store = Store()

        async def append(session, event):
            await store.append(session, event)
            await anyio.sleep(60)

        retrying = policy(store, on=TimeoutError, attempt_timeout=0.01)
        wrapped = retrying(append) if way == "decorator" else functools.partial(retrying.call, append)
        assert await wrapped(Session(), "event") == "found event"
        assert store.events == ["event"]

    async def test_a_result_that_is_to_be_retried_is_looked_for(self):
        store = Store()

        async def append(session, event):
            await store.append(session, event)
            return 0  # no row was changed, says a client that sent its request twice

        retrying = policy(store, on=tenacity.retry_if_result(lambda rows: rows == 0))
        assert await retrying.call(append, Session(), "event") == "found event"
        assert store.events == ["event"]

    def test_a_last_look_takes_a_second_past_the_deadline_and_no_longer(self, virtually):
        for seconds, error in ((0.9, None), (1.5, InDoubtError)):
            store, ended = Store(RESENT), []

            async def find_stored(session, event, seconds=seconds):
                await anyio.sleep(seconds)
                return True

            async def append(session, event, store=store):
                await anyio.sleep(5)
                return await store.append(session, event)

            async def main(append=append, store=store, find_stored=find_stored, ended=ended, error=error):
                retrying = policy(store, find_stored=find_stored, deadline=5)
                began = anyio.current_time()
                if error is None:
                    assert await retrying.call(append, Session(), "event") is True
                else:
                    with pytest.raises(error, match="may be stored") as caught:
                        await retrying.call(append, Session(), "event")
                    assert caught.value.reason == "deadline"
                ended.append(anyio.current_time() - began)

            virtually(main)
            assert ended == [pytest.approx(5 + min(seconds, 1))]

    def test_no_look_follows_another_one_that_no_attempt_came_after(self, virtually):
        store = Store(REJECTED)

        async def main():
            retrying = policy(store, on_conflict=lambda conflict: anyio.sleep(60), deadline=5)
            with pytest.raises(DeadlineExceededError):
                await retrying.call(store.append, Session(), "event")

        virtually(main)
        assert store.log == ["append", "refresh", "find"]

    async def test_a_session_that_is_gone_is_not_looked_into(self):
        store = Store(REJECTED)
        retrying = policy(store, refresh=lambda session: None)
        with pytest.raises(SessionGoneError):
            await retrying.call(store.append, Session(), "event")
        assert store.looked == []

    async def test_conflict_hooks_are_told_of_the_doubt(self):
        store, told = Store(("rejected", ConnectionError()), REJECTED), []
        retrying = policy(store, in_doubt=ConnectionError, on_conflict=lambda conflict: told.append(conflict.in_doubt))
        assert await retrying.call(store.append, Session(), "event") == "appended"
        assert told == [True, False]


class TestItsErrors:
    async def test_end_the_call_as_those_of_a_refresh(self):
        store, calls = Store(REJECTED), []

        def find_stored(event):
            calls.append(event)
            if len(calls) == 1:
                raise LookupError("the look")
            return

        with pytest.raises(SessionRefreshError) as caught:
            await policy(store, find_stored=find_stored).call(store.append, Session(), "event")
        assert isinstance(caught.value.last_error, StaleSessionError)
        assert isinstance(caught.value.__cause__, LookupError)
        assert (caught.value.attempts, caught.value.reason) == (1, "refresh_failed")

    async def test_are_retried_where_on_accepts_them_and_are_no_attempts(self):
        store, calls = Store(REJECTED), []

        def find_stored(event):
            calls.append(event)
            if len(calls) == 1:
                raise StaleSessionError("a replica that lags")

        assert await policy(store, find_stored=find_stored).call(store.append, Session(), "event") == "appended"
        assert store.log.count("append") == 2
        assert len(calls) == 2

    @pytest.mark.parametrize("way", WAYS)
    @pytest.mark.parametrize("look", ["between attempts", "last", "after an error that is not retried"])
    async def test_a_cancellation_wins_over_what_it_found(self, way, look):
        store = Store(LOST, ("rejected", KeyError("duplicate id")))
        scope = anyio.CancelScope()
        looks = []

        async def find_stored(session, event):
            looks.append(event)
            if look == "after an error that is not retried" and len(looks) == 1:
                return None
            scope.cancel()
            await anyio.lowlevel.checkpoint()
            return True

        options = {"max_attempts": 1} if look == "last" else {}
        with scope:
            await append_in(
                way, policy(store, find_stored=find_stored, in_doubt=ConnectionError, **options), store, Session()
            )
        assert scope.cancelled_caught
        assert len(looks) == (2 if look == "after an error that is not retried" else 1)


@pytest.mark.skipif(sys.version_info < (3, 11), reason="nobody counts cancellations before")
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_a_cancellation_that_the_finder_swallowed_wins_too():
    store, looking = Store(LOST), asyncio.Event()

    async def find_stored(event):
        looking.set()
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            return True

    retrying = policy(store, find_stored=find_stored, in_doubt=ConnectionError)
    task = asyncio.create_task(retrying.call(store.append, Session(), "event"))
    await looking.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


class TestItsParameters:
    @pytest.mark.parametrize(
        "find_stored",
        [
            lambda event: True,
            lambda session, event: True,
            lambda event, session: True,
            lambda *, event: True,
            lambda event, limit=200: True,
            lambda **arguments: arguments["event"],
        ],
    )
    async def test_are_those_of_the_append_that_it_names(self, find_stored):
        store = Store(RESENT)
        assert await policy(store, find_stored=find_stored).call(store.append, Session(), event="event")
        assert store.events == ["event"]

    async def test_in_a_parameter_with_a_default_get_the_argument_too(self):
        store, looked = Store(RESENT), []

        def find_stored(event, session=None):
            looked.append((event, session.number))
            return True

        assert await policy(store, find_stored=find_stored).call(store.append, Session(), "event") is True
        assert looked == [("event", 1)]

    async def test_may_name_what_a_method_is_bound_to(self):
        store = Store(RESENT)
        retrying = retry_on_stale_session(
            lambda session: Session(), find_stored=lambda self, event: event in self.events, **SOON
        )
        assert await retrying.call(store.append, Session(), "event") is True

    async def test_may_name_what_a_partial_holds(self):
        store = Store(RESENT)
        append = functools.partial(store.append, event="event")
        assert await policy(store).call(append, Session()) == "found event"

    @pytest.mark.parametrize("find_stored", [lambda event_id: None, lambda session, *, other: None])
    def test_that_the_append_has_not_are_refused_at_decoration(self, find_stored):
        with pytest.raises(TypeError, match=r"find_stored must name parameters of the append, but .*append\("):
            policy(Store(), find_stored=find_stored)(Store().append)

    def test_by_position_only_are_refused(self):
        with pytest.raises(TypeError, match=r"find_stored is called by name, but .* by position only"):
            retry_on_stale_session(lambda session: session, find_stored=lambda *arguments: None)

    def test_of_a_block_are_its_session_alone(self):
        with pytest.raises(TypeError, match=r"find_stored must name parameters of the append, but .* has no 'event'"):
            policy(Store()).attempts(Session())


async def test_in_doubt_without_find_stored_or_a_hook_is_refused():
    with pytest.raises(ValueError, match="in_doubt needs find_stored"):
        retry_on_stale_session(lambda session: session, in_doubt=ConnectionError)


async def test_of_a_block_must_take_the_session_alone():
    store = Store()
    with pytest.raises(TypeError, match=r"called with the session alone; .*find_stored\(session, event\)"):
        retry_on_stale_session(store.refresh, **SOON).attempts(Session(), find_stored=store.find_stored)


async def test_what_a_block_finds_ends_the_loop_and_is_told_after_it():
    store = Store(RESENT)
    attempts = retry_on_stale_session(store.refresh, **SOON).attempts(
        Session(), find_stored=lambda session: store.find_stored(session, "event")
    )
    rounds = 0
    async for attempt in attempts:
        with attempt:
            rounds += 1
            await store.append(attempt.session, "event")
    assert rounds == 1
    assert attempts.settled == Settled("found event")
    assert (attempts.number, attempts.session.number) == (1, 1)
