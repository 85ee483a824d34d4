"""Values of session state, compared as storage keeps them: as JSON."""

from __future__ import annotations

import json
from typing import Any

from pydantic_core import to_jsonable_python


def text_of(value: Any) -> str:
    """The value as JSON text, the same for values that storage does not tell apart."""
    try:
        return json.dumps(value, sort_keys=True, default=to_jsonable_python)
    except (TypeError, ValueError, RecursionError):  # what google-adk stores as a string, if it can
        return json.dumps(repr(value))


def value_of(text: str | None) -> Any:
    """A value with that text, None where there is none."""
    return None if text is None else json.loads(text)


def are_same(one: str | None, other: str | None) -> bool:
    """Whether two texts stand for the same. A key that is absent and one that is None do: some services delete a key
    that is set to None. And so do 1 and 1.0, which JSON does not tell apart.
    """
    one, other = one or _NONE, other or _NONE
    return one == other or _plain(one) == _plain(other)


_NONE = "null"


def _plain(text: str) -> str:
    return json.dumps(_decoder.decode(text), sort_keys=True)


def _number(text: str) -> float | int:
    number = float(text)
    return int(number) if number.is_integer() else number


_decoder = json.JSONDecoder(parse_float=_number)
