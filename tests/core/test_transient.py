"""Which errors leave open whether an append was stored, and may not come again."""

import asyncio
import contextlib
import errno
import pickle
import socket
import sqlite3
import ssl
import sys
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tenacity import RetryCallState, retry_if_exception, retry_if_exception_type

from stale_retry.detection import is_conflict_error, retry_if_stale_session
from stale_retry.errors import AttemptsExhaustedError, InDoubtError, StaleSessionError
from stale_retry.transient import is_transient_error, leaves_doubt, retry_if_transient

from .lookalikes import HOSTILE, lookalike

if sys.version_info < (3, 11):
    from exceptiongroup import ExceptionGroup

TRANSIENT_SQLSTATES = (
    "08000 08003 08006 08001 08004 08007 08P01 08S01 25P03 25P04 40001 40003 40P01 53300 55P03 57014 57P01 57P02 57P03 "
    "57P05 25006"
)
LASTING_SQLSTATES = "22001 23502 23503 23505 28P01 3D000 42501 42P01 42703 53100 53200 57P04 XX000"

TRANSIENT_AWS_CODES = (
    "InternalServerError ProvisionedThroughputExceeded ProvisionedThroughputExceededException RequestLimitExceeded "
    "RequestTimeout ServiceUnavailable SlowDown ThrottlingError ThrottlingException TransactionInProgressException"
)
TRANSIENT_CLASSES = """
    aetcd.exceptions.ConnectionFailedError aetcd.exceptions.ConnectionTimeoutError
    aiokafka.errors.KafkaConnectionError aiokafka.errors.KafkaTimeoutError aiokafka.errors.RequestTimedOutError
    asyncio.exceptions.IncompleteReadError asyncpg.exceptions._base.InternalClientError
    cassandra.OperationTimedOut cassandra.Unavailable cassandra.WriteTimeout cassandra.cluster.NoHostAvailable
    coredis.exceptions.ClusterDownError coredis.exceptions.ConnectionError coredis.exceptions.ReadOnlyError
    coredis.exceptions.TryAgainError
    couchbase.exceptions.AmbiguousTimeoutException couchbase.exceptions.UnAmbiguousTimeoutException
    elastic_transport.ConnectionError elastic_transport.ConnectionTimeout
    google.api_core.exceptions.RetryError http.client.IncompleteRead
    kazoo.exceptions.ConnectionLoss kazoo.exceptions.OperationTimeoutError kazoo.exceptions.SessionExpiredError
    nats.errors.ConnectionClosedError nats.errors.ConnectionReconnectingError nats.errors.NoRespondersError
    nats.errors.NoServersError nats.errors.StaleConnectionError
    nats.js.errors.NoStreamResponseError nats.js.errors.ServiceUnavailableError
    neo4j.exceptions.ConnectionAcquisitionTimeoutError neo4j.exceptions.ServiceUnavailable
    neo4j.exceptions.SessionExpired neo4j.exceptions.TransientError
    opensearchpy.exceptions.ConnectionError opensearchpy.exceptions.ConnectionTimeout
    redis.exceptions.ClusterDownError redis.exceptions.ReadOnlyError redis.exceptions.TryAgainError
    valkey.exceptions.ClusterDownError valkey.exceptions.ReadOnlyError valkey.exceptions.TryAgainError
    ssl.SSLEOFError ssl.SSLZeroReturnError
    aiohttp.client_exceptions.ClientConnectionError aiohttp.client_exceptions.ClientPayloadError
    azure.core.exceptions.ServiceRequestError azure.core.exceptions.ServiceResponseError
    azure.cosmos.exceptions.CosmosClientTimeoutError
    botocore.exceptions.ConnectionError botocore.exceptions.HTTPClientError
    httpx.NetworkError httpx.ProxyError httpx.RemoteProtocolError httpx.TimeoutException
    httpx2.NetworkError httpx2.ProxyError httpx2.RemoteProtocolError httpx2.TimeoutException
    kurrentdbclient.exceptions.DeadlineExceededError kurrentdbclient.exceptions.ServiceUnavailableError
    psycopg.errors.ConnectionTimeout psycopg_pool.PoolTimeout
    pymongo.errors.AutoReconnect pymongo.errors.ExecutionTimeout pymongo.errors.WTimeoutError
    pymongo.errors.WaitQueueTimeoutError
    redis.exceptions.ConnectionError redis.exceptions.TimeoutError
    requests.exceptions.ChunkedEncodingError requests.exceptions.ConnectionError requests.exceptions.Timeout
    sqlalchemy.exc.TimeoutError
    valkey.exceptions.ConnectionError valkey.exceptions.TimeoutError
"""
LASTING_CLASSES = """
    aiohttp.client_exceptions.ClientSSLError aiohttp.client_exceptions.ServerFingerprintMismatch
    elastic_transport.TlsError opensearchpy.exceptions.SSLError
    botocore.exceptions.SSLError kurrentdbclient.exceptions.SSLError requests.exceptions.SSLError
    redis.exceptions.AuthenticationError redis.exceptions.AuthorizationError
    valkey.exceptions.AuthenticationError valkey.exceptions.AuthorizationError
    ssl.SSLCertVerificationError
"""


