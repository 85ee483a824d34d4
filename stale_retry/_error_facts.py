"""What an error tells of itself: its class by name, its SQLSTATE, codes and status. Imports no driver and no client."""

from __future__ import annotations

import functools
import re
import sys
from collections.abc import Callable, Mapping
from typing import Any, ParamSpec, cast

from ._chain import is_linked
from .errors import InDoubtError, StaleSessionRetryError

if sys.version_info < (3, 11):
    from exceptiongroup import BaseExceptionGroup

P = ParamSpec("P")

Test = Callable[[Any], bool]
Names = Mapping[str, tuple[str, ...]]  # a class's name, and the packages that have it
Facts = tuple[tuple[Callable[[Any], Any], frozenset[Any]], ...]  # a reader, and what it must read

GAVE_UP = (StaleSessionRetryError, InDoubtError)


def never_raises(judge: Callable[P, bool]) -> Callable[P, bool]:
    """An error whose own code fails tells nothing of itself, and is still the one that the caller must see."""

    @functools.wraps(judge)
    def judge_or_deny(*args: P.args, **kwargs: P.kwargs) -> bool:
        try:
            return judge(*args, **kwargs)
        except Exception:
            return False

    return judge_or_deny


def holds(error: Any, test: Test, *, unless: Test | None = None, group: Test | None = None) -> bool:
    """Whether `test` holds for an error or for one it was raised from. `group` is the test for a group; the default is
    that each of its leaves passes.

    Not where `unless` holds for any of these, nor where one of them is the end of a decorated call: that was judged.
    """

    def each_leaf_holds(link: Any) -> bool:
        return each_leaf(link, lambda leaf: holds(leaf, test, unless=unless))

    judge_group = group or each_leaf_holds
    if is_group(error):
        return judge_group(error)
    links = with_origins(error)
    for link in links:
        if isinstance(link, GAVE_UP) or (unless is not None and unless(link)):
            return False
    return any((judge_group if is_group(link) else test)(link) for link in links)


def is_group(error: Any) -> bool:
    return isinstance(error, BaseExceptionGroup)


def each_leaf(group: Any, test: Test) -> bool:
    """Whether `test` holds for all that is in a group; not where a class of its own kind has nothing in it."""
    return bool(group.exceptions) and all(test(error) for error in group.exceptions)


def with_origins(error: Any) -> list[Any]:
    """An error and those it was raised from, the outermost first."""
    # Not __context__: what was raised while something else was being handled is its own error. Not our own links
    # either: an error that a call inside ended with leads to the rejections before it.
    found: dict[int, Any] = {}
    pending: list[Any] = [error]
    while pending:
        link = pending.pop()
        if isinstance(link, BaseException) and id(link) not in found:
            found[id(link)] = link
            pending += (None if is_linked(link) else link.__cause__, getattr(link, "orig", None), _wrapped_by(link))
    return list(found.values())


_KEEPS_IN_CAUSE: Names = {"PynamoDBException": ("pynamodb",)}
_KEEPS_IN_ARGS: Names = {"BaseORMException": ("tortoise",)}


def _wrapped_by(error: Any) -> Any:
    """The driver's error, where a library raises its own without `from`. SQLAlchemy and Peewee have it in `orig`."""
    if is_named(error, _KEEPS_IN_CAUSE):
        return look(error, "cause")
    return first(error.args) if is_named(error, _KEEPS_IN_ARGS) else None


def is_named(error: Any, names: Names) -> bool:
    """Whether a class of such a name and package is among the error's classes, wherever in the package it is."""
    for base in type(error).__mro__:  # a loop, because almost no class has such a name
        packages = names.get(base.__name__)
        if packages is not None and f"{base.__module__}.".startswith(tuple(f"{package}." for package in packages)):
            return True
    return False


def class_of(error: object) -> tuple[str, str]:
    """The module and name of the error's own class, where its subclasses mean something else."""
    return type(error).__module__, type(error).__name__


def tells(error: Any, facts: Facts) -> bool:
    """Whether one of the readers reads one of its values."""
    return any(reader(error) in values for reader, values in facts)


def look(value: Any, *path: str) -> Any:
    """What lies at the end of a path of attributes and keys; None where there is nothing."""
    for step in path:
        value = cast("Any", value).get(step) if type(value) is dict else getattr(value, step, None)
    return value


def first(values: Any) -> Any:
    """The first of a tuple; None where there is none."""
    return item(values, 0)


