"""Errors that may not come again, and whether the event may be stored after them. Imports no driver and no client."""

from __future__ import annotations

import errno
import re
import sys
from typing import Any

from tenacity import retry_if_exception

from . import _error_facts as facts
from .detection import is_conflict_error, refuses_what_was_sent_again

if sys.version_info < (3, 11):
    from asyncio import TimeoutError as AsyncioTimeoutError
else:
    AsyncioTimeoutError = TimeoutError

_TRANSIENT: facts.Names = {
    "AmbiguousTimeoutException": ("couchbase",),
    "AutoReconnect": ("pymongo",),  # a lost connection, a timeout of the network, no primary, no server
    "ChunkedEncodingError": ("requests",),
    "ClientConnectionError": ("aiohttp",),
    "ClientPayloadError": ("aiohttp",),
    "ClusterDownError": ("coredis", "redis", "valkey"),
    "ConnectionAcquisitionTimeoutError": ("neo4j",),
    "ConnectionClosedError": ("nats",),
    "ConnectionError": (
        "botocore",
        "coredis",
        "elastic_transport",
        "opensearchpy",
        "redis",
        "requests",
        "valkey",
    ),
    "ConnectionFailedError": ("aetcd",),
    "ConnectionLoss": ("kazoo",),
    "ConnectionReconnectingError": ("nats",),
    "ConnectionTimeout": ("elastic_transport", "opensearchpy", "psycopg"),
    "ConnectionTimeoutError": ("aetcd",),
    "CosmosClientTimeoutError": ("azure.cosmos",),
    "DeadlineExceededError": ("kurrentdbclient",),
    "ExecutionTimeout": ("pymongo",),
    "HTTPClientError": ("botocore",),
    "IncompleteRead": ("http.client",),
    "IncompleteReadError": ("asyncio",),
    "InternalClientError": ("asyncpg",),  # its connection broke in the middle of something
    "KafkaConnectionError": ("aiokafka",),
    "KafkaTimeoutError": ("aiokafka",),
    "NetworkError": ("httpx", "httpx2"),
    "NoHostAvailable": ("cassandra",),
    "NoRespondersError": ("nats",),
    "NoServersError": ("nats",),
    "NoStreamResponseError": ("nats",),
    "OperationTimedOut": ("cassandra",),
    "OperationTimeoutError": ("kazoo",),
    "PoolTimeout": ("psycopg_pool",),
    "ProxyError": ("httpx", "httpx2"),
    "ReadOnlyError": ("coredis", "redis", "valkey"),  # the server became a replica
    "RemoteProtocolError": ("httpx", "httpx2"),
    "RequestTimedOutError": ("aiokafka",),
    "RetryError": ("google.api_core",),
    "SSLEOFError": ("ssl",),
    "SSLZeroReturnError": ("ssl",),
    "ServiceRequestError": ("azure.core",),
    "ServiceResponseError": ("azure.core",),
    "ServiceUnavailable": ("neo4j",),
    "ServiceUnavailableError": ("kurrentdbclient", "nats"),
    "SessionExpired": ("neo4j",),
    "SessionExpiredError": ("kazoo",),
    "StaleConnectionError": ("nats",),
    "Timeout": ("requests",),
    "TimeoutError": ("redis", "sqlalchemy", "valkey"),  # SQLAlchemy's: no connection was left in the pool
    "TimeoutException": ("httpx", "httpx2"),
    "TooManyRequests": ("psycopg_pool",),
    "TransientError": ("neo4j",),
    "TryAgainError": ("coredis", "redis", "valkey"),
    "UnAmbiguousTimeoutException": ("couchbase",),
    "Unavailable": ("cassandra",),
    "WTimeoutError": ("pymongo",),
    "WaitQueueTimeoutError": ("pymongo",),
    "WriteTimeout": ("cassandra",),
}
# Connection errors to their libraries, and yet they will come again.
_LASTING: facts.Names = {
    "AuthenticationError": ("redis", "valkey"),
    "AuthorizationError": ("redis", "valkey"),
    "ClientSSLError": ("aiohttp",),
    "SSLCertVerificationError": ("ssl",),
    "SSLError": ("botocore", "kurrentdbclient", "opensearchpy", "requests"),
    "ServerFingerprintMismatch": ("aiohttp",),
    "TlsError": ("elastic_transport",),
}
_SQLSTATES = frozenset(
    (
        "25006",  # read_only_sql_transaction: the server became a replica
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
_MYSQL_CODES = frozenset(
    (
        1040,  # too many connections
        1053,  # server shutdown in progress
        1205,  # lock wait timeout
        1213,  # deadlock
        1317,  # query interrupted
        1927,  # MariaDB: connection was killed
        1969,  # MariaDB: max_statement_time
        2002,  # no socket
        2003,  # no host
        2006,  # server has gone away
        2013,  # connection lost during the query
        2055,  # connection lost, as MySQL Connector says it
        3024,  # max_execution_time
        3572,  # a lock that NOWAIT does not wait for
        4031,  # disconnected because of inactivity
    )
)
_ORACLE_CODES = frozenset(
    (
        "DPY-4011",  # the database or network closed the connection
        "DPY-4024",  # call timeout
        "DPY-6000",  # the listener refused the connection
        "DPY-6001",  # the listener does not know the service
        "DPY-6005",  # cannot connect
        "ORA-03113",  # end of file on communication channel
        "ORA-03114",  # not connected
        "ORA-03135",  # connection lost contact
        "ORA-12541",  # no listener
    )
)
_TRANSIENT_FACTS: facts.Facts = (
    (facts.sqlstate_of, _SQLSTATES),
    (facts.sqlstate_class_of, frozenset(("08",))),  # connection exceptions
    (facts.mysql_code_of, _MYSQL_CODES),
    (facts.oracle_code_of, _ORACLE_CODES),
    (facts.http_status_of, frozenset((408, 429, 502, 503, 504))),
    (facts.grpc_status_of, frozenset(("DEADLINE_EXCEEDED", "RESOURCE_EXHAUSTED", "UNAVAILABLE"))),
)
_AWS_CODES = frozenset(
    (
        "InternalServerError",
        "ProvisionedThroughputExceeded",
        "ProvisionedThroughputExceededException",
        "RequestLimitExceeded",
        "RequestTimeout",
        "ServiceUnavailable",
        "SlowDown",
        "ThrottlingError",
        "ThrottlingException",
        "TransactionInProgressException",
    )
)
_MONGODB_LABELS = ("TransientTransactionError", "UnknownTransactionCommitResult")

# Classes that mean more than one thing, by the words of their libraries.
_TRANSIENT_WORDS: tuple[tuple[facts.Names, str], ...] = (
    ({"InterfaceError": ("asyncpg",)}, "connection is closed"),
    ({"InterfaceError": ("psycopg2",)}, "already closed"),
    ({"WatchError": ("redis", "valkey")}, "while watching"),  # the connection was lost; EXEC may have been carried out
)

# A PostgreSQL that has just started, or has no connection left, refuses as well, but not for good.
_REFUSED_FOR_GOOD = re.compile(r"FATAL:(?!\s*(the database system|sorry, too many|too many conn|remaining connection))")

_SQLITE_BUSY, _SQLITE_LOCKED = 5, 6
_PRIMARY_RESULT = 0xFF

# asyncio's words when a host has several addresses and it could connect to none of them.
_NO_ADDRESS = re.compile(r"Multiple exceptions: \[Errno \d+\] Connect call failed")
_NO_SERVER = frozenset((errno.EHOSTDOWN, errno.EHOSTUNREACH, errno.ENETDOWN, errno.ENETUNREACH, errno.ETIMEDOUT))

# These prove that the store ran nothing: no connection was made, no request was sent, or the store turned it away.

_NOTHING_RAN: facts.Names = {
    "ConnectError": ("httpx", "httpx2"),
    "ConnectTimeout": ("httpx", "httpx2"),
    "ConnectionAcquisitionTimeoutError": ("neo4j",),
    "ConnectionTimeout": ("psycopg",),
    "MaxConnectionsError": ("redis", "valkey"),
    "PoolTimeout": ("httpx", "httpx2", "psycopg_pool"),
    "ServerSelectionTimeoutError": ("pymongo",),  # of a second sending pymongo raises the first one's error
    "TimeoutError": ("sqlalchemy",),
    "TooManyRequests": ("psycopg_pool",),
    "UnAmbiguousTimeoutException": ("couchbase",),
}
_REDIS: facts.Names = {"ConnectionError": ("redis", "valkey")}
_NOTHING_RAN_FACTS: facts.Facts = (
    (facts.sqlstate_of, frozenset(("08001", "08004", "25006", "53300", "55P03", "57P03"))),
    (facts.mysql_code_of, frozenset((1040, 1205, 2002, 2003, 3572))),
    (facts.oracle_code_of, frozenset(("DPY-6000", "DPY-6001", "DPY-6005", "ORA-12541"))),
    (facts.http_status_of, frozenset((429,))),
)
_AWS_THROTTLED = frozenset(
    (
        "ProvisionedThroughputExceeded",
        "ProvisionedThroughputExceededException",
        "RequestLimitExceeded",
        "SlowDown",
        "ThrottlingError",
        "ThrottlingException",
    )
)
# Clients that send a request again by themselves and do not say so: an earlier sending may have been carried out.
_SILENT_RESENDERS: facts.Names = {
    "APIError": ("anthropic", "google.genai", "openai"),
    "ApiError": ("elastic_transport",),
    "ApiException": ("kubernetes", "kubernetes_asyncio"),
    "AzureError": ("azure.core",),
    "GoogleAPIError": ("google.api_core",),
    "OpenSearchException": ("opensearchpy",),
    "TransportError": ("elastic_transport",),
}
# The words of libpq and psycopg when they could not connect.
_COULD_NOT_CONNECT = re.compile(r"(connection (failed|is bad): )?connection to server (at|on) |failed to resolve host ")


@facts.never_raises
def is_transient_error(error: BaseException) -> bool:
    """Tell whether an append failed in a way that may not happen again, and that leaves open whether it was stored.

    True for a lost, refused or terminated connection, a server that shuts down, starts up or became a replica, a
    statement, lock, request or connection pool that timed out, a deadlock, a serialization failure, a locked SQLite
    database, HTTP 408, 429, 502, 503 and 504 and what says the same without HTTP, a rejection of a request that the
    client may have sent before, and any other `TimeoutError`; see the list in "Recognised errors". Looks at what the
    error was raised from too, and at what SQLAlchemy, Peewee, Tortoise and PynamoDB wrap. A group is transient when
    all its leaves are transient or conflicts, and one is transient. False for everything else: a duplicate key, a full
    disk, a wrong password or certificate, a missing table; for whatever was raised from an error of giving up; and for
    an error whose own code fails.
    """
    return facts.holds(error, _is_transient, unless=_is_lasting, group=_is_transient_group) or (
        not facts.is_group(error) and refuses_what_was_sent_again(error)
    )


def _is_transient_group(group: Any) -> bool:
    known = facts.each_leaf(group, lambda leaf: is_transient_error(leaf) or is_conflict_error(leaf))
    return known and any(is_transient_error(leaf) for leaf in group.exceptions)


def _is_lasting(error: Any) -> bool:
    # httpcore keeps the error that it met in `args`, and nowhere else.
    return any(facts.is_named(each, _LASTING) for each in (error, *error.args))


def _is_transient(error: Any) -> bool:
    aws = facts.aws_codes_of(error)
    return (
        isinstance(error, (ConnectionError, TimeoutError, AsyncioTimeoutError))
        or _is_without_server(error)
        or facts.look(error, "connection_invalidated") is True  # SQLAlchemy's word for it
        or facts.is_named(error, _TRANSIENT)
        or facts.tells(error, _TRANSIENT_FACTS)
        or (bool(aws & _AWS_CODES) and aws <= _AWS_CODES | facts.AWS_CONFLICTS)
        or any(facts.has_mongodb_label(error, label) for label in _MONGODB_LABELS)
        or _is_locked_sqlite(error)
        or _is_read_only_mysql(error)
        or _is_lost_psycopg(error)
        or any(facts.is_named(error, names) and words in str(error) for names, words in _TRANSIENT_WORDS)
    )


def _is_without_server(error: Any) -> bool:
    if not isinstance(error, OSError):
        return False
    return error.errno in _NO_SERVER or _could_not_connect(error)


def _could_not_connect(error: Any) -> bool:
    """A server that is down refuses, and has no socket on its own machine. A missing file has a name."""
    return (
        isinstance(error, ConnectionRefusedError)
        or facts.is_named(error, {"gaierror": ("socket",)})
        or (
            isinstance(error, OSError)
            and ((error.errno == errno.ENOENT and error.filename is None) or bool(_NO_ADDRESS.match(str(error))))
        )
    )


def _is_locked_sqlite(error: Any) -> bool:
    if not facts.is_named(error, {"OperationalError": ("sqlite3",)}):
        return False
    code = facts.look(error, "sqlite_errorcode")  # since Python 3.11
    if code is None:
        return "is locked" in str(error)
    return code & _PRIMARY_RESULT in (_SQLITE_BUSY, _SQLITE_LOCKED)


def _is_read_only_mysql(error: Any) -> bool:
    """A server that became a replica. Other options prevent other statements, for good."""
    return facts.mysql_code_of(error) == 1290 and "read-only option" in str(error)


def _is_lost_psycopg(error: Any) -> bool:
    """A connection that broke or could not be made has no SQLSTATE; what a server refuses it for, it says as FATAL."""
    general = facts.class_of(error) in (("psycopg", "OperationalError"), ("psycopg2", "OperationalError"))
    return general and facts.sqlstate_of(error) is None and not _REFUSED_FOR_GOOD.search(str(error))


@facts.never_raises
def leaves_doubt(error: BaseException) -> bool:
    """Tell whether a transient error leaves it open whether the event is stored.

    False for whatever `is_transient_error` does not know, for what `is_conflict_error` knows, and for errors that prove
    that the store ran nothing: the connection was refused or could not be made, no connection was left in the pool,
    HTTP 429, SQLSTATE 53300, 55P03 and 57P03, a locked SQLite database. A group leaves doubt when one of its leaves
    does.
    """
    return _leaves_doubt(error)


def _leaves_doubt(error: Any) -> bool:
    if facts.is_group(error):
        return any(_leaves_doubt(leaf) for leaf in error.exceptions)
    if is_conflict_error(error) or not is_transient_error(error):
        return False
    if refuses_what_was_sent_again(error) or facts.holds(error, _may_have_been_sent_before):
        return True
    # The outermost transient error decides: it knows best what a refused connection behind it means.
    links = facts.with_origins(error)
    deciding = next(link for link in links if (is_transient_error if facts.is_group(link) else _is_transient)(link))
    return _leaves_doubt(deciding) if facts.is_group(deciding) else not _proves_that_nothing_ran(deciding)


def _may_have_been_sent_before(error: Any) -> bool:
    return facts.was_sent_again(error) or facts.is_named(error, _SILENT_RESENDERS)


def _proves_that_nothing_ran(error: Any) -> bool:
    if facts.has_mongodb_label(error, "UnknownTransactionCommitResult"):
        return False
    aws = facts.aws_codes_of(error)
    return (
        _could_not_connect(error)
        or facts.is_named(error, _NOTHING_RAN)
        or facts.tells(error, _NOTHING_RAN_FACTS)
        or (bool(aws) and aws <= _AWS_THROTTLED | facts.AWS_CONFLICTS)
        or facts.has_mongodb_label(error, "TransientTransactionError")
        or _is_locked_sqlite(error)
        or _is_read_only_mysql(error)
        or (facts.is_named(error, _REDIS) and str(error) == "No connection available.")  # its BlockingConnectionPool
        or (_is_lost_psycopg(error) and bool(_COULD_NOT_CONNECT.match(str(error))))
    )


class retry_if_transient(retry_if_exception):
    """`is_transient_error` as a tenacity retry strategy, for `in_doubt`.

    The event of such an attempt may be stored, so give `find_stored` with it: a function that looks.
    """

    def __init__(self) -> None:
        super().__init__(is_transient_error)
