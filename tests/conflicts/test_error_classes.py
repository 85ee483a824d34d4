"""What the libraries' own error classes mean, where no server that would raise them can be had."""

import functools
import importlib
import ssl

import pytest

from stale_retry.detection import grpc_status, http_status, is_conflict_error, unique_violation
from stale_retry.transient import is_transient_error, leaves_doubt

pytestmark = pytest.mark.servers


def a2a_concurrent_modification():
    from a2a.server.cluster import ConcurrentTaskModificationError

    return ConcurrentTaskModificationError("task")


def pydantic_ai_conversation_conflict():
    from pydantic_ai.conversation_store import ConversationConflict

    return ConversationConflict("conversation")


def kurrentdb_wrong_version():
    from kurrentdbclient.exceptions import WrongCurrentVersionError

    return WrongCurrentVersionError("Stream position of last event is 3 not 2", stream_name="s", actual_version=3)


def kurrentdb_consistency_check():
    from kurrentdbclient.exceptions import ConsistencyChecksFailedError

    return ConsistencyChecksFailedError("a check failed", failures=())


def nats_answer(code, err_code):
    from nats.js.errors import APIError

    with pytest.raises(APIError) as caught:
        APIError.from_error({"code": code, "err_code": err_code, "description": "from the server"})
    return caught.value


def nats_wrong_last_sequence():
    return nats_answer(400, 10071)


def nats_wrong_last_sequence_without_a_number():
    return nats_answer(400, 10164)


def nats_key_value_wrong_last_sequence():
    from nats.js.errors import KeyWrongLastSequenceError

    return KeyWrongLastSequenceError("wrong last sequence: 3")


def cosmos_condition():
    from azure.cosmos.exceptions import CosmosAccessConditionFailedError

    return CosmosAccessConditionFailedError(412, "One of the specified pre-condition is not met")


def cosmos_batch_condition():
    from azure.cosmos.exceptions import CosmosBatchOperationError

    return CosmosBatchOperationError(0, {}, 412, "One of the specified pre-condition is not met")


def azure_resource_modified():
    from azure.core.exceptions import ResourceModifiedError

    error = ResourceModifiedError("The condition specified using HTTP conditional header(s) is not met.")
    error.status_code = 412
    return error


def google_aborted():
    from google.api_core.exceptions import Aborted

    return Aborted("Too much contention on these documents.")


def firestore_transaction():
    from google.cloud.firestore_v1 import base_transaction

    error = ValueError(base_transaction._EXCEED_ATTEMPTS_TEMPLATE.format(5))
    error.__cause__ = google_aborted()
    return error


def grpc_status_error(name):
    import grpc

    return grpc.aio.AioRpcError(grpc.StatusCode[name], grpc.aio.Metadata(), grpc.aio.Metadata(), details="details")


def grpc_aborted():
    return grpc_status_error("ABORTED")


def google_genai(kind, code, status):
    from google.genai import errors

    return getattr(errors, kind)(code, {"error": {"code": code, "status": status, "message": "from Vertex"}})


def google_genai_aborted():
    return google_genai("ClientError", 409, "ABORTED")


def mongodb_write_conflict():
    from pymongo.errors import OperationFailure

    details = {"code": 112, "errorLabels": ["TransientTransactionError"]}
    return OperationFailure("WriteConflict error: this operation conflicted", 112, details)


def dynamodb(code, **answer):
    import boto3

    client = boto3.client("dynamodb", "us-east-1", aws_access_key_id="a", aws_secret_access_key="b")
    kind = client.exceptions.from_code(code)
    metadata = {"HTTPStatusCode": 400, "RetryAttempts": 0}
    return kind({"Error": {"Code": code}, "ResponseMetadata": metadata, **answer}, "PutItem")


def dynamodb_transaction_elsewhere():
    return dynamodb("TransactionConflictException")


def dynamodb_another_region():
    return dynamodb("ReplicatedWriteConflictException")


def s3_conditional_request_conflict():
    from botocore.exceptions import ClientError

    return ClientError(
        {"Error": {"Code": "ConditionalRequestConflict"}, "ResponseMetadata": {"HTTPStatusCode": 409}}, "PutObject"
    )


def pymysql_deadlock():
    import pymysql

    return pymysql.err.OperationalError(1213, "Deadlock found when trying to get lock; try restarting transaction")


