"""A lease that processes share: what a store of leases must do, and the name that a key has in it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Hashable, Mapping
from typing import Any, NamedTuple, Protocol, cast, runtime_checkable
from uuid import UUID

from .errors import EndReason

_LONGEST_NAME = 200
"""Characters that a name has as it is. Databases index no text of any length."""


class LeaseAnswer(NamedTuple):
    """What a store answers a token that asked for a lease.

    Attributes:
        is_ours: whether the lease is the token's now.
        arrived: when the token asked first, by the store's clock.
        is_superseded: whether a newer one interrupts the token that asked, which must not ask again.
    """

    is_ours: bool
    arrived: float
    is_superseded: bool = False


class LeaseNews(NamedTuple):
    """What a store knows of a lease that a token still holds.

    Attributes:
        stop: why the holder is asked to end; None: it is not.
        is_waited_for: whether another token asked for the lease lately.
    """

    stop: EndReason | None = None
    is_waited_for: bool = False


@runtime_checkable
class LeaseStore(Protocol):
    """Where processes keep one lease for each name: `sql_lease` and `redis_lease`, or one of your own.

    Each method is one atomic step in the store, by the store's own clock, and may raise what the store raises. A
    token is the id of one turn. A process that was killed renews nothing, so its leases run out.

    Attributes:
        timeout: seconds that a lease lasts unless it is renewed.
        poll: seconds, on average, between two questions of a turn that waits.
    """

    timeout: float
    poll: float

    async def acquire(
        self, name: str, token: str, *, arrived: float | None = None, interrupts: bool = False
    ) -> LeaseAnswer:
        """Take the lease for `timeout` seconds if it is free or has run out, or is the token's already.

        Otherwise note the token as the one that is next, unless one that asked before it is noted and still asks. With
        `interrupts`, the one that arrived last is next, the holder is asked to end as "newer", and a token that
        arrived before the holder, or before the one that is next, is superseded.

        Args:
            name: of the lease.
            token: of the turn that asks.
            arrived: what the first answer to this token said; None for the first question.
            interrupts: whether the token's turn interrupts others.
        """
        ...

    async def look(self, held: Mapping[str, str], *, renew: bool) -> Mapping[str, LeaseNews]:
        """What is known of the leases in `held`, names by token. A token that lost its lease is left out.

        With `renew`, the `timeout` seconds of the others begin again, also of one that ran out and that nobody took.
        """
        ...

    async def release(self, name: str, token: str) -> bool:
        """Give the lease back, and delete what was noted of the token. False if the lease was not this token's."""
        ...

    async def stop(self, name: str, token: str | None) -> bool:
        """Ask the holder to end as "stopped", if there is one and it is `token`; None means any."""
        ...


def name_of(key: Hashable) -> str:
    """The key's name in a store, the same in each process.

    Raises:
        TypeError: the key has no such name.
    """
    name = json.dumps(_as_json(key), ensure_ascii=False)
    if len(name) <= _LONGEST_NAME:
        return name
    return hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()


def _as_json(key: Any) -> Any:
    if key is None or isinstance(key, (str, int, float)):
        return key
    if isinstance(key, UUID):
        return {"uuid": key.hex}
    if isinstance(key, tuple):
        return [_as_json(part) for part in cast("Any", key)]
    raise TypeError(
        "a key that processes share must be a str, int, float, bool, None, UUID or a tuple of these, but it is or "
        f"contains a {type(key).__name__}; use its id, or turn it into a string"
    )
