"""The wrapper by URI, for google-adk's command line: `--session_service_uri=stale-retry+postgresql+asyncpg://…`."""

from __future__ import annotations

import functools
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from google.adk.sessions import BaseSessionService

from ..turns import TurnQueue
from ._policy import retry_on_stale_session
from .interleaving import Interleaving
from .refresh import RefreshMode
from .service import RetryingSessionService
from .state_conflicts import StateConflicts
from .turns import queue_all_runners

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from ..typing import OptionsButRefresh

PREFIX = "stale-retry+"
SCHEMES = (
    "agentengine",
    "mariadb+aiomysql",
    "mariadb+asyncmy",
    "memory",
    "mysql",
    "mysql+aiomysql",
    "mysql+asyncmy",
    "postgresql",
    "postgresql+asyncpg",
    "postgresql+psycopg",
    "sqlite",
    "sqlite+aiosqlite",
)
"""The schemes that are registered unless told otherwise. google-adk knows a scheme only as a whole, driver included."""


def register_session_services(
    schemes: Iterable[str] = SCHEMES,
    *,
    refresh: RefreshMode = "incremental",
    interleaving: Interleaving = "allow",
    state_conflicts: StateConflicts = "last_wins",
    turns: TurnQueue | None = None,
    **options: Unpack[OptionsButRefresh],
) -> None:
    """Make google-adk's command line understand `stale-retry+` before these schemes, and queue all turns.

    Call it in the `services.py` next to the agents' folders. The rest of the URI is resolved as google-adk resolves it,
    schemes included that others have registered.

    google-adk only logs what `services.py` raises. The schemes are registered last, so after a mistake a server whose
    URI begins with `stale-retry+` does not start, instead of running without the queue.

    Args:
        schemes: without the prefix.
        turns: the queue of turns, as of `queue_all_runners`. None: turns do not queue.
        refresh: see `stale_retry.adk.retry_on_stale_session`.
        interleaving: see there.
        state_conflicts: see there.
        options: see there.

    Raises:
        TypeError, ValueError: an option is wrong, before anything is registered.
        RuntimeError: the runners are queued already, in another queue.
    """
    from google.adk.cli.service_registry import get_service_registry

    retry_on_stale_session(refresh=refresh, interleaving=interleaving, state_conflicts=state_conflicts, **options)
    wrap = functools.partial(
        RetryingSessionService,
        refresh=refresh,
        interleaving=interleaving,
        state_conflicts=state_conflicts,
        **options,
    )

    schemes = list(schemes)
    if turns is not None:
        queue_all_runners(turns)

    def create(uri: str, **kwargs: Any) -> BaseSessionService:
        return wrap(_wrapped_service(uri.removeprefix(PREFIX), kwargs))

    for scheme in schemes:
        get_service_registry().register_session_service(PREFIX + scheme, create)


def _wrapped_service(uri: str, kwargs: dict[str, Any]) -> BaseSessionService:
    from google.adk.cli.service_registry import get_service_registry

    service = get_service_registry().create_session_service(uri, **kwargs)
    if service is None:
        from google.adk.sessions import DatabaseSessionService

        kwargs.pop("agents_dir", None)
        service = DatabaseSessionService(db_url=uri, **kwargs)
    return service
