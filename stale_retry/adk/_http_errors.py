"""The errors of a turn as a web server answers them: with status 409, without further set-up."""

from __future__ import annotations

import functools
from typing import Any

from ..turns import TurnError


def as_http_error(error: TurnError) -> TurnError:
    """The same error, which is starlette's `HTTPException` too where that is installed."""
    error_type: Any = type(error)
    kind = _http_kind(error_type)
    if kind is None or isinstance(error, kind):
        return error
    http_error = kind.__new__(kind)
    http_error.args = error.args
    http_error.__dict__.update(error.__dict__)
    http_error.status_code, http_error.detail, http_error.headers = 409, str(error), None
    return http_error.with_traceback(error.__traceback__)  # type: ignore[no-any-return]


@functools.lru_cache
def _http_kind(kind: Any) -> Any:
    try:
        from starlette.exceptions import HTTPException
    except ImportError:
        return None
    if issubclass(kind, HTTPException):
        return kind
    fields = {
        "__doc__": kind.__doc__,
        "__module__": kind.__module__,
        "__str__": Exception.__str__,
        "__repr__": Exception.__repr__,
        "__reduce__": _reduced_to(kind),
    }
    return type(kind.__name__, (kind, HTTPException), fields)


def _reduced_to(kind: Any) -> Any:
    def reduce(self: Any) -> Any:
        plain = kind.__new__(kind)
        plain.args = self.args
        plain.__dict__.update({k: v for k, v in self.__dict__.items() if k not in ("status_code", "detail", "headers")})
        return plain.__reduce__()

    return reduce
