"""Errors that mean "rejected, nothing was stored", by class, name, code, or the words of a known release."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from typing import Any

from tenacity import retry_if_exception

from . import _error_facts as facts
from ._constraints import sorted_columns, violated_constraints_of
from .errors import StaleSessionError

# google-adk below 2.7 raises a plain ValueError; how its text begins is the only sign, and it changed twice.
_BEGINNINGS_OF_KNOWN_RELEASES = (
    "Session last_update_time ",  # 0.5
    "The last_update_time provided in the session object ",  # 1.0 to 1.23; SqliteSessionService from 1.19 to 2.6
    "The session has been modified in storage since it was loaded",  # 1.28 to 2.6
)


@facts.never_raises
def is_stale_session_error(error: BaseException) -> bool:
    """Tell whether a store rejected an append because the session it came through was stale.

    True for `StaleSessionError`; for any exception that has a class of that name among its bases, such as
    google-adk's; for a plain `ValueError` that begins with the words of a google-adk release before it had that
    class; and for an exception group all of whose leaves are stale. False for everything else, for the errors of
    giving up as well, and for an error whose own code fails.
    """
    kind = type(error)
    if issubclass(kind, facts.GAVE_UP):
        return False
    if facts.is_group(error):
        return facts.each_leaf(error, is_stale_session_error)
    if any(base.__name__ == StaleSessionError.__name__ for base in kind.__mro__):
        return True
    return kind is ValueError and str(error).startswith(_BEGINNINGS_OF_KNOWN_RELEASES)


class retry_if_stale_session(retry_if_exception):
    """The same test as a tenacity retry strategy, to compose with others.

    For example `on=retry_if_stale_session() | retry_if_exception_type(TimeoutError)`.
    """

    def __init__(self) -> None:
        super().__init__(is_stale_session_error)


_CONFLICTS: facts.Names = {
    "APIConflictError": ("kopf",),
    "Aborted": ("google.api_core",),
    "BadVersionError": ("kazoo",),
    "CASMismatchException": ("couchbase",),
    "CasMismatchException": ("couchbase",),
    "ConcurrentTaskModificationError": ("a2a",),
    "ConflictError": ("aiocouch",),
    "ConsistencyChecksFailedError": ("kurrentdbclient",),
    "ConversationConflict": ("pydantic_ai",),
    "CosmosAccessConditionFailedError": ("azure.cosmos",),
    "IntegrityError": ("eventsourcing",),
    "KeyWrongLastSequenceError": ("nats",),
    "LWTException": ("cassandra",),
    "RecordModifiedError": ("concurrency",),  # django-concurrency
    "RevisionIdWasChanged": ("beanie",),
    "StaleDataError": ("sqlalchemy",),
    "TransactionConflictError": ("edgedb", "gel"),
    "WatchError": ("coredis", "redis", "valkey"),
    "WrongCurrentVersion": ("esdbclient", "kurrentdbclient"),
    "WrongCurrentVersionError": ("kurrentdbclient",),
}
# The same classes, raised for something else.
_OTHER_MEANINGS = re.compile(
    r"A \w+ occurred (on )?while watching"  # redis: the connection was lost, perhaps after EXEC was carried out
    r"|The (design )?document '.*' does already exist"  # aiocouch: asked before anything was sent
    r"|Stored events are not unique"  # eventsourcing: with each other
    r"|(Tracking notification ID|Failed to record tracking) "  # eventsourcing: a projection saw this event before
    r'|(UNIQUE constraint failed: |duplicate key value violates unique constraint ")\w*tracking[._]'
)
_MYSQL_CONFLICTS = frozenset(
    (
        1020,  # ER_CHECKREAD: MariaDB's snapshot isolation
        1213,  # ER_LOCK_DEADLOCK
        3101,  # ER_TRANSACTION_ROLLBACK_DURING_COMMIT: group replication
        8022,  # TiDB: the commit was rolled back
        9007,  # TiDB: write conflict
    )
)
_SQLSERVER_CONFLICTS = frozenset(
    (
        1205,  # deadlock victim
        3960,  # update conflict under snapshot isolation
        41302,  # the same in a memory-optimized table
        41305,  # repeatable read validation failed
        41325,  # serializable validation failed
    )
)
_CONFLICT_FACTS: facts.Facts = (
    (facts.sqlstate_of, frozenset(("40001", "40P01"))),  # serialization_failure, deadlock_detected
    (facts.mysql_code_of, _MYSQL_CONFLICTS),
    (facts.sqlserver_code_of, _SQLSERVER_CONFLICTS),
    (facts.oracle_code_of, frozenset(("ORA-00060", "ORA-08177"))),  # deadlock, cannot serialize
    (facts.neo4j_code_of, frozenset(("Neo.TransientError.Transaction.DeadlockDetected",))),
    (facts.http_status_of, frozenset((412,))),  # Precondition Failed
    (facts.grpc_status_of, frozenset(("ABORTED",))),
    (facts.nats_code_of, frozenset((10071, 10164))),  # wrong last sequence
)
_SQLITE_BUSY_SNAPSHOT = 517
_MESSAGE_DB = re.compile(r"Wrong expected version: -?\d+ \(Stream: ")


@facts.never_raises
def is_conflict_error(error: BaseException) -> bool:
    """Tell whether a store rejected an append because another one came first, whichever store it is.

    True for everything that `is_stale_session_error` knows, and for what other stores raise for the same: see the
    list in "Recognised errors". Looks at what the error was raised from too, and at what SQLAlchemy, Peewee, Tortoise
    and PynamoDB wrap; a group is a conflict when all its leaves are. Nothing is told by text that a user may have
    written. False where the client may have sent the request again by itself, because its own first sending may be
    what came first; for everything else; for whatever was raised from an error of giving up; and for an error whose
    own code fails.
    """
    return facts.holds(error, _is_rejection, unless=facts.was_sent_again)


def refuses_what_was_sent_again(error: BaseException) -> bool:
    """Whether an error would be a conflict if the client had not perhaps sent the request again by itself."""
    return facts.holds(error, _is_rejection) and facts.holds(error, facts.was_sent_again)


def _is_rejection(error: Any) -> bool:
    aws = facts.aws_codes_of(error)
    return (
        is_stale_session_error(error)
        or (facts.is_named(error, _CONFLICTS) and not _means_something_else(error))
        or (facts.tells(error, _CONFLICT_FACTS) and not _is_of_azure_leases(error))
        or (bool(aws) and aws <= facts.AWS_CONFLICTS)
        or _is_mongodb_conflict(error)
        or facts.look(error, "sqlite_errorcode") == _SQLITE_BUSY_SNAPSHOT
        or (facts.sqlstate_of(error) == "P0001" and bool(_MESSAGE_DB.match(facts.postgres_message_of(error))))
    )


def _means_something_else(error: Any) -> bool:
    if facts.is_named(error, {"APIConflictError": ("kopf",)}):
        return any(facts.look(part, "reason") == "AlreadyExists" for part in error.args)
    if facts.is_named(error, {"RevisionIdWasChanged": ("beanie",)}):  # before 2.0 of any unique index
        key = facts.look(error.__context__, "details", "keyPattern")
        return bool(key) and not {"_id", "revision_id"} & set(key)
    return bool(_OTHER_MEANINGS.match(str(facts.first(error.args))))


def _is_of_azure_leases(error: Any) -> bool:
    """412 is also the answer to a blob that somebody has leased, and to one that is too large."""
    code = facts.look(error, "error_code")
    return isinstance(code, str) and re.match("Lease|MaxBlobSize", code) is not None


def _is_mongodb_conflict(error: Any) -> bool:
    codes = {refusal.get("code") for refusal in facts.mongodb_refusals_of(error)}
    if codes == {251}:  # NoSuchTransaction: it was aborted
        return facts.has_mongodb_label(error, "TransientTransactionError")
    return codes == {112}  # WriteConflict


class retry_if_conflict(retry_if_exception):
    """`is_conflict_error` as a tenacity retry strategy, for `on` with whichever store.

    Some errors mean a lost race in some stores only. Add those of yours with `|`: `unique_violation`, `http_status`,
    `grpc_status`, `sqlstate`.
    """

    def __init__(self) -> None:
        super().__init__(is_conflict_error)


class unique_violation(retry_if_exception):
    """A tenacity retry strategy for a store whose expected version is a unique constraint: only that one, by name.

    PostgreSQL tells the constraint (`"events_stream_version_key"`), MySQL the key (`"stream_version"`, or with its
    table), SQLite the columns (`"events.stream, events.version"`) or the index, Oracle, SQL Server and MongoDB the
    constraint or index. `*` stands for any characters. Capital letters, the order of columns, and what PostgreSQL
    cuts off a name make no difference; a name also matches the constraint that PostgreSQL made for a partition whose
    name begins with the table's.

    Another constraint, for example on the event's id, is no conflict: a retry would fail on it again until the
    deadline.

    Raises:
        TypeError: a name is not a string.
        ValueError: there is no name, or an empty one.
    """

    def __init__(self, *constraints: str) -> None:
        names = _checked("unique_violation", constraints, str, bool, "names of constraints, none of them empty")
        super().__init__(functools.partial(_violates, pattern=_pattern_of(names)))


_POSTGRES_NAME_BYTES = 63


def _pattern_of(names: frozenset[str]) -> re.Pattern[str]:
    whole = {sorted_columns(name) if "," in name else name for name in names}
    cut = {name.encode()[:_POSTGRES_NAME_BYTES].decode(errors="ignore") for name in names}
    return re.compile("|".join(re.escape(name.lower()).replace(r"\*", ".*") for name in sorted(whole | cut)))


class http_status(retry_if_exception):
    """A tenacity retry strategy for answers over HTTP, by status: `http_status(409, 449)` if the service means it so.

    Knows the errors of httpx, aiohttp, requests, urllib, botocore, Azure, google-api-core and google-genai, and any
    with a `status_code`, a `status` or a `response` that has one; not what a web application raises to answer with.

    Raises:
        TypeError: a status is not an int.
        ValueError: there is no status, or one that is not from 100 to 599.
    """

    def __init__(self, *statuses: int) -> None:
        known = _checked("http_status", statuses, int, lambda status: 100 <= status <= 599, "statuses from 100 to 599")
        super().__init__(functools.partial(_told_by, reader=facts.http_status_of, values=known))


_GRPC_STATUSES = frozenset(
    (
        "ABORTED",
        "ALREADY_EXISTS",
        "CANCELLED",
        "DATA_LOSS",
        "DEADLINE_EXCEEDED",
        "FAILED_PRECONDITION",
        "INTERNAL",
        "INVALID_ARGUMENT",
        "NOT_FOUND",
        "OUT_OF_RANGE",
        "PERMISSION_DENIED",
        "RESOURCE_EXHAUSTED",
        "UNAUTHENTICATED",
        "UNAVAILABLE",
        "UNIMPLEMENTED",
        "UNKNOWN",
    )
)


class grpc_status(retry_if_exception):
    """A tenacity retry strategy for gRPC statuses: `grpc_status("FAILED_PRECONDITION")` if the service means it so.

    Knows the errors of grpcio, google-api-core and google-genai.

    Raises:
        TypeError: a status is not a string.
        ValueError: there is no status, or one that gRPC does not have.
    """

    def __init__(self, *statuses: str) -> None:
        rule = 'names of gRPC statuses, such as "FAILED_PRECONDITION"'
        known = _checked("grpc_status", statuses, str, _GRPC_STATUSES.__contains__, rule)
        super().__init__(functools.partial(_told_by, reader=facts.grpc_status_of, values=known))


class sqlstate(retry_if_exception):
    """A tenacity retry strategy for errors of a database, through any driver and SQLAlchemy: `sqlstate("55P03")`.

    Raises:
        TypeError: a state is not a string.
        ValueError: there is no state, or one that is not five digits or capital letters.
    """

    def __init__(self, *states: str) -> None:
        rule = "states of five digits or capital letters"
        known = _checked("sqlstate", states, str, lambda state: re.fullmatch("[0-9A-Z]{5}", state), rule)
        super().__init__(functools.partial(_told_by, reader=facts.sqlstate_of, values=known))


def _checked(
    name: str, values: tuple[Any, ...], kind: type, fits: Callable[[Any], object], rule: str
) -> frozenset[Any]:
    if any(not isinstance(value, kind) or isinstance(value, bool) for value in values):
        raise TypeError(f"{name} takes {rule}; got {values!r}")
    if not values or not all(fits(value) for value in values):
        raise ValueError(f"{name} takes {rule}; got {values!r}")
    return frozenset(values)


@facts.never_raises
def _told_by(error: BaseException, *, reader: Callable[[Any], Any], values: frozenset[Any]) -> bool:
    return facts.holds(error, lambda link: facts.tells(link, ((reader, values),)))


@facts.never_raises
def _violates(error: BaseException, *, pattern: re.Pattern[str]) -> bool:
    return facts.holds(error, lambda link: any(map(pattern.fullmatch, violated_constraints_of(link))))
