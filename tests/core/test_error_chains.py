"""What an error was raised from: the stale error is always reachable, and nobody else's chain is touched."""

import time
import traceback

import anyio
import pytest
import tenacity

from stale_retry import (
    AttemptsExhaustedError,
    DeadlineExceededError,
    SessionRefreshError,
    StaleSessionError,
    constant,
    retry_on_stale_session,
)

from .ways import SOON, append_in

pytestmark = pytest.mark.anyio

HOOKS = ["on_conflict", "stop", "backoff", "jitter", "on", "refresh"]


def raising(error, cause=None):
    def hook(*_):
        raise error from cause

    return hook


def shown(error):
    """What a traceback shows, the error first; one that runs in a circle would be endless."""
    links = []
    while error is not None:
        assert error not in links, "a circle"
        links.append(error)
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    return links


def behind(error, found=()):
    if error is None or any(error is link for link in found):
        return list(found)
    return behind(error.__context__, behind(error.__cause__, [*found, error]))


async def append_while_handling(handled, policy, append):
    try:
        raise handled
    except type(handled):
        await policy.call(append, "session")


class TestWhileTheCallerHandlesAnError:
    @pytest.mark.parametrize("option", HOOKS)
    @pytest.mark.parametrize("hidden", [False, True], ids=["stale", "stale from None"])
    async def test_the_stale_error_is_reachable_and_the_callers_error_is_left_alone(self, option, hidden):
        handled, stale, broken = KeyError("the caller's"), StaleSessionError("stale"), ZeroDivisionError("the hook's")
        handled.__cause__ = root = OSError("what it came from")

        async def append(session):
            if hidden:
                raise stale from None
            raise stale

        policy = retry_on_stale_session(**{"refresh": lambda session: session, **SOON, option: raising(broken)})
        with pytest.raises((ZeroDivisionError, SessionRefreshError)) as caught:
            await append_while_handling(handled, policy, append)
        assert stale in behind(caught.value)
        assert (handled.__cause__, handled.__context__) == (root, None)
        shown(caught.value)
        shown(handled)

    @pytest.mark.parametrize("reraise", [False, True])
    @pytest.mark.parametrize("hidden", [False, True], ids=["stale", "stale from None"])
    async def test_giving_up_leaves_it_alone_too(self, reraise, hidden):
        handled, stale = KeyError("the caller's"), StaleSessionError("stale")

        async def append(session):
            raise stale from (None if hidden else OSError("the driver's"))

        policy = retry_on_stale_session(lambda session: session, max_attempts=2, reraise=reraise, **SOON)
        with pytest.raises(StaleSessionError) as caught:
            await append_while_handling(handled, policy, append)
        assert stale in shown(caught.value)
        assert handled not in shown(caught.value)[1:]
        assert (handled.__cause__, handled.__context__) == (None, None)
        assert stale.__suppress_context__

    @pytest.mark.parametrize("broken", ["hook", "append"])
    async def test_so_does_an_answer_that_is_to_be_retried_which_was_raised_from_nothing(self, broken):
        handled, error, made = KeyError("the caller's"), ZeroDivisionError("ours"), []

        def hook(conflict):
            if broken == "hook":
                raise error

        async def append(session):
            made.append(session)
            if len(made) == 2:
                raise error
            return False

        policy = retry_on_stale_session(
            lambda session: session,
            on=tenacity.retry_if_result(lambda answer: answer is False),
            on_conflict=hook,
            **SOON,
        )
        with pytest.raises(ZeroDivisionError) as caught:
            await append_while_handling(handled, policy, append)
        assert isinstance(caught.value.__cause__, StaleSessionError)
        assert (handled.__cause__, handled.__context__) == (None, None)

    async def test_its_traceback_is_kept_through_any_number_of_failed_attempts(self):
        handled = KeyError("the caller's")

        async def append(session):
            raise StaleSessionError

        policy = retry_on_stale_session(lambda session: session, max_attempts=4, **SOON)
        with pytest.raises(AttemptsExhaustedError):
            await append_while_handling(handled, policy, append)
        assert handled.__traceback__ is not None

    async def test_an_observer_that_raises_from_the_stale_error_cuts_nothing_off_it(self, caplog):
        handled, stale = KeyError("the caller's"), StaleSessionError("stale")

        def observe(event):
            raise ZeroDivisionError from event.error

        async def append(session):
            raise stale

        policy = retry_on_stale_session(
            lambda session: session, max_attempts=2, **{**SOON, "observers": observe}, reraise=True
        )
        with pytest.raises(StaleSessionError):
            await append_while_handling(handled, policy, append)
        assert stale.__context__ is handled