def named(name, base, *args, **attributes):
    """A lookalike whose class inherits from the class that its library's errors of that kind have in common."""
    package, _, base_name = base.rpartition(".")
    return lookalike(name, *args, bases=(type(base_name, (Exception,), {"__module__": package}),), **attributes)


def sqlite_error(code, message="from a driver"):
    error = sqlite3.OperationalError(message)
    error.sqlite_errorcode = code
    return error


def raised_from(error, cause):
    error.__cause__ = cause
    return error


def http(status):
    return lookalike("httpx.HTTPStatusError", response=SimpleNamespace(status_code=status))


def aws(code, status=400, sent_again=0, **response):
    metadata = {"HTTPStatusCode": status, "RetryAttempts": sent_again}
    answer = {"Error": {"Code": code}, "ResponseMetadata": metadata, **response}
    return named("botocore.errorfactory.SomeException", "botocore.exceptions.ClientError", response=answer)


def cancelled(*reasons, **options):
    return aws("TransactionCanceledException", CancellationReasons=[{"Code": code} for code in reasons], **options)


def aiohttp(status, method):
    error = named("aiohttp.ClientResponseError", "aiohttp.client_exceptions.ClientResponseError", status=status)
    error.request_info = SimpleNamespace(method=method)
    return error


def requests(status, *history):
    """As requests and urllib3 keep the requests before the last one."""
    raw = SimpleNamespace(retries=SimpleNamespace(history=tuple(SimpleNamespace(**each) for each in history)))
    return lookalike("requests.exceptions.HTTPError", response=SimpleNamespace(status_code=status, raw=raw))


def mongodb(code, *labels):
    base = "pymongo.errors.PyMongoError"
    return named("pymongo.errors.OperationFailure", base, code=code, has_error_label=labels.__contains__)


def grpc(status):
    return lookalike("grpc.RpcError", code=lambda: SimpleNamespace(name=status))


