"""What the libraries' own error classes mean, where no server that would raise them can be had."""

import ssl

import pytest

from stale_retry.detection import http_status, is_conflict_error, unique_violation
from stale_retry.transient import is_transient_error

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


def grpc_status(name):
    import grpc

    return grpc.aio.AioRpcError(grpc.StatusCode[name], grpc.aio.Metadata(), grpc.aio.Metadata(), details="details")


def grpc_aborted():
    return grpc_status("ABORTED")


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


CONFLICTS = (
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


def mongodb_aborted_transaction():
    details = {"code": 251, "errorLabels": ["TransientTransactionError"]}
    return mongodb("OperationFailure", "Transaction 1 has been aborted.", 251, details)


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
    return grpc_status("UNAVAILABLE")


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


TRANSIENT = (
    mongodb_auto_reconnect,
    mongodb_network_timeout,
    mongodb_no_server,
    mongodb_not_primary,
    mongodb_no_connection_in_the_pool,
    mongodb_aborted_transaction,
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
    return grpc_status("ALREADY_EXISTS")


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


NEITHER = (
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


@pytest.mark.parametrize("make", [google_already_exists, google_genai_already_exists, cosmos_exists], ids=name)
def test_409_is_a_choice(make):
    assert http_status(409).predicate(make())
    assert not http_status(412).predicate(make())


def asyncmy_duplicate():
    import asyncmy.errors

    return asyncmy.errors.IntegrityError(1062, "Duplicate entry 'e1' for key 'events.PRIMARY'")


def mysql_connector_duplicate():
    import mysql.connector.errors

    return mysql.connector.errors.IntegrityError(
        "Duplicate entry 'e1' for key 'events.PRIMARY'", errno=1062, sqlstate="23000"
    )


@pytest.mark.parametrize("make", [pymysql_duplicate, asyncmy_duplicate, mysql_connector_duplicate], ids=name)
def test_a_mysql_key_is_told_by_name(make):
    assert unique_violation("PRIMARY").predicate(make())
    assert unique_violation("events.PRIMARY").predicate(make())
    assert not unique_violation("stream_version").predicate(make())