def asyncmy_deadlock():
    import asyncmy.errors

    return asyncmy.errors.OperationalError(1213, "Deadlock found when trying to get lock; try restarting transaction")


def mysql_connector_deadlock():
    import mysql.connector.errors

    return mysql.connector.errors.InternalError("Deadlock found", errno=1213, sqlstate="40001")


def valkey_watch():
    import valkey

    return valkey.WatchError("Watched variable changed.")


def raised(raising):
    """What `raising` raises, with the causes and contexts that its library gives it."""
    with pytest.raises(Exception) as caught:
        raising()
    return caught.value


def pymysql_error(code, text="from the server"):
    import pymysql

    return pymysql.err.OperationalError(code, text)


def mariadb_snapshot_isolation():
    return pymysql_error(1020, "Record has changed since last read in table 'chats'")


def mariadb_snapshot_isolation_through_mysql_connector():
    import mysql.connector.errors

    return mysql.connector.errors.DatabaseError("Record has changed since last read", errno=1020, sqlstate="HY000")


def tidb_write_conflict():
    return pymysql_error(9007, "Write conflict, txnStartTS=1, conflictStartTS=2")


def tidb_cannot_retry():
    return pymysql_error(8022, "Error: KV error safe to retry")


def mysql_group_replication():
    return pymysql_error(3101, "Plugin instructed the server to rollback the current transaction.")


def pytds_error(number, text="from the server"):
    from pytds import tds_base

    said = {"msgno": number, "message": text, "server": "s", "proc_name": "", "severity": 16, "state": 1}
    return tds_base._create_exception_by_message({**said, "line_number": 1})


def pytds_snapshot_conflict():
    return pytds_error(3960)


def pytds_deadlock():
    return pytds_error(1205)


def pymssql_error(code, text=b"from the server"):
    import pymssql

    return pymssql.OperationalError(code, text)


def pymssql_snapshot_conflict():
    return pymssql_error(3960)


def pymssql_deadlock():
    return pymssql_error(1205)


def oracle(code, text):
    import oracledb
    from oracledb.errors import _Error

    return getattr(oracledb, "IntegrityError" if code == 1 else "DatabaseError")(_Error(f"ORA-{code:05d}: {text}"))


def oracle_cannot_serialize():
    return oracle(8177, "can't serialize access for this transaction")


def oracle_deadlock():
    return oracle(60, "deadlock detected while waiting for resource")


def neo4j(code):
    from neo4j.exceptions import Neo4jError

    return Neo4jError._hydrate_neo4j(code=code, message="from the server")


def neo4j_deadlock():
    return neo4j("Neo.TransientError.Transaction.DeadlockDetected")


def gel_serialization():
    import gel

    return gel.TransactionSerializationError("could not serialize access due to concurrent update")


def gel_deadlock():
    import gel

    return gel.TransactionDeadlockError("deadlock detected")


def kazoo_bad_version():
    from kazoo.exceptions import BadVersionError

    return BadVersionError()


def couchbase_cas_mismatch():
    from couchbase.exceptions import CASMismatchException

    return CASMismatchException(message="the document was changed")


def aiocouch_conflict():
    from aiocouch import ConflictError

    return ConflictError("Document with the specified ID (a) already exists or specified revision 1 is not latest")


def coredis_watch():
    from coredis.exceptions import WatchError

    return WatchError()


def beanie_revision():
    from beanie.exceptions import RevisionIdWasChanged

    return RevisionIdWasChanged()


def django_concurrency_record_modified():
    from concurrency.exceptions import RecordModifiedError

    return RecordModifiedError(target=None)


def django_around_psycopg():
    import django.db.utils
    import psycopg

    error = django.db.utils.OperationalError("could not serialize access")
    error.__cause__ = psycopg.errors.SerializationFailure("could not serialize access")
    return error


def tortoise_around(driver_s):
    """As its backends raise it: within the handling of the driver's error, and without `from`."""
    from tortoise.exceptions import OperationalError

    def raising():
        try:
            raise driver_s
        except Exception as error:
            raise OperationalError(error)  # noqa: B904

    return raised(raising)


def tortoise_around_psycopg():
    import psycopg

    return tortoise_around(psycopg.errors.SerializationFailure("could not serialize access"))


def tortoise_around_pymysql():
    return tortoise_around(pymysql_deadlock())


def peewee_around(driver_s):
    import peewee

    def raising():
        with peewee.__exception_wrapper__:
            raise driver_s

    return raised(raising)


