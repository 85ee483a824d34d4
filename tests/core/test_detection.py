"""Which errors mean "stale", in every release of google-adk and for any other store."""

import sys

import pytest
from tenacity import RetryCallState, retry_if_exception_type

from stale_retry import (
    AttemptsExhaustedError,
    DeadlineExceededError,
    SessionGoneError,
    SessionRefreshError,
    StaleSessionError,
    StaleSessionRetryError,
    is_stale_session_error,
    retry_if_stale_session,
)

if sys.version_info < (3, 11):
    from exceptiongroup import BaseExceptionGroup, ExceptionGroup

WORDS = {
    "0.5, DatabaseSessionService": (
        "Session last_update_time 2025-05-16 10:00:00 is later than the update_time in storage 2025-05-16 09:59:59"
    ),
    "1.0 to 1.23, DatabaseSessionService": (
        "The last_update_time provided in the session object 2025-11-01 10:00:00 is earlier than the update_time in "
        "the storage_session 2025-11-01 10:00:01. Please check if it is a stale session."
    ),
    "1.19 to 2.6, SqliteSessionService": (
        "The last_update_time provided in the session object is earlier than the update_time in storage. Please check "
        "if it is a stale session."
    ),
    "1.28 to 2.6, DatabaseSessionService": (
        "The session has been modified in storage since it was loaded. Please reload the session before appending more "
        "events."
    ),
}


def another_stores(base):
    """As google-adk 2.7 has it, and its MongoDB and Firestore services: a class of that name, from another package."""
    return type("StaleSessionError", (base,), {"__module__": "google.adk.errors"})


@pytest.mark.parametrize("release", WORDS)
def test_a_value_error_in_the_words_of_a_release_is_stale(release):
    assert is_stale_session_error(ValueError(WORDS[release]))


@pytest.mark.parametrize("release", WORDS)
def test_the_same_words_in_another_error_are_not(release):
    assert not is_stale_session_error(RuntimeError(WORDS[release]))


@pytest.mark.parametrize(
    "error",
    [
        ValueError(),
        ValueError("the event has no author"),
        ValueError("stale"),
        ValueError("Session not found"),
        KeyError("session"),
        Exception("StaleSessionError"),
        TimeoutError(),
    ],
)
def test_other_errors_are_not(error):
    assert not is_stale_session_error(error)


def test_our_own_error_and_its_children_are():
    class Child(StaleSessionError):
        pass

    assert is_stale_session_error(StaleSessionError())
    assert is_stale_session_error(Child())


@pytest.mark.parametrize("base", [ValueError, Exception, RuntimeError])
def test_any_class_of_that_name_is_and_so_are_its_children(base):
    theirs = another_stores(base)
    child = type("MongoStaleSessionError", (theirs,), {})
    assert is_stale_session_error(theirs("whatever it says"))
    assert is_stale_session_error(child("whatever it says"))


@pytest.mark.parametrize(
    "kind",
    [StaleSessionRetryError, AttemptsExhaustedError, DeadlineExceededError, SessionGoneError, SessionRefreshError],
)
def test_giving_up_is_not(kind):
    error = kind("gave up", attempts=1, elapsed=0.0, last_error=StaleSessionError())
    assert not is_stale_session_error(error)


class TestGroups:
    def test_of_only_stale_errors_are(self):
        stale = StaleSessionError()
        assert is_stale_session_error(ExceptionGroup("", [stale]))
        assert is_stale_session_error(ExceptionGroup("", [stale, another_stores(Exception)()]))
        assert is_stale_session_error(ExceptionGroup("", [ExceptionGroup("", [stale]), ExceptionGroup("", [stale])]))
        assert is_stale_session_error(ExceptionGroup("", [ValueError(text) for text in WORDS.values()]))

    def test_mixed_ones_are_not(self):
        stale = StaleSessionError()
        assert not is_stale_session_error(ExceptionGroup("", [stale, KeyError()]))
        assert not is_stale_session_error(ExceptionGroup("", [ExceptionGroup("", [stale, KeyError()]), stale]))
        assert not is_stale_session_error(BaseExceptionGroup("", [stale, KeyboardInterrupt()]))

    def test_with_a_call_that_gave_up_are_not(self):
        gave_up = SessionGoneError("gone", attempts=1, elapsed=0.0, last_error=StaleSessionError())
        assert not is_stale_session_error(ExceptionGroup("", [StaleSessionError(), gave_up]))


class TestAsATenacityStrategy:
    def says(self, strategy, error):
        state = RetryCallState(None, None, (), {})
        state.set_exception((type(error), error, None))
        return strategy(state)

    def test_it_says_the_same(self):
        strategy = retry_if_stale_session()
        for error in (StaleSessionError(), ValueError("other"), ValueError(WORDS["0.5, DatabaseSessionService"])):
            assert self.says(strategy, error) is is_stale_session_error(error)

    def test_it_composes(self):
        either = retry_if_stale_session() | retry_if_exception_type(TimeoutError)
        both = retry_if_stale_session() & retry_if_exception_type(KeyError)
        assert self.says(either, TimeoutError())
        assert self.says(either, StaleSessionError())
        assert not self.says(both, StaleSessionError())