TRANSIENT = {
    "refused": ConnectionRefusedError(),
    "reset": ConnectionResetError(),
    "a broken pipe": BrokenPipeError(),
    "no socket": FileNotFoundError(errno.ENOENT, "no such socket"),
    "no route": OSError(errno.EHOSTUNREACH, "no route to host"),
    "a timeout": TimeoutError(),
    "asyncio's timeout": asyncio.TimeoutError(),
    "SQLite, busy": sqlite_error(5),
    "SQLite, busy and recovering": sqlite_error(5 | (1 << 8)),
    "SQLite, locked": sqlite_error(6),
    "SQLite, locked, where Python gives no code": sqlite3.OperationalError("database is locked"),
    "SQLAlchemy, invalidated": lookalike("sqlalchemy.exc.DBAPIError", connection_invalidated=True),
    "SQLAlchemy, no connection in the pool": lookalike("sqlalchemy.exc.TimeoutError"),
    "psycopg, lost": lookalike("psycopg.OperationalError", "the connection is lost", sqlstate=None),
    "psycopg, refused": lookalike("psycopg.OperationalError", "connection failed: Connection refused", sqlstate=None),
    "psycopg, starting": lookalike("psycopg.OperationalError", "failed: FATAL:  the database system is starting up"),
    "psycopg, full": lookalike("psycopg.OperationalError", "failed: FATAL:  sorry, too many clients already"),
    "psycopg, no time": lookalike("psycopg.errors.ConnectionTimeout"),
    "psycopg, no connection in the pool": lookalike("psycopg_pool.PoolTimeout"),
    "asyncpg, closed": lookalike("asyncpg.exceptions._base.InterfaceError", "connection is closed"),
    "psycopg2, closed": lookalike("psycopg2.InterfaceError", "connection already closed"),
    "psycopg2, lost": lookalike("psycopg2.OperationalError", "server closed the connection", pgcode=None),
    "MySQL, lost": lookalike("pymysql.err.MySQLError", 2013, "Lost connection to MySQL server during query"),
    "MySQL, waited for a lock": lookalike("mysql.connector.errors.Error", errno=1205),
    "HTTP 503 beside something else of that name": lookalike("mine.ApiError", sqlstate=5, status=503),
    "HTTP 408": http(408),
    "HTTP 429": http(429),
    "HTTP 502": http(502),
    "HTTP 503": http(503),
    "HTTP 504": http(504),
    "httpx, no time": named("httpx.ReadTimeout", "httpx.TimeoutException"),
    "httpx, no connection": named("httpx.ConnectError", "httpx.NetworkError"),
    "httpx, cut off": lookalike("httpx.RemoteProtocolError"),
    "httpx2": named("httpx2.ConnectError", "httpx2.NetworkError"),
    "aiohttp": named("aiohttp.ServerDisconnectedError", "aiohttp.client_exceptions.ClientConnectionError"),
    "aiohttp, cut off": lookalike("aiohttp.client_exceptions.ClientPayloadError"),
    "requests": lookalike("requests.exceptions.ConnectionError"),
    "requests, no time": named("requests.exceptions.ReadTimeout", "requests.exceptions.Timeout"),
    "redis": lookalike("redis.exceptions.ConnectionError"),
    "redis, no time": lookalike("redis.exceptions.TimeoutError"),
    "redis, lost while watching": lookalike(
        "redis.exceptions.WatchError", "A ConnectionError occurred while watching one or more keys"
    ),
    "MongoDB": named("pymongo.errors.NetworkTimeout", "pymongo.errors.AutoReconnect"),
    "MongoDB, a transaction": mongodb(91, "TransientTransactionError"),
    "MongoDB, a commit": mongodb(None, "UnknownTransactionCommitResult"),
    "AWS, no connection": named("botocore.exceptions.EndpointConnectionError", "botocore.exceptions.ConnectionError"),
    "AWS, no time": named("botocore.exceptions.ReadTimeoutError", "botocore.exceptions.HTTPClientError"),
    "AWS, throughput": aws("ProvisionedThroughputExceededException"),
    "AWS, a throttled transaction": aws(
        "TransactionCanceledException", CancellationReasons=[{"Code": "None"}, {"Code": "ThrottlingError"}]
    ),
    "AWS, a condition of a request that was sent again": aws("ConditionalCheckFailedException", sent_again=1),
    "AWS, a transaction that lost its race and was throttled": cancelled("None", "TransactionConflict", "SlowDown"),
    "AWS, the same of a request that was sent again": cancelled("TransactionConflict", "SlowDown", sent_again=1),
    "aiohttp, a condition of a PUT": aiohttp(412, "PUT"),
    "aiohttp, a condition of a DELETE": aiohttp(412, "DELETE"),
    "aiohttp, a condition of a PUT, wrapped": raised_from(lookalike("mine.Error", status=412), aiohttp(412, "PUT")),
    "CouchDB, through aiohttp": raised_from(lookalike("aiocouch.exception.ConflictError"), aiohttp(409, "PUT")),
    "requests, a condition of a request that was sent again": requests(412, {"error": OSError(), "status": None}),
    "eventsourcing on PostgreSQL, whose recorder tries again": raised_from(
        lookalike("eventsourcing.persistence.IntegrityError"), lookalike("psycopg.Error", sqlstate="23505")
    ),
    "Google, stopped retrying": raised_from(
        lookalike("google.api_core.exceptions.RetryError"), lookalike("google.api_core.exceptions.Aborted")
    ),
    "PostgreSQL, a replica": lookalike("psycopg.errors.ReadOnlySqlTransaction", sqlstate="25006"),
    "MySQL, a replica": lookalike(
        "pymysql.err.MySQLError", 1290, "The MySQL server is running with the --read-only option so it cannot execute"
    ),
    "Oracle, lost": lookalike("oracledb.exceptions.Error", SimpleNamespace(full_code="ORA-03113")),
    "no host of that name": socket.gaierror(socket.EAI_NONAME, "Name or service not known"),
    "Tortoise": lookalike("tortoise.exceptions.BaseORMException", lookalike("pymysql.err.MySQLError", 2013, "Lost")),
    "PynamoDB": lookalike("pynamodb.exceptions.PynamoDBException", cause=aws("SlowDown")),
    "AWS, by status": aws("Whatever", status=503),
    "Google": named("google.api_core.exceptions.ServiceUnavailable", "google.api_core.GoogleAPICallError", code=503),
    "google-genai": lookalike("google.genai.errors.APIError", code=429, status="RESOURCE_EXHAUSTED"),
    "gRPC": grpc("UNAVAILABLE"),
    "KurrentDB": lookalike("kurrentdbclient.exceptions.ServiceUnavailableError"),
    "Azure": lookalike("azure.core.exceptions.ServiceResponseError"),
}

