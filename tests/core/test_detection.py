"""Which errors mean "rejected": in every release of google-adk, and in the stores that other people have."""

import pickle
import sys
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tenacity import RetryCallState, retry_if_exception, retry_if_exception_type

from stale_retry.detection import (
    grpc_status,
    http_status,
    is_conflict_error,
    is_stale_session_error,
    retry_if_conflict,
    retry_if_stale_session,
    sqlstate,
    unique_violation,
)
from stale_retry.errors import (
    AttemptsExhaustedError,
    DeadlineExceededError,
    InDoubtError,
    SessionGoneError,
    SessionRefreshError,
    StaleSessionError,
    StaleSessionRetryError,
)

from .lookalikes import HOSTILE, lookalike

if sys.version_info < (3, 11):
    from exceptiongroup import BaseExceptionGroup, ExceptionGroup

WORDS = {
    "0.5, DatabaseSessionService": (
        "Session last_update_time 2025-05-16 10:00:00 is later than the update_time in storage 2025-05-16 09:59:59"
    ),
    "1.0 to 1.23, DatabaseSessionService": (
        "The last_update_time provided in the session object '2025-11-01 10:00:00' is earlier than the update_time in "
        "the storage_session '2025-11-01 10:00:01'. Please check if it is a stale session."
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

GIVE_UPS = [
    StaleSessionRetryError,
    AttemptsExhaustedError,
    DeadlineExceededError,
    InDoubtError,
    SessionGoneError,
    SessionRefreshError,
    InDoubtError,
]


def gave_up(kind=AttemptsExhaustedError, last_error=None):
    return kind("gave up", attempts=1, elapsed=0.0, last_error=last_error or StaleSessionError())


def another_stores(base):
    """As google-adk 2.7 has it, and its MongoDB and Firestore services: a class of that name, from another package."""
    return type("StaleSessionError", (base,), {"__module__": "google.adk.errors"})


def raised_from(error, cause):
    error.__cause__ = cause
    return error


def says(strategy, error):
    state = RetryCallState(None, None, (), {})
    state.set_exception((type(error), error, None))
    return strategy(state)


class TestStale:
    @pytest.mark.parametrize("release", WORDS)
    def test_a_plain_value_error_in_the_words_of_a_release_is(self, release):
        assert is_stale_session_error(ValueError(WORDS[release]))

    @pytest.mark.parametrize("release", WORDS)
    def test_the_same_words_in_another_error_are_not(self, release):
        assert not is_stale_session_error(RuntimeError(WORDS[release]))

    @pytest.mark.parametrize("release", WORDS)
    def test_the_same_words_in_a_subclass_of_value_error_are_not(self, release):
        """pydantic's ValidationError is a ValueError, and quotes what the user wrote."""
        assert not is_stale_session_error(type("ValidationError", (ValueError,), {})(WORDS[release]))

    @pytest.mark.parametrize("release", WORDS)
    def test_words_that_are_quoted_behind_others_are_not(self, release):
        assert not is_stale_session_error(ValueError(f"not a number: {WORDS[release]!r}"))

    @given(st.text())
    def test_no_other_text_is(self, text):
        assert not is_stale_session_error(ValueError(text))

    @pytest.mark.parametrize(
        "error",
        [
            ValueError(),
            ValueError("stale"),
            ValueError("Session not found"),
            KeyError("session"),
            Exception("StaleSessionError"),
            TimeoutError(),
        ],
    )
    def test_other_errors_are_not(self, error):
        assert not is_stale_session_error(error)

    def test_our_own_error_and_its_children_are(self):
        class Child(StaleSessionError):
            pass

        assert is_stale_session_error(StaleSessionError())
        assert is_stale_session_error(Child())

    @pytest.mark.parametrize("base", [ValueError, Exception, RuntimeError])
    def test_any_class_of_that_name_is_and_so_are_its_children(self, base):
        theirs = another_stores(base)
        child = type("MongoStaleSessionError", (theirs,), {})
        assert is_stale_session_error(theirs("whatever it says"))
        assert is_stale_session_error(child("whatever it says"))

    @pytest.mark.parametrize("kind", GIVE_UPS)
    def test_giving_up_is_not(self, kind):
        assert not is_stale_session_error(gave_up(kind))

    def test_what_was_raised_from_a_stale_error_is_not(self):
        assert not is_stale_session_error(raised_from(RuntimeError(), StaleSessionError()))


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

    @pytest.mark.parametrize("judge", [is_stale_session_error, is_conflict_error])
    @pytest.mark.parametrize("exceptions", [(), None, 1])
    def test_that_hold_nothing_are_not(self, judge, exceptions):
        odd = type("StaleSessionError", (ExceptionGroup,), {"exceptions": exceptions})
        assert not judge(odd("", [StaleSessionError()]))

    @pytest.mark.parametrize("judge", [is_stale_session_error, is_conflict_error])
    def test_that_hold_themselves_are_not(self, judge):
        odd = type("Odd", (ExceptionGroup,), {"exceptions": property(lambda self: (self,))})
        assert not judge(odd("", [StaleSessionError()]))

    @pytest.mark.parametrize("judge", [is_stale_session_error, is_conflict_error])
    @pytest.mark.parametrize("kind", GIVE_UPS)
    def test_with_a_call_that_gave_up_are_not(self, judge, kind):
        assert not judge(ExceptionGroup("", [StaleSessionError(), gave_up(kind)]))

    def test_are_conflicts_when_all_their_leaves_are(self):
        conflicts = [StaleSessionError(), raised_from(RuntimeError(), CONFLICTS["SQLAlchemy"])]
        assert is_conflict_error(ExceptionGroup("", conflicts))
        assert is_conflict_error(ExceptionGroup("", [ExceptionGroup("", conflicts), CONFLICTS["redis"]]))
        assert not is_conflict_error(ExceptionGroup("", [*conflicts, TimeoutError()]))

    def test_count_as_what_an_error_was_raised_from(self):
        assert is_conflict_error(raised_from(RuntimeError(), ExceptionGroup("", [CONFLICTS["redis"]])))
        assert not is_conflict_error(raised_from(RuntimeError(), ExceptionGroup("", [CONFLICTS["redis"], KeyError()])))


CLIENT_ERROR = type("ClientError", (Exception,), {"__module__": "botocore.exceptions"})


def aws(code, status=400, sent_again=0, **response):
    metadata = {"HTTPStatusCode": status, "RetryAttempts": sent_again}
    answer = {"Error": {"Code": code}, "ResponseMetadata": metadata, **response}
    return lookalike("botocore.errorfactory.SomeException", bases=(CLIENT_ERROR,), response=answer)


def cancelled(*reasons):
    return aws("TransactionCanceledException", CancellationReasons=[{"Code": reason} for reason in reasons])


PYMONGO_ERROR = type("PyMongoError", (Exception,), {"__module__": "pymongo.errors"})
OPERATION_FAILURE = type("OperationFailure", (PYMONGO_ERROR,), {"__module__": "pymongo.errors"})


def mongodb(code, *labels, **details):
    attributes = {"code": code, "has_error_label": labels.__contains__, "details": details}
    return lookalike("pymongo.errors.WriteError", bases=(OPERATION_FAILURE,), **attributes)


def mongodb_bulk(*codes, labels=(), **details):
    details["writeErrors"] = [{"code": code, "errmsg": DUPLICATE} for code in codes]
    attributes = {"code": 65, "has_error_label": labels.__contains__, "details": details}
    return lookalike("pymongo.errors.BulkWriteError", bases=(OPERATION_FAILURE,), **attributes)


DUPLICATE = (
    'E11000 duplicate key error collection: db.events index: one_version dup key: { stream: "index: x dup key" }'
)


def beanie(key):
    error = lookalike("beanie.exceptions.RevisionIdWasChanged")
    error.__context__ = mongodb(11000, keyPattern=key)
    return error


def neo4j(code):
    return lookalike("neo4j.exceptions.Neo4jError", code=code)


def oracle(code, said="..."):
    return lookalike(
        "oracledb.exceptions.Error", lookalike("oracledb.errors._Error", f"{code}: {said}", full_code=code)
    )


def pyodbc(state, said):
    return lookalike("pyodbc.Error", state, f"[{state}] [Microsoft][ODBC Driver 18 for SQL Server][SQL Server]{said}")


def pytds(code, said="from the server"):
    return lookalike("pytds.tds_base.DatabaseError", said, None, number=code, text=said)


def pymssql(code, said=b"from the server"):
    return lookalike("pymssql.exceptions.Error", code, said)


def postgrest(code, message=""):
    return lookalike("postgrest.exceptions.APIError", code=code, message=message)


def sqlite(text):
    return lookalike("sqlite3.IntegrityError", text)


def sqlite_code(code):
    return lookalike("sqlite3.OperationalError", "database is locked", sqlite_errorcode=code)


def aiohttp(status, method):
    request = SimpleNamespace(method=method)
    return lookalike("aiohttp.client_exceptions.ClientResponseError", status=status, request_info=request)


def azure(code):
    return lookalike("azure.core.exceptions.HttpResponseError", status_code=412, error_code=code)


def grpc(status):
    return lookalike("grpc.RpcError", code=lambda: SimpleNamespace(name=status))


CONFLICTS = {
    "SQLAlchemy": lookalike("sqlalchemy.orm.exc.StaleDataError", "UPDATE ... expected to update 1 row(s); 0 matched."),
    "asyncpg": lookalike("asyncpg.exceptions.SerializationError", sqlstate="40001"),
    "psycopg": lookalike("psycopg.errors.DeadlockDetected", sqlstate="40P01"),
    "psycopg2": lookalike("psycopg2.errors.SerializationFailure", pgcode="40001"),
    "pyodbc": lookalike("pyodbc.Error", "40001", "[40001] deadlock victim"),
    "pg8000": lookalike("pg8000.exceptions.Error", {"C": "40001", "M": "could not serialize access"}),
    "pymysql": lookalike("pymysql.err.MySQLError", 1213, "Deadlock found when trying to get lock"),
    "MySQL Connector": lookalike("mysql.connector.errors.Error", errno=1213),
    "redis": lookalike("redis.exceptions.WatchError", "Watched variable changed."),
    "valkey": lookalike("valkey.exceptions.WatchError", "Watched variable changed."),
    "NATS": lookalike("nats.js.errors.APIError", err_code=10071),
    "NATS, without a number": lookalike("nats.js.errors.APIError", err_code=10164),
    "NATS key-value": lookalike("nats.js.errors.KeyWrongLastSequenceError"),
    "KurrentDB": lookalike("kurrentdbclient.exceptions.WrongCurrentVersionError"),
    "KurrentDB, consistency checks": lookalike("kurrentdbclient.exceptions.ConsistencyChecksFailedError"),
    "KurrentDB before 1.3": lookalike("kurrentdbclient.exceptions.WrongCurrentVersion"),
    "EventStoreDB": lookalike("esdbclient.exceptions.WrongCurrentVersion"),
    "eventsourcing": lookalike("eventsourcing.persistence.IntegrityError", "UNIQUE constraint failed: stored_events.a"),
    "DynamoDB": aws("ConditionalCheckFailedException"),
    "DynamoDB, a transaction elsewhere": aws("TransactionConflictException"),
    "DynamoDB, a transaction": cancelled("None", "ConditionalCheckFailed", None, "TransactionConflict"),
    "DynamoDB, another region": aws("ReplicatedWriteConflictException"),
    "S3": aws("PreconditionFailed", status=412),
    "S3, without a status": aws("PreconditionFailed"),
    "S3, under way": aws("ConditionalRequestConflict", status=409),
    "Cosmos": lookalike("azure.cosmos.exceptions.CosmosAccessConditionFailedError"),
    "Azure": lookalike("azure.core.exceptions.ResourceModifiedError", status_code=412),
    "httpx": lookalike("httpx.HTTPStatusError", response=SimpleNamespace(status_code=412)),
    "aiohttp": lookalike("aiohttp.client_exceptions.ClientResponseError", status=412),
    "HTTP, beside something else of that name": lookalike(
        "mine.ApiError", status=True, response=SimpleNamespace(status_code=412)
    ),
    "a2a-sdk": lookalike("a2a.server.cluster.task_store.ConcurrentTaskModificationError"),
    "pydantic-ai": lookalike("pydantic_ai.conversation_store.ConversationConflict"),
    "Google": lookalike("google.api_core.exceptions.Aborted"),
    "Firestore": raised_from(
        ValueError("Failed to commit transaction in 5 attempts."), lookalike("google.api_core.exceptions.Aborted")
    ),
    "gRPC": grpc("ABORTED"),
    "google-genai": lookalike("google.genai.errors.APIError", code=409, status="ABORTED"),
    "Google, by its gRPC status": lookalike(
        "google.api_core.GoogleAPICallError", code=409, grpc_status_code=SimpleNamespace(name="ABORTED")
    ),
    "MongoDB": mongodb(112, "TransientTransactionError"),
    "MongoDB, many writes": mongodb_bulk(112, nInserted=0),
    "MongoDB, many writes in a transaction": mongodb_bulk(112, nInserted=2, labels=["TransientTransactionError"]),
    "MongoDB, an aborted transaction": mongodb(251, "TransientTransactionError"),
    "Beanie": lookalike("beanie.exceptions.RevisionIdWasChanged"),
    "Beanie, when it inserts": beanie({"_id": 1}),
    "MariaDB, snapshot isolation": lookalike("pymysql.err.MySQLError", 1020, "Record has changed since last read"),
    "MySQL, group replication": lookalike("mysql.connector.errors.Error", errno=3101),
    "TiDB": lookalike("asyncmy.errors.MySQLError", 9007, "Write conflict"),
    "TiDB, at the commit": lookalike("MySQLdb.MySQLError", 8022, "can not retry"),
    "SQLite, a snapshot that is too old": sqlite_code(517),
    "SQL Server, pyodbc": pyodbc("42000", "Snapshot isolation transaction aborted. (3960) (SQLExecDirectW)"),
    "SQL Server, pyodbc, several messages": pyodbc("42000", "Aborted. (3960) (SQLExecDirectW); [01000] More. (3621)"),
    "SQL Server, pytds": pytds(3960),
    "SQL Server, pytds, a deadlock": pytds(1205),
    "SQL Server, pymssql": pymssql(3960),
    "SQL Server, pymssql, a deadlock": lookalike("pymssql.exceptions.Error", (1205, b"deadlocked")),
    "SQL Server, a memory-optimized table": pytds(41302),
    "Oracle": oracle("ORA-08177", "can't serialize access for this transaction"),
    "Oracle, a deadlock": oracle("ORA-00060", "deadlock detected"),
    "Neo4j": neo4j("Neo.TransientError.Transaction.DeadlockDetected"),
    "Gel": lookalike("gel.errors.TransactionConflictError"),
    "EdgeDB": lookalike("edgedb.errors.TransactionConflictError"),
    "ZooKeeper": lookalike("kazoo.exceptions.BadVersionError"),
    "Couchbase": lookalike("couchbase.exceptions.CasMismatchException"),
    "Couchbase before 4.6": lookalike("couchbase.exceptions.CASMismatchException"),
    "CouchDB": lookalike("aiocouch.exception.ConflictError", "Document with the specified ID (a) already exists or"),
    "coredis": lookalike("coredis.exceptions.WatchError"),
    "Cassandra": lookalike("cassandra.cqlengine.query.LWTException"),
    "django-concurrency": lookalike("concurrency.exceptions.RecordModifiedError"),
    "kopf": lookalike("kopf._cogs.clients.errors.APIConflictError", "changed", {"reason": "Conflict"}),
    "PostgREST": postgrest("40001"),
    "message-db": lookalike(
        "psycopg.errors.RaiseException",
        "Wrong expected version: 3 (Stream: chat-1, Stream Version: 4)",
        sqlstate="P0001",
    ),
    "message-db, pg8000": lookalike(
        "pg8000.exceptions.Error", {"C": "P0001", "M": "Wrong expected version: -1 (Stream: chat-1, Stream Version: 0)"}
    ),
    "Tortoise": lookalike(
        "tortoise.exceptions.BaseORMException", lookalike("pymysql.err.MySQLError", 1213, "Deadlock")
    ),
    "Peewee": lookalike("peewee.PeeweeException", orig=lookalike("psycopg2.Error", pgcode="40001")),
    "PynamoDB": lookalike("pynamodb.exceptions.PynamoDBException", cause=aws("ConditionalCheckFailedException")),
    "aiohttp, a POST": aiohttp(412, "POST"),
    "Azure, a blob that changed": azure("ConditionNotMet"),
}

OWN_ANSWERS = (
    "aiohttp.web_exceptions.HTTPException",
    "bottle.HTTPError",
    "fastapi.exceptions.HTTPException",
    "litestar.exceptions.HTTPException",
    "ninja.errors.HttpError",
    "rest_framework.exceptions.APIException",
    "sanic.exceptions.SanicException",
    "starlette.exceptions.HTTPException",
    "tornado.web.HTTPError",
    "werkzeug.exceptions.HTTPException",
)

NEAR_MISSES = {
    "a timeout": TimeoutError(),
    "a lost connection": ConnectionResetError(),
    "no row": lookalike("sqlalchemy.exc.NoResultFound"),
    "a class of that name in another package": lookalike("mine.StaleDataError"),
    "a package whose name begins alike": lookalike("sqlalchemy_utils.StaleDataError"),
    "a duplicate": lookalike(
        "asyncpg.exceptions.UniqueViolationError", sqlstate="23505", constraint_name="events_pkey"
    ),
    "another SQLSTATE": lookalike("psycopg2.errors.QueryCanceled", pgcode="57014"),
    "no SQLSTATE": lookalike("psycopg.OperationalError", "the connection is lost", sqlstate=None),
    "pyodbc without arguments": lookalike("pyodbc.Error"),
    "MySQL, a duplicate": lookalike("pymysql.err.MySQLError", 1062, "Duplicate entry '1213' for key 'PRIMARY'"),
    "MySQL without a number": lookalike("asyncmy.errors.MySQLError", "1213"),
    "redis lost its connection while watching": lookalike(
        "redis.exceptions.WatchError", "A ConnectionError occurred while watching one or more keys"
    ),
    "redis 5 lost its connection while watching": lookalike(
        "redis.exceptions.WatchError", "A TimeoutError occurred on while watching one or more keys"
    ),
    "NATS, another number": lookalike("nats.js.errors.APIError", err_code=10060),
    "KurrentDB, no such stream": lookalike("kurrentdbclient.exceptions.NotFoundError"),
    "eventsourcing, a mistake": lookalike(
        "eventsourcing.persistence.IntegrityError", "Stored events are not unique: []"
    ),
    "eventsourcing, seen before": lookalike(
        "eventsourcing.persistence.IntegrityError", "Failed to record tracking for accounts 17"
    ),
    "eventsourcing, seen before, in memory": lookalike(
        "eventsourcing.persistence.IntegrityError", "Tracking notification ID 17 not greater than current max 17"
    ),
    "eventsourcing, seen before, in SQLite": lookalike(
        "eventsourcing.persistence.IntegrityError", "UNIQUE constraint failed: tracking.application_name"
    ),
    "DynamoDB, throughput": aws("ProvisionedThroughputExceededException"),
    "DynamoDB, validation": aws("ValidationException"),
    "DynamoDB, a transaction with a mistake in it": cancelled("ConditionalCheckFailed", "ValidationError"),
    "DynamoDB, a throttled transaction": cancelled("None", "ThrottlingError"),
    "DynamoDB, a transaction cancelled for no reason": cancelled("None", "None"),
    "DynamoDB, a transaction cancelled without a word": aws("TransactionCanceledException"),
    "DynamoDB, a condition of a request that was sent again": aws("ConditionalCheckFailedException", sent_again=1),
    "S3, a condition of a request that was sent again": aws("PreconditionFailed", status=412, sent_again=1),
    "HTTP 409": lookalike("httpx.HTTPStatusError", response=SimpleNamespace(status_code=409)),
    "HTTP 500": lookalike("aiohttp.client_exceptions.ClientResponseError", status=500),
    "no answer": lookalike("requests.exceptions.ConnectionError", response=None),
    "a status that is none": lookalike("mine.JobError", status=True, response=SimpleNamespace(status="412")),
    "a code that is no status": lookalike("mine.JobError", code=412),
    "gRPC": grpc("UNAVAILABLE"),
    "gRPC without a status": lookalike("grpc.RpcError"),
    "google-genai": lookalike("google.genai.errors.APIError", code=409, status="ALREADY_EXISTS"),
    "Google's 409": lookalike("google.api_core.exceptions.AlreadyExists"),
    "Firestore, for another reason": ValueError("Failed to commit transaction in 5 attempts."),
    "MongoDB, a duplicate": mongodb(11000),
    "MongoDB, a commit without an answer": mongodb(112, "UnknownTransactionCommitResult"),
    "MongoDB, aborted for another reason": mongodb(91, "TransientTransactionError"),
    "MongoDB, no such transaction, without the label": mongodb(251),
    "MongoDB, many writes, a part of which is stored": mongodb_bulk(112, nInserted=2),
    "MongoDB, many writes, one a duplicate": mongodb_bulk(112, 11000),
    "MongoDB, many writes, one not yet replicated": mongodb_bulk(112, writeConcernErrors=[{"code": 64}]),
    "MongoDB, no write": mongodb_bulk(),
    "SQLite, locked": sqlite_code(5),
    "SQLite, another error in its words": lookalike("sqlite3.OperationalError", "database is locked"),
    "SQL Server, another error": pyodbc("42000", "Invalid object name. (208) (SQLExecDirectW)"),
    "SQL Server, a number that a user wrote": pyodbc("42000", "x (3960) (SQLExecDirectW). (50000) (SQLExecDirectW)"),
    "pyodbc, another database's number": lookalike(
        "pyodbc.Error", "HY000", "[HY000] [MySQL][ODBC 8.0 Driver][mysqld-8.0]Lock wait timeout (1205) (SQLExecDirectW)"
    ),
    "SQL Server, pymssql, its driver": pymssql("Cannot commit transaction"),
    "SQL Server, pytds, a lock": pytds(1222),
    "Oracle, a duplicate": oracle("ORA-00001", "unique constraint (APP.ONE_VERSION) violated"),
    "Oracle, of its driver": lookalike("oracledb.exceptions.Error", "text"),
    "Neo4j, a constraint": neo4j("Neo.ClientError.Schema.ConstraintValidationFailed"),
    "ZooKeeper, a node that exists": lookalike("kazoo.exceptions.NodeExistsError"),
    "Couchbase, a document that exists": lookalike("couchbase.exceptions.DocumentExistsException"),
    "CouchDB, created twice": lookalike(
        "aiocouch.exception.ConflictError", "The document 'a' does already exist in the database 'b'"
    ),
    "kopf, created twice": lookalike("kopf._cogs.clients.errors.APIConflictError", "no", {"reason": "AlreadyExists"}),
    "Beanie before 2.0, another unique index": beanie({"event_id": 1}),
    "PostgREST, no row": postgrest("PGRST116"),
    "PL/pgSQL, another exception": lookalike(
        "asyncpg.exceptions.RaiseError", "no: Wrong expected version", sqlstate="P0001"
    ),
    "PynamoDB, a mistake": lookalike("pynamodb.exceptions.PynamoDBException", cause=aws("ValidationException")),
    "PynamoDB, no cause": lookalike("pynamodb.exceptions.PynamoDBException", cause=None),
    "Tortoise, its own": lookalike("tortoise.exceptions.BaseORMException", "Object does not exist"),
    "a lasting error that keeps another": lookalike("mine.Error", CONFLICTS["redis"], cause=CONFLICTS["redis"]),
    "Azure, a lease": azure("LeaseIdMissing"),
    "Azure, another's lease": azure("LeaseIdMismatchWithBlobOperation"),
    "Azure, a blob that is too large": azure("MaxBlobSizeConditionNotMet"),
    **{f"an answer of one's own, {name}": lookalike(name, status_code=412, status=412) for name in OWN_ANSWERS},
    "aiohttp, a PUT that it may have sent again": aiohttp(412, "PUT"),
    "aiohttp, a DELETE that it may have sent again": aiohttp(412, "DELETE"),
    "aiohttp, wrapped": raised_from(lookalike("mine.Conflict", status=412), aiohttp(412, "PUT")),
    "eventsourcing on PostgreSQL": raised_from(
        lookalike("eventsourcing.persistence.IntegrityError"), lookalike("psycopg.Error", sqlstate="23505")
    ),
    "Google, stopped retrying": raised_from(
        lookalike("google.api_core.exceptions.RetryError"), lookalike("google.api_core.exceptions.Aborted")
    ),
    "Firestore, a precondition": lookalike(
        "google.api_core.GoogleAPICallError", code=400, grpc_status_code=SimpleNamespace(name="FAILED_PRECONDITION")
    ),
    "text": RuntimeError("40001 StaleDataError WatchError 412 Precondition Failed ConditionalCheckFailedException"),
}


class TestConflicts:
    @pytest.mark.parametrize("store", CONFLICTS)
    def test_are_recognised_in_each_store(self, store):
        assert is_conflict_error(CONFLICTS[store])

    @pytest.mark.parametrize("store", CONFLICTS)
    def test_are_recognised_in_what_was_raised_from_them(self, store):
        assert is_conflict_error(raised_from(RuntimeError(), raised_from(KeyError(), CONFLICTS[store])))

    @pytest.mark.parametrize("store", CONFLICTS)
    def test_are_recognised_in_what_sqlalchemy_wraps(self, store):
        assert is_conflict_error(lookalike("sqlalchemy.exc.DBAPIError", orig=CONFLICTS[store]))

    @pytest.mark.parametrize("store", CONFLICTS)
    def test_are_none_where_they_were_only_being_handled(self, store):
        mistake = KeyError("in an error handler")
        mistake.__context__ = CONFLICTS[store]
        assert not is_conflict_error(mistake)

    @pytest.mark.parametrize("store", CONFLICTS)
    def test_are_recognised_in_a_class_of_ones_own_that_inherits(self, store):
        error = CONFLICTS[store]
        mine = type("Mine", (type(error),), {"__module__": "mine"})(*error.args)
        mine.__dict__.update(error.__dict__)
        assert is_conflict_error(raised_from(mine, error.__cause__))

    @pytest.mark.parametrize("error", NEAR_MISSES)
    def test_are_not_mistaken(self, error):
        assert not is_conflict_error(NEAR_MISSES[error])

    @pytest.mark.parametrize("code", [1205, 3960, 41302, 41305, 41325])
    def test_are_recognised_by_the_number_of_sql_server_through_each_driver(self, code):
        for error in (pyodbc("42000", f"Aborted. ({code}) (SQLExecDirectW)"), pytds(code), pymssql(code)):
            assert is_conflict_error(error)

    @pytest.mark.parametrize("release", WORDS)
    def test_are_all_that_is_stale_as_well(self, release):
        assert is_conflict_error(ValueError(WORDS[release]))
        assert is_conflict_error(another_stores(Exception)())
        assert is_conflict_error(raised_from(RuntimeError(), StaleSessionError()))

    @pytest.mark.parametrize("kind", GIVE_UPS)
    def test_are_not_what_a_decorated_call_gave_up_with(self, kind):
        end = raised_from(gave_up(kind, CONFLICTS["redis"]), CONFLICTS["redis"])
        assert not is_conflict_error(end)
        assert not is_conflict_error(raised_from(RuntimeError(), end))
        assert not is_conflict_error(raised_from(StaleSessionError(), end))

    def test_are_none_in_a_chain_that_bites_its_own_tail(self):
        first, second = RuntimeError(), RuntimeError()
        first.__cause__, second.__cause__ = second, first
        assert not is_conflict_error(first)

    def test_are_recognised_behind_an_error_that_is_falsy(self):
        falsy = lookalike("mine.Falsy", bases=(type("Empty", (Exception,), {"__len__": lambda self: 0}),))
        assert is_conflict_error(raised_from(RuntimeError(), raised_from(falsy, CONFLICTS["redis"])))
        assert is_conflict_error(lookalike("sqlalchemy.exc.DBAPIError", orig=raised_from(falsy, CONFLICTS["redis"])))


class TestHostileErrors:
    @pytest.mark.parametrize(
        "judge",
        [
            is_stale_session_error,
            is_conflict_error,
            unique_violation("a").predicate,
            http_status(409).predicate,
            grpc_status("FAILED_PRECONDITION").predicate,
            sqlstate("23505").predicate,
        ],
    )
    @pytest.mark.parametrize("make", HOSTILE, ids=lambda make: make.__name__)
    def test_neither_match_nor_raise(self, judge, make):
        """An append's own error must reach the caller, not one out of the question what it means."""
        assert judge(make()) is False


def postgres(constraint, table=None):
    diag = SimpleNamespace(constraint_name=constraint, table_name=table)
    return [
        lookalike("asyncpg.PostgresError", sqlstate="23505", constraint_name=constraint, table_name=table),
        lookalike("psycopg.Error", sqlstate="23505", diag=diag),
        lookalike("psycopg2.Error", pgcode="23505", diag=diag),
        lookalike("pg8000.exceptions.Error", {"C": "23505", "n": constraint, "t": table}),
    ]


def sqlserver(code, said):
    return [
        pyodbc("23000", f"{said} ({code}) (SQLExecDirectW)"),
        pytds(code, said),
        pymssql(code, said.encode()),
    ]


OF_ONE_VERSION = [
    *postgres("one_version"),
    postgrest("23505", 'duplicate key value violates unique constraint "one_version"'),
    lookalike("pymysql.err.MySQLError", 1062, "Duplicate entry 'a-1' for key 'one_version'"),
    lookalike("pymysql.err.MySQLError", 1062, "Duplicate entry 'a-1' for key 'events.one_version'"),
    sqlite("UNIQUE constraint failed: index 'one_version'"),
    oracle("ORA-00001", "unique constraint (APP.ONE_VERSION) violated"),
    oracle("ORA-00001", "unique constraint (ONE_VERSION) violated on table APP.EVENTS columns (STREAM, VERSION)"),
    *sqlserver(2627, "Violation of UNIQUE KEY constraint 'one_version'. Cannot insert in 'dbo.e'. Value is ('x')."),
    *sqlserver(2601, "Cannot insert duplicate key row in object 'dbo.e' with unique index 'one_version'. Value ('x')."),
    mongodb(11000, errmsg=DUPLICATE),
    mongodb_bulk(11000, 11000, nInserted=0),
]
OF_ANOTHER = [
    postgrest("23505", "duplicate"),
    oracle("ORA-00001", "without a name"),
    *sqlserver(2627, "Something else about 'one_version'"),
    *sqlserver(
        2601, "Cannot insert duplicate key row in object 'dbo.e' with unique index 'x'. Value (index 'one_version')"
    ),
    mongodb(11000, errmsg="E11000 in other words: one_version"),
    mongodb(121, errmsg=DUPLICATE),
    mongodb_bulk(11000, nInserted=1),
    mongodb_bulk(11000, 121),
    lookalike("psycopg.Error", sqlstate="23505", diag=SimpleNamespace(constraint_name=None, table_name=None)),
]


class TestUniqueViolation:
    @pytest.mark.parametrize("error", OF_ONE_VERSION, ids=lambda error: type(error).__module__)
    def test_of_the_named_constraint_matches_directly_and_wrapped(self, error):
        wrapped = lookalike("sqlalchemy.exc.IntegrityError", orig=error)
        named, other = unique_violation("events_pkey", "one_version"), unique_violation("events_pkey")
        assert says(named, error)
        assert says(named, wrapped)
        assert not says(other, error)
        assert not says(other, wrapped)

    @pytest.mark.parametrize("error", OF_ANOTHER, ids=lambda error: type(error).__module__)
    def test_of_what_only_looks_like_it_does_not_match(self, error):
        assert not says(unique_violation("one_version"), error)

    @pytest.mark.parametrize("table", ["events_p1", "events_2026_11", "events_default"])
    def test_of_a_partition_matches_by_the_name_that_its_table_s_constraint_has(self, table):
        for error in postgres(f"{table}_stream_version_key", table):
            assert says(unique_violation("events_stream_version_key"), error)
            assert says(unique_violation("events_*_stream_version_key"), error)
            assert not says(unique_violation("event_stream_version_key"), error)
            assert not says(unique_violation("events_stream_key"), error)

    def test_of_another_table_s_primary_key_does_not_match_though_its_name_begins_alike(self):
        """It has no columns in its name: `events_outbox_pkey` may be of the event's id."""
        for error in postgres("events_outbox_pkey", "events_outbox"):
            assert not says(unique_violation("events_pkey"), error)
            assert says(unique_violation("events_*_pkey"), error)

    def test_of_a_table_whose_name_only_begins_alike_does_not_match(self):
        for error in postgres("eventsource_stream_version_key", "eventsource"):
            assert not says(unique_violation("events_stream_version_key"), error)

    def test_of_a_name_that_postgresql_cut_off_matches_by_the_whole_name(self):
        whole = "every_event_of_a_stream_has_a_version_of_its_own_and_no_other_än"
        cut = whole.encode()[:63].decode(errors="ignore")
        assert cut != whole
        for error in postgres(cut):
            assert says(unique_violation(whole), error)
            assert not says(unique_violation(whole[:40]), error)

    @pytest.mark.parametrize("name", ["One_Version", "ONE_VERSION"])
    def test_does_not_mind_capital_letters(self, name):
        for error in OF_ONE_VERSION:
            assert says(unique_violation(name), error)

    def test_takes_a_star_for_any_characters_and_nothing_else_for_a_pattern(self):
        (error, *_) = postgres("one_version")
        assert says(unique_violation("one*"), error)
        assert not says(unique_violation("one"), error)
        for name in ("one.version", "one_versio?", "one_[v]ersion", ".*", "a|one_version"):
            assert not says(unique_violation(name), error)

    @pytest.mark.parametrize("name", ["events.version, events.stream", "events.stream,events.version"])
    def test_in_sqlite_does_not_mind_the_order_and_spacing_of_columns(self, name):
        assert says(unique_violation(name), sqlite("UNIQUE constraint failed: events.stream, events.version"))

    def test_in_mongodb_may_be_named_with_its_collection(self):
        error = mongodb(11000, errmsg=DUPLICATE)
        assert says(unique_violation("events.one_version"), error)
        assert not says(unique_violation("others.one_version"), error)

    @pytest.mark.parametrize(
        ("name", "text", "matches"),
        [
            ("events.stream, events.version", "UNIQUE constraint failed: events.stream, events.version", True),
            ("events.version", "UNIQUE constraint failed: events.stream, events.version", False),
            ("version", "UNIQUE constraint failed: events.version", False),
            ("events.version", "NOT NULL constraint failed: events.version", False),
            ("events.version", "a trigger says: UNIQUE constraint failed: events.version", False),
        ],
    )
    def test_in_sqlite_names_all_columns_and_nothing_else(self, name, text, matches):
        assert says(unique_violation(name), sqlite(text)) is matches

    def test_in_mysql_may_be_named_with_its_table(self):
        error = lookalike("pymysql.err.MySQLError", 1062, "Duplicate entry 'a-1' for key 'events.one_version'")
        assert says(unique_violation("events.one_version"), error)
        assert not says(unique_violation("others.one_version"), error)

    def test_in_mysql_is_not_told_by_the_value_that_a_user_wrote(self):
        error = lookalike("pymysql.err.MySQLError", 1062, "Duplicate entry 'x' for key 'one_version' for key 'PRIMARY'")
        assert not says(unique_violation("one_version"), error)
        assert says(unique_violation("PRIMARY"), error)

    def test_is_not_another_violation_of_the_same_constraint(self):
        exclusion = lookalike("psycopg.Error", sqlstate="23P01", diag=SimpleNamespace(constraint_name="one_version"))
        assert not says(unique_violation("one_version"), exclusion)
        assert not says(unique_violation("1213"), CONFLICTS["pymysql"])


@pytest.mark.parametrize("status", [408, 409, 412])
def test_http_status_is_read_wherever_a_client_has_it(status):
    strategy = http_status(409, 412)
    for error in (
        lookalike("httpx.HTTPStatusError", response=SimpleNamespace(status_code=status)),
        lookalike("aiohttp.ClientResponseError", status=status),
        lookalike("google.api_core.exceptions.GoogleAPICallError", code=status),
        lookalike("google.genai.errors.APIError", code=status, status="ABORTED"),
        lookalike("mine.ApiError", response=SimpleNamespace(status=status)),
        aws("Whatever", status=status),
    ):
        assert says(strategy, error) is (status != 408)
        assert says(strategy, raised_from(RuntimeError(), error)) is (status != 408)


def test_http_status_takes_several():
    for status, wanted in ((409, True), (449, True), (412, False)):
        assert says(http_status(409, 449), lookalike("azure.Error", status_code=status)) is wanted


def test_http_status_is_not_that_of_an_answer_of_the_application_s_own():
    assert not says(http_status(409), lookalike("fastapi.exceptions.HTTPException", status_code=409))


@pytest.mark.parametrize("status", ["FAILED_PRECONDITION", "OUT_OF_RANGE", "INTERNAL"])
def test_grpc_status_is_read_wherever_a_client_has_it(status):
    strategy = grpc_status("FAILED_PRECONDITION", "OUT_OF_RANGE")
    for error in (
        grpc(status),
        lookalike("google.api_core.GoogleAPICallError", grpc_status_code=SimpleNamespace(name=status)),
        lookalike("google.genai.errors.APIError", code=400, status=status),
    ):
        assert says(strategy, error) is (status != "INTERNAL")
        assert says(strategy, raised_from(RuntimeError(), error)) is (status != "INTERNAL")


@pytest.mark.parametrize("state", ["55P03", "23505", "23P01"])
def test_sqlstate_is_read_through_any_driver(state):
    strategy = sqlstate("55P03", "23505")
    for error in (
        lookalike("asyncpg.exceptions.PostgresError", sqlstate=state),
        lookalike("psycopg2.Error", pgcode=state),
        lookalike("sqlalchemy.exc.DBAPIError", orig=lookalike("pyodbc.Error", state, "text")),
    ):
        assert says(strategy, error) is (state != "23P01")


STRATEGIES = [
    retry_if_stale_session(),
    retry_if_conflict(),
    unique_violation("a", "b"),
    http_status(409),
    grpc_status("FAILED_PRECONDITION"),
    sqlstate("23505"),
]


@pytest.mark.parametrize("strategy", STRATEGIES, ids=lambda strategy: type(strategy).__name__)
class TestAsATenacityStrategy:
    def test_it_looks_at_the_error_only(self, strategy):
        assert isinstance(strategy, retry_if_exception)
        assert type(strategy).__call__ is retry_if_exception.__call__

    def test_it_can_be_pickled(self, strategy):
        again = pickle.loads(pickle.dumps(strategy))
        for error in (*CONFLICTS.values(), *NEAR_MISSES.values()):
            assert says(again, error) is says(strategy, error)

    def test_it_composes(self, strategy):
        either = strategy | retry_if_exception_type(TimeoutError) | retry_if_stale_session()
        both = strategy & retry_if_exception_type(KeyError)
        assert says(either, TimeoutError())
        assert says(either, StaleSessionError())
        assert not says(either, KeyError())
        assert not says(both, StaleSessionError())


def test_the_strategies_say_what_the_functions_say():
    for error in (StaleSessionError(), *CONFLICTS.values(), *NEAR_MISSES.values()):
        assert says(retry_if_stale_session(), error) is is_stale_session_error(error)
        assert says(retry_if_conflict(), error) is is_conflict_error(error)


@pytest.mark.parametrize(
    ("strategy", "arguments", "error", "rule"),
    [
        (unique_violation, (), ValueError, "names of constraints"),
        (unique_violation, ("",), ValueError, "names of constraints"),
        (unique_violation, ("a", 1), TypeError, "names of constraints"),
        (unique_violation, (["a"],), TypeError, "names of constraints"),
        (http_status, (), ValueError, "from 100 to 599"),
        (http_status, (99,), ValueError, "from 100 to 599"),
        (http_status, (409, 600), ValueError, "from 100 to 599"),
        (http_status, ("409",), TypeError, "from 100 to 599"),
        (http_status, (True,), TypeError, "from 100 to 599"),
        (grpc_status, (), ValueError, "gRPC statuses"),
        (grpc_status, ("failed_precondition",), ValueError, "gRPC statuses"),
        (grpc_status, (9,), TypeError, "gRPC statuses"),
        (sqlstate, (), ValueError, "five digits or capital letters"),
        (sqlstate, ("2350",), ValueError, "five digits or capital letters"),
        (sqlstate, ("40p01",), ValueError, "five digits or capital letters"),
        (sqlstate, ("23505\n",), ValueError, "five digits or capital letters"),
        (sqlstate, (23505,), TypeError, "five digits or capital letters"),
    ],
)
def test_a_wrong_argument_is_refused_with_the_rule(strategy, arguments, error, rule):
    with pytest.raises(error, match=rf"^{strategy.__name__} takes .*{rule}.*; got "):
        strategy(*arguments)
