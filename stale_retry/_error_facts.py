"""What an error tells of itself: its class by name, its SQLSTATE, codes and status. Imports no driver and no client."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Iterator, Mapping
from typing import Any, ParamSpec, cast

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


def holds(error: Any, test: Test, *, unless: Test | None = None) -> bool:
    """Whether `test` holds for an error or for one it was raised from; for a group, so for each of its leaves.

    Not where `unless` holds for any of these, nor where one of them is the end of a decorated call: that was judged.
    """
    if is_group(error):
        return each_leaf(error, lambda leaf: holds(leaf, test, unless=unless))
    links = list(with_origins(error))
    if any(isinstance(link, GAVE_UP) or (unless is not None and unless(link)) for link in links):
        return False
    return any(holds(link, test, unless=unless) if is_group(link) else test(link) for link in links)


def is_group(error: Any) -> bool:
    return isinstance(error, BaseExceptionGroup)


def each_leaf(group: Any, test: Test) -> bool:
    """Whether `test` holds for all that is in a group; not where a class of its own kind has nothing in it."""
    return bool(group.exceptions) and all(test(error) for error in group.exceptions)


def with_origins(error: Any) -> Iterator[Any]:
    """An error and those it was raised from, the outermost first."""
    # Not __context__: what was raised while something else was being handled is its own error.
    seen: set[int] = set()
    pending: list[Any] = [error]
    while pending:
        link = pending.pop()
        if id(link) in seen or not isinstance(link, BaseException):
            continue
        seen.add(id(link))
        yield link
        pending += (link.__cause__, getattr(link, "orig", None))  # SQLAlchemy keeps the driver's error in `orig`


def is_named(error: Any, names: Names) -> bool:
    """Whether a class of such a name and package is among the error's classes, wherever in the package it is."""
    return any(
        f"{base.__module__}.".startswith(f"{package}.")
        for base in type(error).__mro__
        for package in names.get(base.__name__, ())
    )


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


def _first(args: tuple[Any, ...]) -> Any:
    return args[0] if args else None


# Each reader answers with None where an error has no such thing.


def sqlstate_of(error: Any) -> str | None:
    """asyncpg, psycopg and MySQL Connector say `sqlstate`, psycopg2 `pgcode`; pyodbc and pg8000 put it into `args`."""
    state = look(error, "sqlstate") or look(error, "pgcode")
    if state is None and is_named(error, {"Error": ("pyodbc", "pg8000")}):
        state = look(_first(error.args), "C") or _first(error.args)
    return state if type(state) is str else None


def sqlstate_class_of(error: Any) -> str | None:
    state = sqlstate_of(error)
    return state and state[:2]


_MYSQL: Names = {"MySQLError": ("pymysql", "asyncmy", "MySQLdb"), "Error": ("mysql", "mariadb")}


def mysql_code_of(error: Any) -> int | None:
    """pymysql, aiomysql, asyncmy and mysqlclient put the number into `args`, MySQL's and MariaDB's own into `errno`."""
    if not is_named(error, _MYSQL):
        return None
    code = look(error, "errno") or _first(error.args)
    return code if type(code) is int else None


_STATUS_PATHS = (
    ("status_code",),  # azure-core, openai, starlette
    ("status",),  # aiohttp, urllib, kubernetes
    ("response", "status_code"),  # httpx, requests
    ("response", "status"),
    ("response", "ResponseMetadata", "HTTPStatusCode"),  # botocore
)
_CODE_IS_STATUS: Names = {"GoogleAPICallError": ("google.api_core",), "APIError": ("google.genai",)}


def http_status_of(error: Any) -> int | None:
    paths = (*_STATUS_PATHS, ("code",)) if is_named(error, _CODE_IS_STATUS) else _STATUS_PATHS
    for path in paths:
        status = look(error, *path)
        if isinstance(status, int) and not isinstance(status, bool):
            return int(status)
    return None


def grpc_status_of(error: Any) -> str | None:
    """The name of a gRPC status, which google-genai, too, has in its answers."""
    if is_named(error, {"RpcError": ("grpc",)}):
        code: Any = look(error, "code")
        return code().name if code is not None else None
    return str(error.status) if is_named(error, {"APIError": ("google.genai",)}) else None


def has_mongodb_label(error: Any, label: str) -> bool:
    return is_named(error, {"PyMongoError": ("pymongo",)}) and bool(error.has_error_label(label))


def mongodb_code_of(error: Any) -> int | None:
    """Not of a commit without an answer, whatever its code."""
    if not is_named(error, {"OperationFailure": ("pymongo",)}):
        return None
    code: int | None = error.code
    return None if has_mongodb_label(error, "UnknownTransactionCommitResult") else code


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


def was_sent_again(error: Any) -> bool:
    """Whether botocore itself sent the request more than once: what is refused now may have been stored before."""
    return bool(look(error, "response", "ResponseMetadata", "RetryAttempts"))


def violated_constraints_of(error: Any) -> frozenset[str]:
    """What a unique violation was of: PostgreSQL's constraint, SQLite's columns, MySQL's key with and without table."""
    if sqlstate_of(error) == "23505":
        names = (look(error, "constraint_name"), look(error, "diag", "constraint_name"), look(_first(error.args), "n"))
        return frozenset(names)
    if is_named(error, {"IntegrityError": ("sqlite3",)}):
        said, _, columns = str(error).partition("UNIQUE constraint failed: ")
        return frozenset() if said else frozenset((columns,))
    if mysql_code_of(error) == 1062:
        # The key comes last; before it stands the value, which a user may have written.
        key = error.args[1].rpartition(" for key ")[2].strip("'`")
        return frozenset((key, key.rpartition(".")[2]))
    return frozenset()