class TestAChainStaysShort:
    @pytest.mark.parametrize("way", ["decorator", "with", "async with"])
    def test_an_outage_of_three_minutes_leaves_three_links(self, virtually, way):
        async def append(session):
            raise StaleSessionError("the last rejection")

        refreshes = []

        def unreachable(session):
            refreshes.append(session)
            raise ConnectionError("the store is down")

        policy = retry_on_stale_session(
            unreachable,
            on=(StaleSessionError, ConnectionError),
            backoff=constant(0.1),
            jitter=None,
            deadline=180,
            observers=(),
        )

        async def call():
            return await append_in(way, policy, append, "session")

        async def main():
            began = time.process_time()
            with pytest.raises(DeadlineExceededError) as caught:
                await call()
            assert time.process_time() - began < 20
            return caught.value

        error = virtually(main)
        assert len(refreshes) > 1700
        assert [type(link) for link in shown(error)] == [DeadlineExceededError, ConnectionError, StaleSessionError]
        assert len(behind(error)) == 3
        assert len(traceback.format_exception(error)) < 60

    async def test_of_rejections_only_the_last_one_is_linked(self):
        raised = []

        async def append(session):
            raised.append(StaleSessionError(len(raised)))
            raise raised[-1]

        policy = retry_on_stale_session(lambda session: session, max_attempts=9, **SOON)
        with pytest.raises(AttemptsExhaustedError) as caught:
            await policy.call(append, "session")
        assert behind(caught.value) == [caught.value, raised[-1]]

    async def test_a_reload_that_failed_is_forgotten_once_another_attempt_was_made(self):
        reloads = iter([ConnectionError("the reload"), None, None])
        stale = [StaleSessionError("first"), StaleSessionError("last")]
        left = list(stale)

        def refresh(session):
            error = next(reloads)
            if error is not None:
                raise error
            return session

        async def append(session):
            raise left.pop(0)

        policy = retry_on_stale_session(refresh, on=(StaleSessionError, ConnectionError), max_attempts=3, **SOON)
        with pytest.raises(AttemptsExhaustedError) as caught:
            await policy.call(append, "session")
        assert caught.value.last_error is stale[1]
        assert behind(caught.value) == [caught.value, stale[1]]


class TestWhatIsRaisedInTheEnd:
    @pytest.mark.parametrize("attempt", [2, 3])
    async def test_an_error_that_is_not_stale_on_a_later_attempt_leads_to_the_last_rejection(self, attempt):
        made = []

        async def append(session):
            made.append(StaleSessionError() if len(made) < attempt - 1 else KeyError("other"))
            raise made[-1]

        policy = retry_on_stale_session(lambda session: session, **SOON)
        with pytest.raises(KeyError) as caught:
            await policy.call(append, "session")
        assert caught.value is made[-1]
        assert shown(caught.value) == made[:-3:-1]

    async def test_a_cancellation_is_not_chained_to_anything(self):
        seen = []

        async def append(session, event):
            if session == "fresh":
                scope.cancel()
                try:
                    await anyio.sleep_forever()
                except BaseException as cancelled:
                    seen.append(cancelled)
                    raise
            raise StaleSessionError

        policy = retry_on_stale_session(lambda session: "fresh", **SOON)
        with anyio.CancelScope() as scope:
            await policy.call(append, "session", "event")
        assert [(error.__cause__, error.__context__) for error in seen] == [(None, None)]

    async def test_a_cancellation_in_a_hook_is_not_either(self):
        seen = []

        async def hang(conflict):
            try:
                await anyio.sleep_forever()
            except BaseException as cancelled:
                seen.append(cancelled)
                raise

        async def append(session, event):
            raise StaleSessionError

        policy = retry_on_stale_session(lambda session: session, on_conflict=hang, **SOON)
        with anyio.move_on_after(0.02):
            await policy.call(append, "session", "event")
        assert [(error.__cause__, error.__context__) for error in seen] == [(None, None)]

    async def test_a_hook_that_raises_what_the_stale_error_came_from_makes_no_circle(self):
        root = OSError("the driver's")

        async def append(session):
            raise StaleSessionError from root

        def hook(conflict):
            raise conflict.error.__cause__

        policy = retry_on_stale_session(lambda session: session, on_conflict=hook, **SOON)
        with pytest.raises(OSError, match="the driver's") as caught:
            await policy.call(append, "session")
        assert caught.value is root
        shown(root)

    @pytest.mark.parametrize("option", [*HOOKS, "append"])
    async def test_stop_async_iteration_never_ends_a_block_as_if_the_event_were_stored(self, option):
        stale = StaleSessionError("stale")

        async def append():
            raise StopAsyncIteration if option == "append" else stale

        options = {} if option == "append" else {option: raising(StopAsyncIteration())}
        policy = retry_on_stale_session(**{"refresh": lambda session: session, **SOON, **options})
        with pytest.raises((RuntimeError, SessionRefreshError, StopAsyncIteration)) as caught:
            async for attempt in policy.attempts("session"):
                with attempt:
                    await append()
        assert option == "append" or stale in behind(caught.value)
        assert any(isinstance(link, StopAsyncIteration) for link in behind(caught.value))

    @pytest.mark.parametrize("option", HOOKS)
    @pytest.mark.parametrize("kind", [StopAsyncIteration, StopIteration])
    async def test_out_of_a_hook_it_is_a_runtime_error_of_a_decorated_call(self, option, kind):
        async def append(session):
            raise StaleSessionError

        policy = retry_on_stale_session(**{"refresh": lambda session: session, **SOON, option: raising(kind())})
        with pytest.raises((RuntimeError, SessionRefreshError, kind)) as caught:
            await policy.call(append, "session")
        assert any(isinstance(link, StaleSessionError) for link in behind(caught.value))
        assert any(isinstance(link, kind) for link in shown(caught.value))
