"""An append whose answers get lost on the way back, as on a real network."""

from __future__ import annotations

import copy
import functools
import inspect
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar, cast

F = TypeVar("F", bound=Callable[..., Coroutine[Any, Any, Any]])


def lose_answers(append: F, *, every: int = 3, resend: bool = False, session: str = "session") -> F:
    """The same append, but the answer of every third event that it stores is lost.

    The event is stored all the same, and the caller gets `ConnectionError`. Decorate the result to see what your
    policy makes of it: `retrying = retry_on_stale_session(...)(lose_answers(store.append))`.

    Args:
        append: an append that is not decorated.
        every: 3 loses the answers to the third, sixth, … stored event; 1 loses all.
        resend: do as aiohttp, redis-py and botocore do when an answer is lost: send the same request again. The
            caller gets the second answer, which from a versioned store is a rejection. The second request is made
            through a copy of the session as it was before the first.
        session: name of the append's parameter that carries the session; only `resend` needs it.

    Raises:
        ValueError: `every` is below 1.
    """
    if every < 1:
        raise ValueError(f"every must be at least 1, got {every!r}; 1 loses every answer")
    signature = inspect.signature(append)
    stored = 0

    @functools.wraps(append)
    async def losing(*args: Any, **kwargs: Any) -> Any:
        nonlocal stored
        again = signature.bind(*args, **kwargs)
        if resend:
            again.arguments[session] = _copied(again.arguments[session])
        result = await append(*args, **kwargs)
        stored += 1
        if stored % every:
            return result
        if resend:
            return await append(*again.args, **again.kwargs)
        raise ConnectionError("the answer was lost; the event is stored")

    return cast(F, losing)


def _copied(session: Any) -> Any:
    """A deep copy; of a session that holds a lock or a connection a shallow one, which is enough for its version."""
    try:
        return copy.deepcopy(session)
    except Exception:
        return copy.copy(session)