LASTING = {
    "a mistake": ValueError("wrong"),
    "a stale session": StaleSessionError("stale"),
    "no file of that name": FileNotFoundError(errno.ENOENT, "No such file or directory", "prompt.txt"),
    "no permission": PermissionError(errno.EACCES, "not yours"),
    "a full disk": OSError(errno.ENOSPC, "disk full"),
    "a wrong certificate": ssl.SSLCertVerificationError(),
    "SQLite, full": sqlite_error(13),
    "SQLite, no table": sqlite_error(1, "no such table: events"),
    "SQLite, where Python gives no code": sqlite3.OperationalError("disk I/O error"),
    "SQLite, a duplicate": sqlite3.IntegrityError("UNIQUE constraint failed: events.id"),
    "psycopg, a wrong password": lookalike("psycopg.OperationalError", "FATAL:  password authentication failed"),
    "psycopg, refused with an SQLSTATE": lookalike("psycopg.OperationalError", "no", sqlstate="28P01"),
    "psycopg, a closed pool": named("psycopg_pool.PoolClosed", "psycopg.OperationalError"),
    "MySQL, a duplicate": lookalike("pymysql.err.MySQLError", 1062, "Duplicate entry"),
    "HTTP 400": http(400),
    "HTTP 409": http(409),
    "HTTP 412": http(412),
    "HTTP 500": http(500),
    "requests, a condition after a redirect": requests(412, {"error": None, "redirect_location": "/there"}),
    "aiohttp, a condition of a POST": aiohttp(412, "POST"),
    "aiohttp, another status of a PUT": aiohttp(404, "PUT"),
    "an answer of one's own": lookalike("starlette.exceptions.HTTPException", status_code=503),
    "MySQL, another option": lookalike("pymysql.err.MySQLError", 1290, "running with the --secure-file-priv option"),
    "eventsourcing, a lost race": lookalike("eventsourcing.persistence.IntegrityError"),
    "Oracle, a wrong password": lookalike("oracledb.exceptions.Error", SimpleNamespace(full_code="ORA-01017")),
    "httpx, a wrong URL": lookalike("httpx.UnsupportedProtocol"),
    "httpx, a wrong certificate": raised_from(
        named("httpx.ConnectError", "httpx.NetworkError"), ssl.SSLCertVerificationError()
    ),
    "httpcore, a wrong certificate": raised_from(
        named("httpx.ConnectError", "httpx.NetworkError"),
        lookalike("httpcore.ConnectError", ssl.SSLCertVerificationError()),
    ),
    "asyncpg, a mistake": lookalike("asyncpg.exceptions._base.InterfaceError", "another operation is in progress"),
    "redis, a wrong password": named("redis.exceptions.AuthenticationError", "redis.exceptions.ConnectionError"),
    "redis, a lost race": lookalike("redis.exceptions.WatchError", "Watched variable changed."),
    "requests, TLS": named("requests.exceptions.SSLError", "requests.exceptions.ConnectionError"),
    "MongoDB, a duplicate": mongodb(11000),
    "AWS, a condition": aws("ConditionalCheckFailedException"),
    "AWS, a mistake": aws("ValidationException"),
    "AWS, a mistake that was sent again": aws("ValidationException", sent_again=1),
    "Google's rejection": lookalike("google.api_core.exceptions.Aborted"),
    "gRPC's rejection": grpc("ABORTED"),
    "text": RuntimeError("503 Service Unavailable, connection reset, 57P01, database is locked"),
    "a class": SimpleNamespace,
}


@pytest.mark.parametrize("state", TRANSIENT_SQLSTATES.split())
def test_a_sqlstate_that_may_not_come_again_is_transient(state):
    assert is_transient_error(lookalike("any.driver.Error", sqlstate=state))
    assert is_transient_error(lookalike("any.driver.Error", pgcode=state))


@pytest.mark.parametrize("state", LASTING_SQLSTATES.split())
def test_a_sqlstate_that_will_come_again_is_not(state):
    assert not is_transient_error(lookalike("any.driver.Error", sqlstate=state))


