"""Which errors mean "stale": recognised by class, by name or by the words of a known release, importing no store."""

from __future__ import annotations

import sys

from tenacity import retry_if_exception

from .errors import StaleSessionError, StaleSessionRetryError

if sys.version_info < (3, 11):
    from exceptiongroup import BaseExceptionGroup

# google-adk below 2.7 raises a plain ValueError; its text is the only sign, and it changed twice.
_WORDS_OF_KNOWN_RELEASES = (
    "is later than the update_time in storage",  # 0.5
    "is earlier than the update_time in",  # 1.0 to 1.23; SqliteSessionService since 1.19
    "has been modified in storage since it was loaded",  # 1.28 to 2.6
)


def is_stale_session_error(error: BaseException) -> bool:
    """Tell whether a store rejected an append because the session it came through was stale.

    True for `StaleSessionError`; for any exception that has a class of that name among its bases, such as
    google-adk's; for a `ValueError` in the words of a google-adk release before it had that class; and for an
    exception group all of whose leaves are stale. False for everything else, `StaleSessionRetryError` included.
    """
    if isinstance(error, StaleSessionRetryError):
        return False
    if isinstance(error, BaseExceptionGroup):
        return all(is_stale_session_error(leaf) for leaf in error.exceptions)
    if any(base.__name__ == StaleSessionError.__name__ for base in type(error).__mro__):
        return True
    if isinstance(error, ValueError):
        text = str(error)
        return any(words in text for words in _WORDS_OF_KNOWN_RELEASES)
    return False


class retry_if_stale_session(retry_if_exception):
    """The same test as a tenacity retry strategy, to compose with others.

    For example `on=retry_if_stale_session() | retry_if_exception_type(TimeoutError)`.
    """

    def __init__(self) -> None:
        super().__init__(is_stale_session_error)