def peewee_around_psycopg():
    import psycopg

    return peewee_around(psycopg.errors.SerializationFailure("could not serialize access"))


def peewee_around_pymysql():
    return peewee_around(pymysql_deadlock())


def mongodb_aborted_transaction():
    details = {"code": 251, "errorLabels": ["TransientTransactionError"]}
    return mongodb("OperationFailure", "Transaction 1 has been aborted.", 251, details)


def mongodb_bulk(*codes, labels=(), **counts):
    from pymongo.errors import BulkWriteError

    errors = [{"index": n, "code": code, "errmsg": "from the server"} for n, code in enumerate(codes)]
    details = {"writeErrors": errors, "writeConcernErrors": [], "errorLabels": list(labels), "nInserted": 0, **counts}
    return BulkWriteError(details)


def mongodb_bulk_write_conflict():
    return mongodb_bulk(112, 112)


def kopf_error(reason):
    from kopf._cogs.clients.errors import APIConflictError

    return APIConflictError({"code": 409, "message": "from the server", "reason": reason}, status=409, headers={})


def kopf_conflict():
    return kopf_error("Conflict")


def postgrest(code, message="from the server"):
    from postgrest.exceptions import APIError

    return APIError({"message": message, "code": code, "hint": None, "details": None})


def postgrest_serialization():
    return postgrest("40001", "could not serialize access due to concurrent update")


def cassandra_lightweight_transaction():
    from cassandra.cqlengine.query import LWTException

    return LWTException({"version": 3})


def dynamodb_transaction_that_lost_its_race():
    reasons = [{"Code": "None"}, {"Code": "TransactionConflict"}]
    return dynamodb("TransactionCanceledException", CancellationReasons=reasons)


def pynamodb_around(name, driver_s):
    import pynamodb.exceptions

    def raising():
        try:
            raise driver_s
        except Exception as error:
            raise getattr(pynamodb.exceptions, name)("Failed", error)  # noqa: B904

    return raised(raising)


def pynamodb_put():
    return pynamodb_around("PutError", dynamodb("ConditionalCheckFailedException"))


def pynamodb_transaction():
    return pynamodb_around("TransactWriteError", dynamodb_transaction_that_lost_its_race())


CONFLICTS = (
    mariadb_snapshot_isolation,
    mariadb_snapshot_isolation_through_mysql_connector,
    tidb_write_conflict,
    tidb_cannot_retry,
    mysql_group_replication,
    pytds_snapshot_conflict,
    pytds_deadlock,
    pymssql_snapshot_conflict,
    pymssql_deadlock,
    oracle_cannot_serialize,
    oracle_deadlock,
    neo4j_deadlock,
    gel_serialization,
    gel_deadlock,
    kazoo_bad_version,
    couchbase_cas_mismatch,
    aiocouch_conflict,
    coredis_watch,
    beanie_revision,
    django_concurrency_record_modified,
    django_around_psycopg,
    tortoise_around_psycopg,
    tortoise_around_pymysql,
    peewee_around_psycopg,
    peewee_around_pymysql,
    mongodb_aborted_transaction,
    mongodb_bulk_write_conflict,
    kopf_conflict,
    postgrest_serialization,
    cassandra_lightweight_transaction,
    dynamodb_transaction_that_lost_its_race,
    pynamodb_put,
    pynamodb_transaction,
    a2a_concurrent_modification,
    pydantic_ai_conversation_conflict,
    kurrentdb_wrong_version,
    kurrentdb_consistency_check,
    nats_wrong_last_sequence,
    nats_wrong_last_sequence_without_a_number,
    nats_key_value_wrong_last_sequence,
    cosmos_condition,
    cosmos_batch_condition,
    azure_resource_modified,
    google_aborted,
    firestore_transaction,
    grpc_aborted,
    google_genai_aborted,
    mongodb_write_conflict,
    dynamodb_transaction_elsewhere,
    dynamodb_another_region,
    s3_conditional_request_conflict,
    pymysql_deadlock,
    asyncmy_deadlock,
    mysql_connector_deadlock,
    valkey_watch,
)


def mongodb(name, *args):
    from pymongo import errors

    return getattr(errors, name)(*args)


def mongodb_auto_reconnect():
    return mongodb("AutoReconnect", "connection closed")


def mongodb_network_timeout():
    return mongodb("NetworkTimeout", "timed out")