MYSQL_CODES = (1040, 1053, 1205, 1213, 1317, 1927, 1969, 2002, 2003, 2006, 2013, 2055, 3024, 3572, 4031)


@pytest.mark.parametrize("code", MYSQL_CODES)
def test_a_mysql_code_that_may_not_come_again_is_transient(code):
    assert is_transient_error(lookalike("pymysql.err.MySQLError", code, "from the server"))
    assert is_transient_error(lookalike("mysql.connector.errors.Error", errno=code))


ORACLE_CODES = "ORA-03113 ORA-03114 ORA-03135 ORA-12541 DPY-4011 DPY-4024 DPY-6000 DPY-6001 DPY-6005"
NO_CONNECTION_TO_ORACLE = "ORA-12541 DPY-6000 DPY-6001 DPY-6005"


@pytest.mark.parametrize("code", ORACLE_CODES.split())
def test_an_oracle_code_that_may_not_come_again_is_transient_and_proves_something_if_no_connection_was_made(code):
    error = lookalike("oracledb.exceptions.Error", SimpleNamespace(full_code=code))
    assert is_transient_error(error)
    assert leaves_doubt(error) is (code not in NO_CONNECTION_TO_ORACLE.split())


@pytest.mark.parametrize("status", ["DEADLINE_EXCEEDED", "RESOURCE_EXHAUSTED", "UNAVAILABLE"])
def test_a_grpc_status_that_may_not_come_again_is_transient_and_leaves_doubt(status):
    assert is_transient_error(grpc(status))
    assert leaves_doubt(grpc(status))


@pytest.mark.parametrize("code", TRANSIENT_AWS_CODES.split())
def test_an_aws_code_that_may_not_come_again_is_transient(code):
    assert is_transient_error(aws(code))


@pytest.mark.parametrize("name", TRANSIENT_CLASSES.split())
def test_a_class_of_lost_connections_and_answers_is_transient_in_its_package_only(name):
    assert is_transient_error(lookalike(name))
    assert not is_transient_error(lookalike(f"mine.{name}"))


@pytest.mark.parametrize("name", LASTING_CLASSES.split())
def test_a_class_of_refusals_is_not_transient_though_its_library_counts_it_as_a_lost_connection(name):
    assert not is_transient_error(named(name, "requests.exceptions.ConnectionError"))


@pytest.mark.parametrize("name", TRANSIENT)
def test_what_may_not_come_again_is_transient(name):
    assert is_transient_error(TRANSIENT[name])


@pytest.mark.parametrize("name", LASTING)
def test_what_will_come_again_is_not_and_neither_is_a_rejection(name):
    assert not is_transient_error(LASTING[name])


@pytest.mark.parametrize("name", TRANSIENT)
def test_a_rejection_is_what_is_known_to_be_one_and_no_lost_answer(name):
    """Who took a lost answer for a rejection would store the event twice."""
    assert not is_conflict_error(TRANSIENT[name])


@pytest.mark.parametrize("name", TRANSIENT)
def test_what_an_error_was_raised_from_counts(name):
    assert is_transient_error(raised_from(RuntimeError(), raised_from(KeyError(), TRANSIENT[name])))
    for wrapper in ("sqlalchemy.exc.DBAPIError", "peewee.PeeweeException"):
        assert is_transient_error(lookalike(wrapper, orig=TRANSIENT[name]))
    assert is_transient_error(lookalike("tortoise.exceptions.BaseORMException", TRANSIENT[name]))
    assert is_transient_error(lookalike("pynamodb.exceptions.PynamoDBException", cause=TRANSIENT[name]))


@pytest.mark.parametrize("name", TRANSIENT)
def test_what_was_being_handled_when_an_error_was_raised_does_not_count(name):
    error = ValueError("a mistake in an error handler")
    error.__context__ = TRANSIENT[name]
    assert not is_transient_error(error)


@pytest.mark.parametrize("kind", [AttemptsExhaustedError, InDoubtError])
def test_what_a_decorated_call_gave_up_with_is_not_transient(kind):
    end = raised_from(kind("gave up", attempts=9, elapsed=90.0, last_error=TimeoutError()), TimeoutError())
    assert not is_transient_error(end)
    assert not is_transient_error(raised_from(ConnectionResetError(), end))


def test_a_chain_that_bites_its_own_tail_comes_to_an_end():
    first, second = RuntimeError(), RuntimeError()
    first.__cause__, second.__cause__ = second, first
    assert not is_transient_error(first)


