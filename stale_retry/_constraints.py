"""The names by which a store may mean the unique constraint that was violated."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from . import _error_facts as facts


def violated_constraints_of(error: Any) -> frozenset[str]:
    """The names by which a store may mean the unique constraint that was violated, in small letters."""
    return frozenset(name.lower() for name in _names_of_violated(error) if type(name) is str)


def _names_of_violated(error: Any) -> list[Any]:
    if facts.sqlstate_of(error) == "23505":
        return _violated_in_postgres(error)
    if facts.is_named(error, {"IntegrityError": ("sqlite3",)}):
        said, _, columns = str(error).partition("UNIQUE constraint failed: ")
        index = re.fullmatch("index '(.*)'", columns)
        return [] if said else [index[1] if index else sorted_columns(columns)]
    if facts.mysql_code_of(error) == 1062:
        # The key comes last; before it stands the value, which a user may have written.
        return _with_and_without_table(error.args[1].rpartition(" for key ")[2].strip("'`"))
    if facts.oracle_code_of(error) == "ORA-00001":
        name = re.match(r"ORA-00001: [^(]*\(([^)]*)\)", str(error))
        return _with_and_without_table(name[1]) if name else []
    if (pattern := _SQLSERVER_UNIQUE.get(facts.sqlserver_code_of(error))) is not None:
        name = pattern.search(facts.sqlserver_text_of(error))
        return [name[1]] if name else []
    return _violated_in_mongodb(error)


# The server's or driver's prefix comes before the name, and values that a user may have written after it.
_SQLSERVER_UNIQUE: Mapping[int | None, re.Pattern[str]] = {
    2601: re.compile(r"^[^']*Cannot insert duplicate key row in object '[^']*' with unique index '([^']*)'"),
    2627: re.compile(r"^[^']*Violation of [A-Z ]+ constraint '([^']*)'"),
}


def _violated_in_postgres(error: Any) -> list[Any]:
    """The constraint, and of a partition also the name that PostgreSQL gives to the same constraint of its table."""
    asyncpg, psycopg, pg8000 = error, facts.look(error, "diag"), facts.first(error.args)
    name = facts.look(asyncpg, "constraint_name") or facts.look(psycopg, "constraint_name") or facts.look(pg8000, "n")
    table = facts.look(asyncpg, "table_name") or facts.look(psycopg, "table_name") or facts.look(pg8000, "t")
    if facts.is_named(error, {"APIError": ("postgrest",)}):
        said = re.fullmatch('.* unique constraint "(.*)"', facts.look(error, "message") or "")
        return [said[1]] if said else []
    names = [name]
    # A primary key's name has no columns in it: another table's would be taken for it.
    if type(name) is str and type(table) is str and name.startswith(f"{table}_") and not name.endswith("_pkey"):
        words = table.split("_")
        names += ["_".join(words[:n]) + name[len(table) :] for n in range(1, len(words))]
    return names


def _violated_in_mongodb(error: Any) -> list[Any]:
    refused = [_mongodb_index_of(refusal) for refusal in facts.mongodb_refusals_of(error)]
    return refused[0] if refused and all(names == refused[0] for names in refused) else []


def _mongodb_index_of(refusal: Mapping[str, Any]) -> list[Any]:
    if refusal.get("code") != 11000:
        return []
    said = re.match(
        r"E11000 duplicate key error collection: (?:[^. ]+\.)?(\S+) index: (\S+) dup key", refusal["errmsg"]
    )
    return [said[2], f"{said[1]}.{said[2]}"] if said else []


def _with_and_without_table(name: str) -> list[str]:
    return [name, name.rpartition(".")[2]]


def sorted_columns(columns: str) -> str:
    """The columns of a constraint in one order and spacing."""
    return ", ".join(sorted(column.strip() for column in columns.split(",")))