def mongodb_no_server():
    return mongodb("ServerSelectionTimeoutError", "No servers found yet")


def mongodb_not_primary():
    return mongodb("NotPrimaryError", "not primary", {})


def mongodb_no_connection_in_the_pool():
    return mongodb("WaitQueueTimeoutError", "Timed out while checking out a connection")


def mongodb_commit_without_an_answer():
    details = {"code": 91, "errorLabels": ["UnknownTransactionCommitResult"]}
    return mongodb("OperationFailure", "The server is in quiesce mode", 91, details)


def google(name):
    from google.api_core import exceptions

    return getattr(exceptions, name)("from Google")


def google_too_many_requests():
    return google("TooManyRequests")


def google_resource_exhausted():
    return google("ResourceExhausted")


def google_service_unavailable():
    return google("ServiceUnavailable")


def google_deadline_exceeded():
    return google("DeadlineExceeded")


def google_genai_exhausted():
    return google_genai("ClientError", 429, "RESOURCE_EXHAUSTED")


def google_genai_unavailable():
    return google_genai("ServerError", 503, "UNAVAILABLE")


def grpc_unavailable():
    return grpc_status_error("UNAVAILABLE")


def kurrentdb_unavailable():
    from kurrentdbclient.exceptions import ServiceUnavailableError

    return ServiceUnavailableError("failed to connect to all addresses")


def kurrentdb_no_time():
    from kurrentdbclient.exceptions import GrpcDeadlineExceededError

    return GrpcDeadlineExceededError()


def azure_no_answer():
    from azure.core.exceptions import ServiceResponseTimeoutError

    return ServiceResponseTimeoutError("no answer")


def azure_no_connection():
    from azure.core.exceptions import ServiceRequestError

    return ServiceRequestError("no connection")


def cosmos_no_time():
    from azure.cosmos.exceptions import CosmosClientTimeoutError

    return CosmosClientTimeoutError()


def cosmos_throttled():
    from azure.cosmos.exceptions import CosmosHttpResponseError

    return CosmosHttpResponseError(429, "Request rate is large")


def aws_no_connection():
    from botocore.exceptions import EndpointConnectionError

    return EndpointConnectionError(endpoint_url="http://127.0.0.1")


def aws_no_time():
    from botocore.exceptions import ReadTimeoutError

    return ReadTimeoutError(endpoint_url="http://127.0.0.1")


def aws_connection_closed():
    from botocore.exceptions import ConnectionClosedError

    return ConnectionClosedError(endpoint_url="http://127.0.0.1")


def dynamodb_throughput():
    return dynamodb("ProvisionedThroughputExceededException")


def dynamodb_condition_of_a_request_that_was_sent_again():
    metadata = {"HTTPStatusCode": 400, "RetryAttempts": 1}
    return dynamodb("ConditionalCheckFailedException", ResponseMetadata=metadata)


def nats_no_time():
    from nats.errors import TimeoutError

    return TimeoutError()


def pymysql_lost():
    import pymysql

    return pymysql.err.OperationalError(2013, "Lost connection to MySQL server during query")


def pymysql_lock_wait():
    import pymysql

    return pymysql.err.OperationalError(1205, "Lock wait timeout exceeded; try restarting transaction")


def error_of(path, *args, **options):
    """An error of the class at `path`, made with the arguments that its library gives it."""
    module, _, name = path.rpartition(".")
    return getattr(importlib.import_module(module), name)(*args, **options)


def aiohttp_refusal(status, method):
    import aiohttp
    from multidict import CIMultiDict, CIMultiDictProxy
    from yarl import URL

    request = aiohttp.RequestInfo(URL("http://store"), method, CIMultiDictProxy(CIMultiDict()), URL("http://store"))
    return aiohttp.ClientResponseError(request, (), status=status)


def aiohttp_put_that_may_have_been_sent_before():
    return aiohttp_refusal(412, "PUT")


def aiocouch_put_that_may_have_been_sent_before():
    error = aiocouch_conflict()
    error.__cause__ = aiohttp_refusal(409, "PUT")
    return error


def google_that_stopped_retrying():
    error = error_of("google.api_core.exceptions.RetryError", "Timeout of 60.0s exceeded", google_aborted())
    error.__cause__ = error.cause
    return error


def elasticsearch_no_answer():
    return error_of("elasticsearch.ConnectionTimeout", "Connection timed out")