def test_a_group_of_conflicts_and_transient_errors_is_transient():
    """Each half of `retry_if_conflict() | retry_if_transient()` would accept its part alone."""
    mixed = ExceptionGroup("", [StaleSessionError(), ConnectionResetError()])
    assert is_transient_error(mixed)
    assert is_transient_error(raised_from(RuntimeError(), mixed))
    assert is_transient_error(ExceptionGroup("", [StaleSessionError(), mixed]))
    assert leaves_doubt(mixed)
    assert not is_conflict_error(mixed)
    assert not is_transient_error(ExceptionGroup("", [StaleSessionError(), StaleSessionError()]))
    assert not is_transient_error(ExceptionGroup("", [StaleSessionError(), ConnectionResetError(), KeyError()]))


def test_a_group_is_transient_when_all_its_leaves_are():
    assert is_transient_error(
        ExceptionGroup("all", [TimeoutError(), ExceptionGroup("inner", [ConnectionResetError()])])
    )
    assert not is_transient_error(ExceptionGroup("one of them", [TimeoutError(), ValueError()]))


@pytest.mark.parametrize("make", HOSTILE, ids=lambda make: make.__name__)
def test_an_error_whose_own_code_fails_is_not_transient_and_nothing_is_raised(make):
    assert is_transient_error(make()) is False


@given(st.text())
def test_no_text_makes_an_error_transient(text):
    assert not is_transient_error(RuntimeError(text))


NOTHING_RAN = {
    "refused": ConnectionRefusedError(),
    "no socket": FileNotFoundError(errno.ENOENT, "no such socket"),
    "no host of that name": socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution"),
    "SQLite, busy": sqlite_error(5),
    "SQLite, locked": sqlite_error(6),
    "SQLAlchemy, no connection in the pool": lookalike("sqlalchemy.exc.TimeoutError"),
    "SQLAlchemy, refused": lookalike("sqlalchemy.exc.OperationalError", orig=ConnectionRefusedError()),
    "asyncpg, full": lookalike("asyncpg.exceptions.TooManyConnectionsError", sqlstate="53300"),
    "psycopg, a lock": lookalike("psycopg.errors.LockNotAvailable", sqlstate="55P03"),
    "psycopg2, starting": lookalike("psycopg2.errors.CannotConnectNow", pgcode="57P03"),
    "psycopg, no connection in the pool": lookalike("psycopg_pool.PoolTimeout"),
    "psycopg, refused": lookalike(
        "psycopg.OperationalError", 'connection failed: connection to server at "127.0.0.1", port 1 failed: refused'
    ),
    "psycopg, no socket": lookalike(
        "psycopg.OperationalError", 'connection is bad: connection to server on socket "/tmp/.s.PGSQL.5432" failed: No'
    ),
    "psycopg2, refused": lookalike(
        "psycopg2.OperationalError", 'connection to server at "127.0.0.1", port 1 failed: Connection refused'
    ),
    "psycopg, no host": lookalike("psycopg.OperationalError", "failed to resolve host 'db': Name or service not known"),
    "psycopg, no time to connect": lookalike("psycopg.errors.ConnectionTimeout"),
    "MySQL, full": lookalike("pymysql.err.MySQLError", 1040, "Too many connections"),
    "MySQL, a replica": TRANSIENT["MySQL, a replica"],
    "MySQL, refused": lookalike("pymysql.err.MySQLError", 2003, "Can't connect to MySQL server"),
    "MySQL, waited for a lock": lookalike("pymysql.err.MySQLError", 1205, "Lock wait timeout exceeded"),
    "HTTP 429": http(429),
    "httpx, refused": raised_from(named("httpx.ConnectError", "httpx.NetworkError"), ConnectionRefusedError()),
    "httpx, no time to connect": raised_from(named("httpx.ConnectTimeout", "httpx.TimeoutException"), TimeoutError()),
    "httpx, no connection in the pool": named("httpx.PoolTimeout", "httpx.TimeoutException"),
    "no address": OSError("Multiple exceptions: [Errno 111] Connect call failed ('::1', 1), [Errno 111] Connect call"),
    "psycopg, too many wait for the pool": lookalike("psycopg_pool.TooManyRequests"),
    "redis, no connection in time": raised_from(
        lookalike("redis.exceptions.ConnectionError", "No connection available."), TimeoutError()
    ),
    "redis, no connection in the pool": named(
        "redis.exceptions.MaxConnectionsError", "redis.exceptions.ConnectionError"
    ),
    "MongoDB, no server": named("pymongo.errors.ServerSelectionTimeoutError", "pymongo.errors.AutoReconnect"),
    "MongoDB, an aborted transaction": mongodb(91, "TransientTransactionError"),
    "Oracle, refused": lookalike("oracledb.exceptions.Error", SimpleNamespace(full_code="DPY-6005")),
    "Neo4j, no connection in the pool": lookalike("neo4j.exceptions.ConnectionAcquisitionTimeoutError"),
    "Couchbase, never carried out": lookalike("couchbase.exceptions.UnAmbiguousTimeoutException"),
    "AWS, throttled": aws("ThrottlingException"),
    "AWS, a transaction that lost its race and was throttled": cancelled("TransactionConflict", "ThrottlingError"),
}