def item(values: Any, index: int) -> Any:
    return cast("Any", values)[index] if type(values) is tuple and values else None


# Each reader answers with None where an error has no such thing.


def sqlstate_of(error: Any) -> str | None:
    """asyncpg, psycopg and MySQL Connector say `sqlstate`, psycopg2 `pgcode`, PostgREST `code`; pyodbc and pg8000 put
    it into `args`.
    """
    state = look(error, "sqlstate") or look(error, "pgcode")
    if state is None and is_named(error, {"APIError": ("postgrest",)}):
        state = look(error, "code")
    if state is None and is_named(error, {"Error": ("pyodbc", "pg8000")}):
        state = look(first(error.args), "C") or first(error.args)
    return state if type(state) is str else None


def postgres_message_of(error: Any) -> str:
    """What PostgreSQL said; pg8000 has it among other things in `args`."""
    return str(look(first(error.args), "M") or error)


def sqlstate_class_of(error: Any) -> str | None:
    state = sqlstate_of(error)
    return state and state[:2]


_MYSQL: Names = {"MySQLError": ("pymysql", "asyncmy", "MySQLdb"), "Error": ("mysql", "mariadb")}


def mysql_code_of(error: Any) -> int | None:
    """pymysql, aiomysql, asyncmy and mysqlclient put the number into `args`, MySQL's and MariaDB's own into `errno`."""
    if not is_named(error, _MYSQL):
        return None
    code = look(error, "errno") or first(error.args)
    return code if type(code) is int else None


# pyodbc ends what a server said with the server's number and the call that failed.
_PYODBC_SAYS = re.compile(r"\[\w{5}\] (?:\[[^]]*\])*\[SQL Server\]")
_PYODBC_CODE = re.compile(r"\((\d+)\) \(SQL\w+\)")


def sqlserver_code_of(error: Any) -> int | None:
    """The number: `number` of pytds, in `args` of pymssql, in the text of pyodbc, where two of them prove nothing."""
    if is_named(error, {"DatabaseError": ("pytds",)}):
        code = look(error, "number")
    elif is_named(error, {"Error": ("pymssql",)}):
        code = first(first(error.args)) or first(error.args)
    elif is_named(error, {"Error": ("pyodbc",)}) and _PYODBC_SAYS.match(sqlserver_text_of(error)):
        codes = _PYODBC_CODE.findall(sqlserver_text_of(error))
        code = int(codes[0]) if len(codes) == 1 else None
    else:
        return None
    return code if type(code) is int else None


def sqlserver_text_of(error: Any) -> str:
    """What SQL Server said: pytds has it in `text`, the others last in `args`, pymssql sometimes in another tuple."""
    last = item(error.args, -1)
    said = look(error, "text") or item(last, -1) or last
    return said.decode(errors="replace") if type(said) is bytes else str(said)


def oracle_code_of(error: Any) -> str | None:
    """python-oracledb: `ORA-08177` of the server, `DPY-4011` of the driver."""
    code: str | None = look(first(error.args), "full_code") if is_named(error, {"Error": ("oracledb",)}) else None
    return code


def neo4j_code_of(error: Any) -> str | None:
    code: str | None = look(error, "code") if is_named(error, {"Neo4jError": ("neo4j",)}) else None
    return code


_STATUS_PATHS = (
    ("status_code",),  # azure-core, openai, starlette
    ("status",),  # aiohttp, urllib, kubernetes
    ("response", "status_code"),  # httpx, requests
    ("response", "status"),
    ("response", "ResponseMetadata", "HTTPStatusCode"),  # botocore
)
_CODE_IS_STATUS: Names = {"GoogleAPICallError": ("google.api_core",), "APIError": ("google.genai",)}
# What a web framework answers with: raised by the application itself.
_OWN_ANSWERS: Names = {
    "APIException": ("rest_framework",),
    "HTTPError": ("bottle", "tornado.web"),
    "HTTPException": ("aiohttp.web_exceptions", "fastapi", "litestar", "starlette", "werkzeug"),
    "HttpError": ("ninja",),
    "SanicException": ("sanic",),
}


def http_status_of(error: Any) -> int | None:
    if is_named(error, _OWN_ANSWERS):
        return None
    paths = (*_STATUS_PATHS, ("code",)) if is_named(error, _CODE_IS_STATUS) else _STATUS_PATHS
    for path in paths:
        status = look(error, *path)
        if isinstance(status, int) and not isinstance(status, bool):
            return int(status)
    return None