def cassandra_write_timeout():
    return error_of("cassandra.WriteTimeout", "no answer", write_type=5)


def pymysql_transient(code):
    made = functools.partial(pymysql_error, code)
    functools.update_wrapper(made, pymysql_error)
    made.__name__ = f"pymysql_{code}"
    return made


def pymysql_read_only():
    return pymysql_error(1290, "The MySQL server is running with the --read-only option so it cannot execute this")


def asyncpg_read_only():
    return error_of("asyncpg.ReadOnlySQLTransactionError", "cannot execute INSERT in a read-only transaction")


def oracle_end_of_file():
    return oracle(3113, "end-of-file on communication channel")


def oracle_closed_connection():
    from oracledb import errors

    return raised(lambda: errors._raise_err(errors.ERR_CONNECTION_CLOSED))


def dynamodb_transaction_that_lost_its_race_and_was_throttled():
    reasons = [{"Code": "TransactionConflict"}, {"Code": "ThrottlingError"}]
    return dynamodb("TransactionCanceledException", CancellationReasons=reasons)


def of_class(path, *args, **options):
    made = functools.partial(error_of, path, *args, **options)
    made.__name__ = path
    return made


TRANSIENT = (
    aiohttp_put_that_may_have_been_sent_before,
    aiocouch_put_that_may_have_been_sent_before,
    google_that_stopped_retrying,
    elasticsearch_no_answer,
    cassandra_write_timeout,
    pymysql_read_only,
    asyncpg_read_only,
    oracle_end_of_file,
    oracle_closed_connection,
    dynamodb_transaction_that_lost_its_race_and_was_throttled,
    *map(pymysql_transient, (1317, 1927, 1969, 2055, 3024, 3572, 4031)),
    of_class("aetcd.exceptions.ConnectionFailedError"),
    of_class("aetcd.exceptions.ConnectionTimeoutError"),
    of_class("aiokafka.errors.KafkaConnectionError"),
    of_class("aiokafka.errors.KafkaTimeoutError"),
    of_class("aiokafka.errors.RequestTimedOutError"),
    of_class("asyncio.IncompleteReadError", b"half", 100),
    of_class("asyncpg.InternalClientError", "cannot switch to state 15; another operation (2) is in progress"),
    of_class("cassandra.OperationTimedOut"),
    of_class("cassandra.Unavailable", "too few replicas"),
    of_class("cassandra.cluster.NoHostAvailable", "no host", {}),
    of_class("coredis.exceptions.ClusterDownError", "CLUSTERDOWN"),
    of_class("coredis.exceptions.ConnectionError"),
    of_class("coredis.exceptions.ReadOnlyError", "READONLY"),
    of_class("coredis.exceptions.TryAgainError", "TRYAGAIN"),
    of_class("couchbase.exceptions.AmbiguousTimeoutException"),
    of_class("couchbase.exceptions.UnAmbiguousTimeoutException"),
    of_class("elasticsearch.ConnectionError", "Connection error"),
    of_class("http.client.IncompleteRead", b"half"),
    of_class("kazoo.exceptions.ConnectionLoss"),
    of_class("kazoo.exceptions.OperationTimeoutError"),
    of_class("kazoo.exceptions.SessionExpiredError"),
    of_class("nats.errors.ConnectionClosedError"),
    of_class("nats.errors.ConnectionReconnectingError"),
    of_class("nats.errors.NoRespondersError"),
    of_class("nats.errors.NoServersError"),
    of_class("nats.errors.StaleConnectionError"),
    of_class("nats.js.errors.NoStreamResponseError"),
    of_class("nats.js.errors.ServiceUnavailableError"),
    of_class("neo4j.exceptions.ConnectionAcquisitionTimeoutError"),
    of_class("neo4j.exceptions.ServiceUnavailable"),
    of_class("neo4j.exceptions.SessionExpired"),
    of_class("opensearchpy.exceptions.ConnectionError", "N/A", "refused", OSError()),
    of_class("opensearchpy.exceptions.ConnectionTimeout", "TIMEOUT", "no answer", TimeoutError()),
    of_class("redis.exceptions.ClusterDownError", "CLUSTERDOWN The cluster is down"),
    of_class("redis.exceptions.ReadOnlyError", "READONLY You can't write against a read only replica."),
    of_class("redis.exceptions.TryAgainError", "TRYAGAIN Multiple keys request during rehashing of slot"),
    of_class("ssl.SSLEOFError", 8, "EOF occurred in violation of protocol"),
    of_class("ssl.SSLZeroReturnError", 6, "TLS/SSL connection has been closed (EOF)"),
    of_class("valkey.exceptions.ClusterDownError", "CLUSTERDOWN The cluster is down"),
    of_class("valkey.exceptions.ReadOnlyError", "READONLY You can't write against a read only replica."),
    of_class("valkey.exceptions.TryAgainError", "TRYAGAIN"),
    mongodb_auto_reconnect,
    mongodb_network_timeout,
    mongodb_no_server,
    mongodb_not_primary,
    mongodb_no_connection_in_the_pool,
    mongodb_commit_without_an_answer,
    google_too_many_requests,
    google_resource_exhausted,
    google_service_unavailable,
    google_deadline_exceeded,
    google_genai_exhausted,
    google_genai_unavailable,
    grpc_unavailable,
    kurrentdb_unavailable,
    kurrentdb_no_time,
    azure_no_answer,
    azure_no_connection,
    cosmos_no_time,
    cosmos_throttled,
    aws_no_connection,
    aws_no_time,
    aws_connection_closed,
    dynamodb_throughput,
    dynamodb_condition_of_a_request_that_was_sent_again,
    nats_no_time,
    pymysql_lost,
    pymysql_lock_wait,
)