IN_DOUBT = {
    "reset": ConnectionResetError(),
    "a timeout": TimeoutError(),
    "a timeout after a refused connection": raised_from(TimeoutError(), ConnectionRefusedError()),
    "no route": OSError(errno.EHOSTUNREACH, "no route to host"),
    "PostgreSQL, unknown": lookalike("psycopg.errors.StatementCompletionUnknown", sqlstate="40003"),
    "PostgreSQL, shut down": lookalike("asyncpg.exceptions.AdminShutdownError", sqlstate="57P01"),
    "asyncpg, lost": lookalike("asyncpg.exceptions.ConnectionDoesNotExistError", sqlstate="08003"),
    "psycopg, lost": lookalike("psycopg.OperationalError", "the connection is lost"),
    "psycopg, lost and quoted": lookalike("psycopg.OperationalError", "lost: connection to server at ... failed"),
    "SQLAlchemy, invalidated": lookalike(
        "sqlalchemy.exc.DBAPIError", connection_invalidated=True, orig=ConnectionRefusedError()
    ),
    "MySQL, lost": lookalike("pymysql.err.MySQLError", 2013, "Lost connection to MySQL server during query"),
    "HTTP 503": http(503),
    "HTTP 429 to a client that sends again": named("openai.RateLimitError", "openai.APIError", status_code=429),
    "elasticsearch, refused": raised_from(
        named("elastic_transport.ConnectionError", "elastic_transport.TransportError"), ConnectionRefusedError()
    ),
    "OpenSearch, too often": named("opensearchpy.TransportError", "opensearchpy.OpenSearchException", status_code=429),
    "Kubernetes, too often": lookalike("kubernetes.client.exceptions.ApiException", status=429),
    "httpx, no answer": named("httpx.ReadTimeout", "httpx.TimeoutException"),
    "aiohttp, refused": raised_from(
        named("aiohttp.ClientConnectorError", "aiohttp.client_exceptions.ClientConnectionError"),
        ConnectionRefusedError(),
    ),
    "redis, refused": raised_from(lookalike("redis.exceptions.ConnectionError"), ConnectionRefusedError()),
    "AWS, throttled when a request was sent again": aws("ThrottlingException", sent_again=1),
    "AWS, a condition of a request that was sent again": aws("ConditionalCheckFailedException", sent_again=1),
    "AWS, the same of a transaction": cancelled("TransactionConflict", "ThrottlingError", sent_again=1),
    "aiohttp, a condition of a PUT": TRANSIENT["aiohttp, a condition of a PUT"],
    "CouchDB, through aiohttp": TRANSIENT["CouchDB, through aiohttp"],
    "requests, sent again": TRANSIENT["requests, a condition of a request that was sent again"],
    "requests, too often, and sent before": requests(429, {"error": OSError(), "redirect_location": None}),
    "eventsourcing on PostgreSQL": TRANSIENT["eventsourcing on PostgreSQL, whose recorder tries again"],
    "openai, refused": raised_from(
        named("openai.APIConnectionError", "openai.APIError"),
        raised_from(named("httpx.ConnectError", "httpx.NetworkError"), ConnectionRefusedError()),
    ),
    "MongoDB, a commit without an answer": mongodb(91, "UnknownTransactionCommitResult"),
    "MongoDB, a commit and then no server": named(
        "pymongo.errors.ServerSelectionTimeoutError",
        "pymongo.errors.PyMongoError",
        has_error_label="UnknownTransactionCommitResult".__eq__,
    ),
    "MongoDB, no connection in the pool": lookalike("pymongo.errors.WaitQueueTimeoutError"),
}


