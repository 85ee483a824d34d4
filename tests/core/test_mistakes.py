"""Mistakes that are easily made: each is refused by name, with the rule and the cure, and loses no event in silence."""

import subprocess
import sys

import pytest

from stale_retry import (
    SessionGoneError,
    StaleSessionError,
    retry_on_stale_session,
    retry_transaction,
    retry_with,
)
from stale_retry.testing import VersionedStore

from .ways import SOON, WAYS, append_in

pytestmark = pytest.mark.anyio


def reload(session):
    return session


async def append(session, event):
    raise StaleSessionError


async def asynchronous(argument): ...


class Store:
    async def append(self, session, event): ...


def told(*words, on=TypeError):
    """The message has all of these words, in this order."""
    return pytest.raises(on, match=".*".join(words))


class TestTheDecorator:
    def test_without_its_parentheses_is_told_how_it_is_written(self):
        for bare in (append, Store.append):
            with told("also needs 'event'", r"give the decorator a refresh hook: @retry_on_stale_session\(refresh\)"):
                retry_on_stale_session(bare)

    def test_without_its_parentheses_around_a_save_is_told_at_its_first_call(self):
        @retry_on_stale_session
        async def save(session): ...

        with told("used as a bare decorator", r"@retry_on_stale_session\(refresh\)"):
            save("session")

    @pytest.mark.parametrize("arguments", [(), (reload, "session")])
    def test_without_a_refresh_hook_or_with_more_than_that_is_told_what_it_needs(self, arguments):
        with told("needs one refresh hook", "options by name", r"@retry_on_stale_session\(refresh, deadline=30\)"):
            retry_on_stale_session(*arguments)

    def test_of_a_transaction_without_its_parentheses_is_told_how_it_is_written(self):
        with told("takes its options by name", r"write @retry_transaction\(\)"):
            retry_transaction(append)

    @pytest.mark.parametrize("decorator", [retry_on_stale_session(reload), retry_transaction()])
    def test_on_a_function_that_blocks_is_told_to_use_a_thread(self, decorator):
        with told("must be a coroutine function", "is not", r"asyncio\.to_thread"):
            decorator(lambda session, event: None)

    @pytest.mark.parametrize("decorator", [retry_on_stale_session(reload), retry_transaction()])
    def test_on_an_async_generator_is_told_to_retry_each_append_inside(self, decorator):
        async def events(session):
            yield session

        with told("is an async generator", "retry each append inside it instead"):
            decorator(events)

    def test_whose_session_has_another_name_is_told_the_option(self):
        async def append(self, chat, event): ...

        with told(r"append\(self, chat, event\) has no 'session'", "give session='chat'", on=ValueError):
            retry_on_stale_session(reload)(append)

    def test_that_would_retry_for_ever_is_told_the_three_limits(self):
        with told("max_attempts, deadline and stop are all None", "give one of them", on=ValueError):
            retry_on_stale_session(reload, deadline=None)

    def test_with_in_doubt_alone_is_told_what_it_needs(self):
        with told("in_doubt needs find_stored", "give find_stored, or an on_conflict hook", on=ValueError):
            retry_on_stale_session(reload, in_doubt=ConnectionError)


CURES = {
    "timeout": "the limit of the whole call is deadline",
    "max_delay": "the limit of the whole call is deadline",
    "max_time": "the limit of the whole call is deadline",
    "attempts": "use max_attempts, which counts the first call too",
    "max_tries": "use max_attempts, which counts the first call too",
    "max_retries": "5 retries are max_attempts=6",
    "retries": "5 retries are max_attempts=6",
    "wait": "use backoff, which takes tenacity's wait strategies",
    "wait_initial": r"use backoff=exponential\(initial, max=\.\.\.\)",
    "wait_jitter": "use jitter, a function of the delay",
    "delay": r"use backoff=constant\(seconds\)",
    "retry": "use on, which takes tenacity's retry strategies",
    "exception": "use on, which takes exception types",
    "giveup": "use on, a function of the error that answers True for what is to be retried",
    "before_sleep": "use observers",
    "on_backoff": "use observers",
    "on_giveup": "use observers",
    "retry_error_callback": "catch StaleSessionRetryError",
    "sleep": r"stale_retry\.testing\.no_waiting\(\)",
    "gate": "use key",
    "lock": "use key",
    "max_attempt": r"did you mean 'max_attempts'\?",
}


@pytest.mark.parametrize("option", CURES)
@pytest.mark.parametrize("decorator", [lambda **options: retry_on_stale_session(reload, **options), retry_transaction])
def test_an_option_of_another_library_is_told_its_counterpart(decorator, option):
    with told(f"unknown option {option!r}; ", CURES[option]):
        decorator(**{option: 3})


@pytest.mark.parametrize("option", CURES)
def test_every_counterpart_is_an_option_or_a_public_name(option):
    known = [*retry_on_stale_session.OPTIONS, "StaleSessionRetryError", "no_waiting"]
    assert any(name in CURES[option] for name in known)


