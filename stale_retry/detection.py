"""Which errors mean "rejected, nothing was stored": by class, by name, by code, by the words of a known release."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from typing import Any

from tenacity import retry_if_exception

from . import _error_facts as facts
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
    "Aborted": ("google.api_core",),
    "ConcurrentTaskModificationError": ("a2a",),
    "ConsistencyChecksFailedError": ("kurrentdbclient",),
    "ConversationConflict": ("pydantic_ai",),
    "CosmosAccessConditionFailedError": ("azure.cosmos",),
    "IntegrityError": ("eventsourcing",),
    "KeyWrongLastSequenceError": ("nats",),
    "StaleDataError": ("sqlalchemy",),
    "WatchError": ("redis", "valkey"),
    "WrongCurrentVersion": ("esdbclient", "kurrentdbclient"),
    "WrongCurrentVersionError": ("kurrentdbclient",),
}
# The same classes, raised for something else.
_OTHER_MEANINGS = re.compile(
    r"A \w+ occurred (on )?while watching"  # redis: the connection was lost, perhaps after EXEC was carried out
    r"|Stored events are not unique"  # eventsourcing: with each other
    r"|(Tracking notification ID|Failed to record tracking) "  # eventsourcing: a projection saw this event before
    r'|(UNIQUE constraint failed: |duplicate key value violates unique constraint ")\w*tracking[._]'
)
_CONFLICT_FACTS: facts.Facts = (
    (facts.sqlstate_of, frozenset(("40001", "40P01"))),  # serialization_failure, deadlock_detected
    (facts.mysql_code_of, frozenset((1213,))),  # ER_LOCK_DEADLOCK
    (facts.http_status_of, frozenset((412,))),  # Precondition Failed
    (facts.grpc_status_of, frozenset(("ABORTED",))),
    (facts.nats_code_of, frozenset((10071, 10164))),  # wrong last sequence
    (facts.mongodb_code_of, frozenset((112,))),  # WriteConflict
)


@facts.never_raises
def is_conflict_error(error: BaseException) -> bool:
    """Tell whether a store rejected an append because somebody else's came first, whichever store it is.

    True for everything that `is_stale_session_error` knows, and for what other stores raise for the same: see the
    list in "Recognised errors". Looks at what the error was raised from too, and at SQLAlchemy's `orig`; a group is a
    conflict when all its leaves are. Nothing is told by text that a user may have written. False for everything
    else, for whatever was raised from an error of giving up, and for an error whose own code fails.
    """
    return facts.holds(error, _is_conflict)


def _is_conflict(error: Any) -> bool:
    if facts.was_sent_again(error):
        return False
    aws = facts.aws_codes_of(error)
    return (
        is_stale_session_error(error)
        or (facts.is_named(error, _CONFLICTS) and not _OTHER_MEANINGS.match(str(error)))
        or facts.tells(error, _CONFLICT_FACTS)
        or (bool(aws) and aws <= facts.AWS_CONFLICTS)
    )


class retry_if_conflict(retry_if_exception):
    """`is_conflict_error` as a tenacity retry strategy, for `on` with whichever store.

    What only some stores, or some tables, mean by it is a choice, to be added with `|`: `unique_violation`,
    `http_status`, `sqlstate`.
    """

    def __init__(self) -> None:
        super().__init__(is_conflict_error)


class unique_violation(retry_if_exception):
    """A tenacity retry strategy for a store whose expected version is a unique constraint: only that one, by name.

    PostgreSQL tells the constraint (`"events_stream_version_key"`), MySQL the key (`"stream_version"`, or with its
    table), SQLite the columns (`"events.stream, events.version"`). Another constraint, such as that of the event's
    id, is no conflict: a retry would fail on it again until the deadline.

    Raises:
        TypeError: a name is not a string.
        ValueError: there is no name, or an empty one.
    """

    def __init__(self, *constraints: str) -> None:
        names = _checked("unique_violation", constraints, str, bool, "names of constraints, none of them empty")
        super().__init__(functools.partial(_violates, constraints=names))


class http_status(retry_if_exception):
    """A tenacity retry strategy for answers over HTTP, by status: `http_status(409)` where the service means it so.

    Knows the errors of httpx, aiohttp, requests, urllib, botocore, Azure, google-api-core and google-genai, and any
    with a `status_code`, a `status` or a `response` that has one.

    Raises:
        TypeError: a status is not an int.
        ValueError: there is no status, or one that is not from 100 to 599.
    """

    def __init__(self, *statuses: int) -> None:
        known = _checked("http_status", statuses, int, lambda status: 100 <= status <= 599, "statuses from 100 to 599")
        super().__init__(functools.partial(_told_by, reader=facts.http_status_of, values=known))


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
def _violates(error: BaseException, *, constraints: frozenset[str]) -> bool:
    return facts.holds(error, lambda link: not constraints.isdisjoint(facts.violated_constraints_of(link)))
