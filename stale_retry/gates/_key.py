"""Which lock a session has: the same one in every process, whatever its hash seed."""

from __future__ import annotations

import json
import uuid
from collections.abc import Hashable
from hashlib import blake2b
from typing import cast


def lock_of(key: Hashable) -> bytes:
    """Eight bytes for a key that is a str, an int, a UUID, or a tuple of such.

    Raises:
        TypeError: it is something else, which another process might not write the same way.
    """
    return blake2b(_written(key).encode(), digest_size=8, person=b"stale_retry gate").digest()


def _written(key: Hashable) -> str:
    # Not `repr(key)`: what inherits from these types may have one of its own, and Python releases differ in what they
    # escape.
    if isinstance(key, str):
        return json.dumps(key)
    if isinstance(key, int):
        return int.__repr__(key)
    if isinstance(key, uuid.UUID):
        return f"uuid:{key.int:032x}"
    if isinstance(key, tuple):
        return f"({','.join(map(_written, cast(tuple[Hashable, ...], key)))})"
    raise TypeError(
        f"the key of a shared gate must be a str, an int, a UUID or a tuple of such, got a {type(key).__name__}: "
        f"other processes must come to the same key"
    )