WRONG = [
    ({"deadline": "30"}, "deadline must be seconds, a timedelta or None, got '30'"),
    ({"deadline": 0}, "deadline must be above zero, or None for no limit; got 0"),
    ({"jitter": True}, "jitter must be a function of the delay, or None, got True"),
    ({"jitter": lambda: 1}, "jitter must be a function of the delay; .* cannot be called with that alone"),
    ({"on": "X"}, "on must be exception types, a function of the error .*, or a tenacity retry strategy; got 'X'"),
    ({"backoff": 2}, r"backoff must be a tenacity wait strategy such as exponential\(.*; got 2"),
    ({"stop": 3}, "stop must be a tenacity stop strategy such as .*, or a function of the retry state; got 3"),
    ({"key": "session"}, "key must be a function of the session .*, such as lambda session: session.id; got 'session'"),
    ({"key": lambda self, session: 1}, "key must be a function of the session .* cannot be called with the session"),
    ({"on_conflict": lambda: None}, "on_conflict must be a function of the conflict; .* cannot be called with that"),
    ({"observers": lambda: None}, "observers must be a function of the event; .* cannot be called with that"),
    ({"find_stored": lambda id: None}, r"find_stored must name parameters of the append, but .* has no 'id'"),
    ({"reraise": 1}, "reraise must be True or False, got 1"),
]


@pytest.mark.parametrize(
    ("options", "message"),
    WRONG,
    ids=[message.split(maxsplit=1)[0] + str(number) for number, (_, message) in enumerate(WRONG)],
)
def test_a_wrong_value_is_told_with_option_rule_and_value(options, message):
    with told(message, on=(TypeError, ValueError)):
        retry_on_stale_session(reload, **options)(append)


@pytest.mark.parametrize("option", ["on", "in_doubt", "backoff", "stop"])
def test_an_async_strategy_is_told_where_it_belongs(option):
    with told(f"{option} must be a plain function or strategy", "belongs in find_stored or in on_conflict"):
        retry_on_stale_session(reload, **{"on_conflict": print, option: asynchronous})


@pytest.mark.parametrize("option", ["key", "jitter", "observers"])
def test_an_async_function_that_nobody_would_await_is_refused(option):
    with told(f"{option} must be", "must not be async"):
        retry_on_stale_session(reload, **{option: asynchronous})


class TestTheRefreshHook:
    async def stored_with(self, refresh):
        store = VersionedStore()
        store.faults.stale = 1
        return await retry_on_stale_session(lambda session: refresh(store, session), **SOON).call(
            store.append, store.open(), "event"
        )

    async def test_may_be_a_plain_function(self):
        assert await self.stored_with(lambda store, session: store.open()) == "event"

    async def test_that_forgets_an_inner_await_is_awaited(self):
        async def refresh(store, session):
            return store.refresh(session)

        assert await self.stored_with(refresh) == "event"

    async def test_that_updates_in_place_and_returns_nothing_is_told_to_return_the_session(self):
        with told("returned None", "if the hook updates it in place, return it", on=SessionGoneError):
            await self.stored_with(lambda store, session: None)

    def test_of_a_method_that_leaves_out_the_instance_is_told_how_it_is_called(self):
        with told("refresh must take the leading arguments", r"as refresh\(self, session\)", "cannot"):
            retry_on_stale_session(reload)(Store.append)

    @pytest.mark.parametrize("above", [True, False])
    async def test_of_a_classmethod_takes_the_class_whichever_decorator_is_above(self, above):
        store = VersionedStore()
        store.faults.stale = 1
        decorator = retry_on_stale_session(lambda cls, session: store.open(), **SOON)

        async def append(cls, session, event):
            return await store.append(session, event)

        kind = type("Kind", (), {"append": decorator(classmethod(append)) if above else classmethod(decorator(append))})
        assert await kind.append(store.open(), "event") == "event"


class TestAKey:
    @pytest.mark.parametrize("way", WAYS)
    async def test_that_is_not_hashable_is_told_before_anything_is_done(self, way):
        made = []

        async def append(session, event):
            made.append(event)

        policy = retry_on_stale_session(reload, key=lambda session: [session], **SOON)
        with told("key must return a hashable value, but returned a list", "use a string, a number, or a tuple"):
            await append_in(way, policy, append, "session", "event")
        assert made == []

    @pytest.mark.parametrize("key", ["ids", lambda ids: ids, ["ids"]])
    async def test_of_a_transaction_is_told_too(self, key):
        async def transfer(ids):
            raise AssertionError("never runs")

        with told("key must return a hashable value", "use a string, a number, or a tuple"):
            await retry_transaction(key=key).call(transfer, ["a", "b"])


@pytest.mark.parametrize("answer", [True, "stored"])
async def test_a_conflict_hook_that_answers_something_else_is_told_what_it_may_return(answer):
    policy = retry_on_stale_session(reload, on_conflict=lambda conflict: answer, **SOON)
    with told(r"on_conflict must return None or conflict\.settle\(result\)", f"returned a {type(answer).__name__}"):
        await policy.call(append, "session", "event")


def test_a_function_that_is_not_decorated_has_no_policy_to_change():
    with told("append is not decorated", "decorate it with retry_on_stale_session or retry_transaction"):
        retry_with(append, deadline=5)


@pytest.mark.parametrize(("package", "extra"), [("adk", "google"), ("a2a", "a2a")])
def test_an_integration_without_its_package_names_the_line_that_installs_it(package, extra):
    program = f"""
import sys

class NotInstalled:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == {extra!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, NotInstalled())
import stale_retry.{package}
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.stderr.splitlines()[-1].endswith(f'pip install "stale-retry[{package}]"')