def grpc_status_of(error: Any) -> str | None:
    """The name of a gRPC status, which google-api-core and google-genai have as well."""
    if is_named(error, {"RpcError": ("grpc",)}):
        code: Any = look(error, "code")
        return code().name if code is not None else None
    if is_named(error, {"GoogleAPICallError": ("google.api_core",)}):
        name: str | None = look(error, "grpc_status_code", "name")
        return name
    return str(error.status) if is_named(error, {"APIError": ("google.genai",)}) else None


def has_mongodb_label(error: Any, label: str) -> bool:
    return is_named(error, {"PyMongoError": ("pymongo",)}) and bool(error.has_error_label(label))


_STORED_BY_BULK = ("nInserted", "nMatched", "nModified", "nRemoved", "nUpserted")


def mongodb_refusals_of(error: Any) -> list[dict[str, Any]]:
    """What MongoDB refused; nothing where a part of it may be stored, as after a commit without an answer."""
    if not is_named(error, {"OperationFailure": ("pymongo",)}):
        return []
    if has_mongodb_label(error, "UnknownTransactionCommitResult"):
        return []
    details: dict[str, Any] = look(error, "details") or {}
    if not is_named(error, {"BulkWriteError": ("pymongo",)}):
        return [{**details, "code": error.code}]
    stored = any(details.get(count) for count in _STORED_BY_BULK) or details.get("writeConcernErrors")
    if stored and not has_mongodb_label(error, "TransientTransactionError"):
        return []
    return list(details.get("writeErrors") or ())


def nats_code_of(error: Any) -> int | None:
    return error.err_code if is_named(error, {"APIError": ("nats",)}) else None


AWS_CONFLICTS = frozenset(
    (
        "ConditionalCheckFailed",
        "ConditionalCheckFailedException",
        "ConditionalRequestConflict",  # S3: another conditional write was under way
        "PreconditionFailed",
        "ReplicatedWriteConflictException",
        "TransactionConflict",
        "TransactionConflictException",
    )
)


def aws_codes_of(error: Any) -> frozenset[str]:
    """The code of an AWS service's error; of a cancelled transaction the reasons, which are codes without a suffix."""
    if not is_named(error, {"ClientError": ("botocore",)}):
        return frozenset()
    code = look(error.response, "Error", "Code")
    if code != "TransactionCanceledException":
        return frozenset((code,))
    reasons = look(error.response, "CancellationReasons") or ()
    return frozenset(reason.get("Code") for reason in reasons) - {None, "None"}


_RESENDERS: Names = {
    "ClientError": ("botocore",),
    "ClientResponseError": ("aiohttp",),
    "IntegrityError": ("eventsourcing",),
    "RetryError": ("google.api_core",),
}
_SENT_AGAIN_BY_AIOHTTP = ("DELETE", "PUT")  # over a connection that was lost, and without telling


def was_sent_again(error: Any) -> bool:
    """Whether a client may have sent the request more than once: what is refused now may have been stored before.

    botocore counts, urllib3 keeps a history. aiohttp never says it, not even to aiobotocore above it. Neither does
    eventsourcing's recorder for PostgreSQL, or google-api-core when it stopped retrying.
    """
    if look(error, "response", "ResponseMetadata", "RetryAttempts"):
        return True
    history = look(error, "response", "raw", "retries", "history")
    if type(history) is tuple and any(not look(entry, "redirect_location") for entry in cast("Any", history)):
        return True
    if not is_named(error, _RESENDERS):
        return False
    if is_named(error, {"ClientResponseError": ("aiohttp",)}):
        return look(error, "request_info", "method") in _SENT_AGAIN_BY_AIOHTTP
    if is_named(error, {"ClientError": ("botocore",)}):
        # DynamoDB's requests are all POSTs. S3's are not, and a refused one looks like boto3's.
        return not aws_codes_of(error).isdisjoint(_REFUSALS_OF_S3) and _was_raised_in(error, "aiobotocore.")
    if is_named(error, {"IntegrityError": ("eventsourcing",)}):
        return is_named(error.__cause__, {"Error": ("psycopg",)})
    return True


_REFUSALS_OF_S3 = frozenset(("ConditionalRequestConflict", "PreconditionFailed"))


def _was_raised_in(error: Any, package: str) -> bool:
    trace = error.__traceback__
    while trace is not None:
        if str(trace.tb_frame.f_globals.get("__name__")).startswith(package):
            return True
        trace = trace.tb_next
    return False
