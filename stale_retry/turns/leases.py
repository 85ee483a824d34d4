"""A lease that processes share: what a store of leases must do, and how a turn keeps its lease alive."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Hashable
from typing import Protocol, runtime_checkable

_LONGEST_NAME = 200
"""Characters that a name has as it is. Databases index no text of any length."""


@runtime_checkable
class LeaseStore(Protocol):
    """Where processes keep one lease for each name: `postgres_lease` and `redis_lease`, or one of your own.

    Each method is one atomic step in the store, by the store's own clock; each may raise what the store raises. Who
    was killed renews nothing, so his lease runs out.

    Attributes:
        timeout: seconds that a lease lasts unless it is renewed.
        poll: seconds, on average, between two times that one who waits asks again.
    """

    timeout: float
    poll: float

    async def acquire(self, name: str, token: str) -> bool:
        """Take the lease for `timeout` seconds if it is free or has run out. Whether it is this token's now.

        A store that wants others' turns to come round notes here who asked first, and lets him have it next.
        """
        ...

    async def renew(self, name: str, token: str) -> bool:
        """Begin the `timeout` seconds anew. False, and nothing done, when the lease is not this token's any more."""
        ...

    async def release(self, name: str, token: str) -> bool:
        """Give it back, and whatever was noted of the token. False when the lease was not this token's."""
        ...


def name_of(key: Hashable) -> str:
    """The key's name in a store, the same in each process.

    Raises:
        TypeError: the key is not a string, a number, None or a tuple of these.
    """
    try:
        name = json.dumps(key, ensure_ascii=False)
    except (TypeError, ValueError):
        raise TypeError("with shared=, a key must be a string, a number, None or a tuple of these") from None
    if len(name) <= _LONGEST_NAME:
        return name
    return hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()
