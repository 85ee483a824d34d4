"""Which errors of a session service's database mean "not stored, or look again", without importing a driver."""

from __future__ import annotations

import errno
import sys
from collections.abc import Iterator
from typing import Any

from tenacity import retry_if_exception

if sys.version_info < (3, 11):
    from asyncio import TimeoutError as AsyncioTimeoutError

    from exceptiongroup import BaseExceptionGroup
else:
    AsyncioTimeoutError = TimeoutError

_SQLSTATES = frozenset(
    (
        "25P03",  # idle_in_transaction_session_timeout
        "25P04",  # transaction_timeout
        "40001",  # serialization_failure
        "40003",  # statement_completion_unknown
        "40P01",  # deadlock_detected
        "53300",  # too_many_connections
        "55P03",  # lock_not_available
        "57014",  # query_canceled, which is also statement_timeout
        "57P01",  # admin_shutdown, which is also pg_terminate_backend
        "57P02",  # crash_shutdown
        "57P03",  # cannot_connect_now
        "57P05",  # idle_session_timeout
    )
)
_CONNECTION_EXCEPTIONS = "08"

_SQLITE_BUSY, _SQLITE_LOCKED = 5, 6
_PRIMARY_RESULT = 0xFF

# A server that is down refuses the connection, and on its own machine its socket does not exist.
_NO_SERVER = frozenset(
    (errno.ENOENT, errno.EHOSTDOWN, errno.EHOSTUNREACH, errno.ENETDOWN, errno.ENETUNREACH, errno.ETIMEDOUT)
)


def is_transient_error(error: BaseException) -> bool:
    """Tell whether an append failed in a way that may not happen again, and that leaves open whether it was stored.

    Looks at the error and at what it was raised from, by SQLSTATE, SQLite result code and errno. True for a lost,
    refused or terminated connection, a server that shuts down or starts up, a statement, lock or connection pool
    that timed out, a deadlock, a serialization failure, a locked SQLite database, and any other `TimeoutError`; for
    an exception group all of whose leaves are transient. False for everything else: a duplicate key, a full disk, a
    wrong password, a missing table.
    """
    if isinstance(error, BaseExceptionGroup):
        return all(is_transient_error(leaf) for leaf in error.exceptions)
    return any(_is_transient(link) for link in _with_origins(error))


def _is_transient(error: Any) -> bool:
    if isinstance(error, OSError):
        return isinstance(error, (ConnectionError, TimeoutError)) or error.errno in _NO_SERVER
    if isinstance(error, AsyncioTimeoutError) or getattr(error, "connection_invalidated", False) is True:
        return True
    state = getattr(error, "sqlstate", None)
    if isinstance(state, str):
        return state in _SQLSTATES or state.startswith(_CONNECTION_EXCEPTIONS)
    return _is_locked_sqlite(error) or _is_empty_pool(error)


def _is_locked_sqlite(error: Any) -> bool:
    kind = type(error)
    if (kind.__module__, kind.__name__) != ("sqlite3", "OperationalError"):
        return False
    code = getattr(error, "sqlite_errorcode", None)  # since Python 3.11
    if code is None:
        return "is locked" in str(error)
    return code & _PRIMARY_RESULT in (_SQLITE_BUSY, _SQLITE_LOCKED)


def _is_empty_pool(error: Any) -> bool:
    return any((kind.__module__, kind.__name__) == ("sqlalchemy.exc", "TimeoutError") for kind in type(error).__mro__)


def _with_origins(error: BaseException) -> Iterator[BaseException]:
    # Not __context__: what was raised while something else was being handled is its own error.
    seen: set[int] = set()
    link: Any = error
    while isinstance(link, BaseException) and id(link) not in seen:
        seen.add(id(link))
        yield link
        link = getattr(link, "orig", None) or link.__cause__


class retry_if_transient(retry_if_exception):
    """`is_transient_error` as a tenacity retry strategy, to be chosen knowingly beside the stale one:

        RetryingSessionService(service, on=retry_if_stale_session() | retry_if_transient())

    The event of such an attempt may be stored. The service's refresh finds it by its id then, and the append is
    settled and not made again.
    """

    def __init__(self) -> None:
        super().__init__(is_transient_error)
