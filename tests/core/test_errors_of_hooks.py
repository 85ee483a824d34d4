"""A hook, strategy or observer that raises: the stale error stays reachable, and an observer disturbs nothing."""

import pytest

from stale_retry import AttemptsExhaustedError, SessionRefreshError, StaleSessionError, retry_on_stale_session
from stale_retry.testing import VersionedStore

from .ways import SOON

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


def fails_with(kind):
    def hook(*_):
        raise kind

    return hook


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