def mongodb_duplicate():
    details = {"code": 11000, "errmsg": "E11000 duplicate key error collection: db.events index: _id_"}
    return mongodb("DuplicateKeyError", "E11000 duplicate key error", 11000, details)


def google_already_exists():
    return google("AlreadyExists")


def google_permission_denied():
    return google("PermissionDenied")


def google_genai_already_exists():
    return google_genai("ClientError", 409, "ALREADY_EXISTS")


def google_genai_invalid():
    return google_genai("ClientError", 400, "INVALID_ARGUMENT")


def grpc_already_exists():
    return grpc_status_error("ALREADY_EXISTS")


def kurrentdb_access_denied():
    from kurrentdbclient.exceptions import AccessDeniedError

    return AccessDeniedError()


def kurrentdb_wrong_certificate():
    from kurrentdbclient.exceptions import SSLError

    return SSLError("SSL_ERROR_SSL")


def nats_no_stream():
    return nats_answer(404, 10059)


def cosmos_exists():
    from azure.cosmos.exceptions import CosmosResourceExistsError

    return CosmosResourceExistsError(409, "Entity with the specified id already exists")


def dynamodb_cancelled_by_a_mistake():
    reasons = [{"Code": "ConditionalCheckFailed"}, {"Code": "ValidationError"}]
    return dynamodb("TransactionCanceledException", CancellationReasons=reasons)


def pymysql_duplicate():
    import pymysql

    return pymysql.err.IntegrityError(1062, "Duplicate entry 'e1' for key 'events.PRIMARY'")


def sqlalchemy_no_result():
    import sqlalchemy.exc

    return sqlalchemy.exc.NoResultFound("No row was found when one was required")


def aiohttp_wrong_certificate():
    import aiohttp

    return aiohttp.ClientConnectorCertificateError(None, ssl.SSLCertVerificationError("certificate verify failed"))


def requests_tls():
    import requests

    return requests.exceptions.SSLError("certificate verify failed")


def redis_wrong_password():
    import redis

    return redis.AuthenticationError("invalid username-password pair")


def psycopg_closed_pool():
    import psycopg_pool

    return psycopg_pool.PoolClosed("the pool 'pool-1' is already closed")


def mongodb_bulk_of_which_a_part_is_stored():
    return mongodb_bulk(112, nInserted=2)


def mongodb_bulk_with_a_duplicate():
    return mongodb_bulk(112, 11000)


def kopf_already_exists():
    return kopf_error("AlreadyExists")


def aiocouch_created_twice():
    from aiocouch import ConflictError

    return ConflictError("The document 'a' does already exist in the database 'b'")


def oracle_duplicate():
    return oracle(1, "unique constraint (APP.ONE_VERSION) violated")


def pytds_lock():
    return pytds_error(1222)


def neo4j_constraint():
    return neo4j("Neo.ClientError.Schema.ConstraintValidationFailed")


def firestore_precondition():
    return google("FailedPrecondition")


