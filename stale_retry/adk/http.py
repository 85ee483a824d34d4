"""What a client of a web server hears of a turn that was refused or ended early."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from ..turns import SessionBusyError, TurnError

if TYPE_CHECKING:
    from fastapi import FastAPI


def answer_turn_errors(app: FastAPI) -> None:
    """Make a FastAPI application, such as google-adk's `get_fast_api_app(...)`, answer a turn's error with status 409.

    The body is `{"detail": …, "error": …, "reason": …}`: the message, the error's name, and why a session is busy.
    google-adk wraps what a plugin raises in a `RuntimeError`; that is looked through, and every other one goes its way.
    """
    from fastapi.responses import JSONResponse

    async def answer(_: Any, error: Exception) -> JSONResponse:
        turn_error = _turn_error(error)
        if turn_error is None:
            raise error
        reason = turn_error.reason if isinstance(turn_error, SessionBusyError) else None
        body = {"detail": str(turn_error), "error": type(turn_error).__name__, "reason": reason}
        return JSONResponse(body, status_code=409)

    handler: Callable[[Any, Exception], Awaitable[JSONResponse]] = answer
    app.add_exception_handler(RuntimeError, handler)


def _turn_error(error: BaseException | None) -> TurnError | None:
    while error is not None and not isinstance(error, TurnError):
        error = error.__cause__
    return error
