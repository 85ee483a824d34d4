"""The types of the options; users find them in `stale_retry.typing`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Hashable, Iterable, Sequence
from datetime import timedelta
from typing import Any, TypedDict

from tenacity import RetryCallState
from tenacity.retry import retry_base
from tenacity.stop import stop_base
from tenacity.wait import wait_base

from .conflict import Conflict, Settled
from .events import RetryEvent

Refresh = Callable[..., Any]
"""Takes the append's leading arguments up to and including the session; async or plain. Returns the session for the
next attempt, or None when it is gone."""

FindStored = Callable[..., Any]
"""Names the append's parameters that it needs and is called with them by name; async or plain. Falsy: not found."""

Jitter = Callable[[float], float]
"""Takes the backoff's delay and returns the delay to wait, both in seconds."""

Observer = Callable[[RetryEvent], None]
"""Called in the append's own task, so it must not block. One that raises is logged and never disturbs the append."""

ConflictHook = Callable[[Conflict[Any]], Awaitable[Settled | None] | Settled | None]
"""Async or plain. Returns None to continue or `conflict.settle(result)` to end the call; raises to abort it."""

Wait = wait_base | Callable[[RetryCallState], float]
Stop = stop_base | Callable[[RetryCallState], bool]
On = (
    type[Exception]
    | tuple[type[Exception], ...]
    | retry_base
    | Callable[[Exception], bool]
    | Callable[[RetryCallState], bool]
)
Seconds = float | timedelta
Key = Callable[[Any], Hashable]
"""Takes the session and returns what tells sessions apart."""
TransactionKey = str | Sequence[str] | Callable[..., Hashable]
"""The name of a parameter, the names of several, or a function of the arguments."""


class _CommonOptions(TypedDict, total=False):
    on: On
    in_doubt: On | None
    find_stored: FindStored | None
    backoff: Wait
    jitter: Jitter | None
    max_attempts: int | None
    deadline: Seconds | None
    attempt_timeout: Seconds | None
    stop: Stop | None
    observers: Observer | Iterable[Observer] | None
    reraise: bool
    name: str | None


class OptionsButRefresh(_CommonOptions, total=False):
    """Every option of `retry_on_stale_session` but `refresh`, for an integration that brings its own."""

    session: str
    key: Key | None
    on_conflict: ConflictHook | Iterable[ConflictHook] | None


class Options(OptionsButRefresh, total=False):
    """Every option of `retry_on_stale_session` by name, for `replace`, `retry_with` and integrations."""

    refresh: Refresh


class TransactionOptions(_CommonOptions, total=False):
    """Every option of `retry_transaction` by name."""

    key: TransactionKey | None