@pytest.mark.parametrize("name", NOTHING_RAN)
def test_an_error_that_proves_that_nothing_ran_is_transient_and_leaves_no_doubt(name):
    assert is_transient_error(NOTHING_RAN[name])
    assert not leaves_doubt(NOTHING_RAN[name])
    assert not leaves_doubt(raised_from(RuntimeError(), NOTHING_RAN[name]))


@pytest.mark.parametrize("name", IN_DOUBT)
def test_an_error_after_which_the_event_may_be_stored_leaves_doubt(name):
    """A refused connection proves nothing where the client may have sent the request before."""
    assert leaves_doubt(IN_DOUBT[name])
    assert leaves_doubt(raised_from(RuntimeError(), IN_DOUBT[name]))


@pytest.mark.parametrize("error", [StaleSessionError(), *LASTING.values()], ids=repr)
def test_an_error_that_is_not_transient_leaves_no_doubt(error):
    assert not leaves_doubt(error)


@pytest.mark.parametrize("state", ["40001", "40P01"])
def test_a_conflict_leaves_no_doubt_although_it_is_transient(state):
    error = lookalike("asyncpg.exceptions.SerializationError", sqlstate=state)
    assert is_transient_error(error)
    assert is_conflict_error(error)
    assert not leaves_doubt(error)


def test_a_group_leaves_doubt_when_one_of_its_leaves_does():
    refused, lost = ConnectionRefusedError(), ConnectionResetError()
    assert leaves_doubt(ExceptionGroup("", [refused, ExceptionGroup("", [StaleSessionError(), lost])]))
    assert leaves_doubt(raised_from(RuntimeError(), ExceptionGroup("", [refused, lost])))
    assert not leaves_doubt(ExceptionGroup("", [refused, StaleSessionError()]))
    assert not leaves_doubt(raised_from(RuntimeError(), ExceptionGroup("", [refused])))


@pytest.mark.asyncio
async def test_a_host_that_refuses_at_all_its_addresses_is_transient_and_leaves_no_doubt(monkeypatch):
    with contextlib.closing(socket.socket()) as reserved:
        reserved.bind(("127.0.0.1", 0))
        port = reserved.getsockname()[1]

        async def two_addresses(*args, **options):
            stream = (socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "")
            return [(*stream, (address, port)) for address in ("127.0.0.1", "127.0.0.2")]

        monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", two_addresses)
        with pytest.raises(OSError, match="Multiple exceptions") as caught:
            await asyncio.open_connection("store", port)
    assert is_transient_error(caught.value)
    assert not leaves_doubt(caught.value)


def test_what_a_decorated_call_gave_up_with_leaves_no_doubt_of_the_call_around_it():
    end = raised_from(InDoubtError("gave up", attempts=9, elapsed=90.0, last_error=TimeoutError()), TimeoutError())
    assert not leaves_doubt(end)


@pytest.mark.parametrize("make", HOSTILE, ids=lambda make: make.__name__)
def test_an_error_whose_own_code_fails_leaves_no_doubt_and_nothing_is_raised(make):
    assert leaves_doubt(make()) is False


@pytest.mark.parametrize("error", [StaleSessionError(), TimeoutError(), KeyError()], ids=repr)
def test_it_composes_with_other_strategies(error):
    state = RetryCallState(None, None, (), {})
    state.set_exception((type(error), error, None))
    either = retry_if_stale_session() | retry_if_transient()
    assert either(state) is not isinstance(error, KeyError)
    assert (either | retry_if_exception_type(KeyError))(state)


@pytest.mark.parametrize(
    "code", ["PreconditionFailed", "ConditionalRequestConflict", "ConditionalCheckFailedException"]
)
def test_a_refusal_of_s3_that_aiobotocore_raised_is_in_doubt(code):
    """aiohttp may have sent its PUT before. DynamoDB has POSTs only, which aiohttp does not send again."""
    aiobotocore = {"__name__": "aiobotocore.client"}
    exec("def raises(error): raise error", aiobotocore)
    with pytest.raises(Exception) as caught:
        aiobotocore["raises"](aws(code))
    of_s3 = code != "ConditionalCheckFailedException"
    assert is_transient_error(caught.value) is of_s3
    assert leaves_doubt(caught.value) is of_s3
    assert is_conflict_error(caught.value) is not of_s3
    assert is_conflict_error(aws(code))


def test_it_looks_at_the_error_only_and_can_be_pickled():
    assert retry_if_transient.__call__ is retry_if_exception.__call__
    assert pickle.loads(pickle.dumps(retry_if_transient())).predicate is is_transient_error