def elasticsearch_conflict():
    from elastic_transport import ApiResponseMeta, HttpHeaders, NodeConfig
    from elasticsearch import ConflictError

    meta = ApiResponseMeta(409, "1.1", HttpHeaders(), 0.1, NodeConfig("http", "store", 9200))
    return ConflictError("version_conflict_engine_exception", meta, {})


def opensearch_conflict():
    from opensearchpy.exceptions import ConflictError

    return ConflictError(409, "version_conflict_engine_exception", {})


def cosmos_retry_with():
    from azure.cosmos.exceptions import CosmosHttpResponseError

    return CosmosHttpResponseError(449, "Conflicting request to resource has been attempted. Retry to avoid conflicts.")


def openai_conversation_locked():
    import httpx
    import openai

    answer = httpx.Response(400, request=httpx.Request("POST", "http://model"))
    return openai.BadRequestError("busy", response=answer, body={"code": "conversation_locked", "message": "busy"})


def starlette_answer():
    from starlette.exceptions import HTTPException

    return HTTPException(412, "accept the terms first")


def aiohttp_answer():
    from aiohttp import web

    return web.HTTPPreconditionFailed()


def redis_exec_aborted():
    import redis

    return redis.exceptions.ExecAbortError("Transaction discarded because of previous errors.")


def elasticsearch_tls():
    return error_of("elasticsearch.SSLError", "certificate verify failed")


def opensearch_tls():
    return error_of("opensearchpy.exceptions.SSLError", "N/A", "certificate verify failed", OSError())


NEITHER = (
    mongodb_bulk_of_which_a_part_is_stored,
    mongodb_bulk_with_a_duplicate,
    kopf_already_exists,
    aiocouch_created_twice,
    oracle_duplicate,
    pytds_lock,
    neo4j_constraint,
    firestore_precondition,
    elasticsearch_conflict,
    opensearch_conflict,
    cosmos_retry_with,
    openai_conversation_locked,
    starlette_answer,
    aiohttp_answer,
    redis_exec_aborted,
    elasticsearch_tls,
    opensearch_tls,
    of_class("asyncpg.CheckViolationError", "no"),
    of_class("asyncpg.InFailedSQLTransactionError", "current transaction is aborted"),
    of_class("couchbase.exceptions.DocumentExistsException"),
    of_class("django.db.utils.DatabaseError", "Save with update_fields did not affect any rows."),
    of_class("kazoo.exceptions.NodeExistsError"),
    of_class("redis.exceptions.LockError", "Cannot release a lock that's no longer owned"),
    mongodb_duplicate,
    google_already_exists,
    google_permission_denied,
    google_genai_already_exists,
    google_genai_invalid,
    grpc_already_exists,
    kurrentdb_access_denied,
    kurrentdb_wrong_certificate,
    nats_no_stream,
    cosmos_exists,
    dynamodb_cancelled_by_a_mistake,
    pymysql_duplicate,
    sqlalchemy_no_result,
    aiohttp_wrong_certificate,
    requests_tls,
    redis_wrong_password,
    psycopg_closed_pool,
)


def name(make):
    return make.__name__


@pytest.mark.parametrize("make", CONFLICTS, ids=name)
def test_a_rejection_is_a_conflict(make):
    assert is_conflict_error(make())


@pytest.mark.parametrize("make", CONFLICTS, ids=name)
def test_an_error_that_was_raised_from_a_rejection_is_a_conflict(make):
    error = RuntimeError("from a repository of one's own")
    error.__cause__ = make()
    assert is_conflict_error(error)


@pytest.mark.parametrize("make", TRANSIENT, ids=name)
def test_what_may_not_come_again_is_transient_and_no_conflict(make):
    assert is_transient_error(make())
    assert not is_conflict_error(make())


@pytest.mark.parametrize("make", NEITHER, ids=name)
def test_what_will_come_again_is_neither(make):
    assert not is_transient_error(make())
    assert not is_conflict_error(make())


NOTHING_RAN = (
    pymysql_lock_wait,
    pymysql_read_only,
    pymysql_transient(3572),
    asyncpg_read_only,
    dynamodb_throughput,
    dynamodb_transaction_that_lost_its_race_and_was_throttled,
    mongodb_no_server,
    of_class("asyncpg.CannotConnectNowError", "the database system is starting up"),
    of_class("asyncpg.LockNotAvailableError", "could not obtain lock"),
    of_class("asyncpg.TooManyConnectionsError", "sorry, too many clients already"),
    of_class("couchbase.exceptions.UnAmbiguousTimeoutException"),
    of_class("httpx.ConnectError", "refused"),
    of_class("httpx.ConnectTimeout", "no answer"),
    of_class("httpx.PoolTimeout", "no connection"),
    of_class("neo4j.exceptions.ConnectionAcquisitionTimeoutError"),
    of_class("psycopg_pool.PoolTimeout"),
    of_class("redis.exceptions.MaxConnectionsError"),
    of_class("sqlalchemy.exc.TimeoutError", "QueuePool limit of size 5 overflow 10 reached"),
)


@pytest.mark.parametrize("make", NOTHING_RAN, ids=name)
def test_an_error_that_proves_that_nothing_ran_leaves_no_doubt(make):
    assert is_transient_error(make())
    assert not leaves_doubt(make())


@pytest.mark.parametrize("make", [make for make in TRANSIENT if name(make) not in map(name, NOTHING_RAN)], ids=name)
def test_every_other_transient_error_leaves_doubt(make):
    assert leaves_doubt(make())


@pytest.mark.parametrize("make", [*CONFLICTS, *NEITHER], ids=name)
def test_neither_a_conflict_nor_a_lasting_error_leaves_doubt(make):
    assert not leaves_doubt(make())


CHOICE_409 = (
    google_already_exists,
    google_genai_already_exists,
    cosmos_exists,
    elasticsearch_conflict,
    opensearch_conflict,
)


@pytest.mark.parametrize("make", CHOICE_409, ids=name)
def test_409_is_a_choice(make):
    assert http_status(409).predicate(make())
    assert not http_status(412).predicate(make())


def test_449_is_a_choice_together_with_409():
    assert http_status(409, 449).predicate(cosmos_retry_with())
    assert http_status(409, 449).predicate(cosmos_exists())


def grpc_failed_precondition():
    return grpc_status_error("FAILED_PRECONDITION")


@pytest.mark.parametrize("make", [firestore_precondition, grpc_failed_precondition], ids=name)
def test_failed_precondition_is_a_choice(make):
    assert grpc_status("FAILED_PRECONDITION").predicate(make())
    assert not grpc_status("ABORTED").predicate(make())


def test_a_locked_conversation_is_a_choice_by_its_code():
    from tenacity import retry_if_exception

    locked = retry_if_exception(lambda error: getattr(error, "code", None) == "conversation_locked")
    assert locked.predicate(openai_conversation_locked())
    assert not locked.predicate(google_already_exists())


def asyncmy_duplicate():
    import asyncmy.errors

    return asyncmy.errors.IntegrityError(1062, "Duplicate entry 'e1' for key 'events.PRIMARY'")


def mysql_connector_duplicate():
    import mysql.connector.errors

    return mysql.connector.errors.IntegrityError(
        "Duplicate entry 'e1' for key 'events.PRIMARY'", errno=1062, sqlstate="23000"
    )


def pytds_duplicate():
    return pytds_error(
        2627, "Violation of UNIQUE KEY constraint 'one_version'. Cannot insert duplicate key in 'dbo.e'."
    )


def pymssql_duplicate():
    import pymssql

    said = b"Cannot insert duplicate key row in object 'dbo.e' with unique index 'one_version'. The value is (a, 1)."
    return pymssql.IntegrityError(2601, said)


def mongodb_duplicate_version():
    said = "E11000 duplicate key error collection: db.events index: one_version dup key: { stream: 1 }"
    return mongodb("DuplicateKeyError", said, 11000, {"code": 11000, "errmsg": said})


def postgrest_duplicate():
    return postgrest("23505", 'duplicate key value violates unique constraint "one_version"')


@pytest.mark.parametrize(
    "make",
    [oracle_duplicate, pytds_duplicate, pymssql_duplicate, mongodb_duplicate_version, postgrest_duplicate],
    ids=name,
)
def test_a_constraint_is_told_by_name(make):
    assert unique_violation("one_version").predicate(make())
    assert not unique_violation("one_id").predicate(make())
    assert not is_conflict_error(make())


@pytest.mark.parametrize("make", [pymysql_duplicate, asyncmy_duplicate, mysql_connector_duplicate], ids=name)
def test_a_mysql_key_is_told_by_name(make):
    assert unique_violation("PRIMARY").predicate(make())
    assert unique_violation("events.PRIMARY").predicate(make())
    assert not unique_violation("stream_version").predicate(make())
