"""What many tests need: waits that are over soon, the same append made in each way there is, and who is freed when."""

import gc
from contextlib import contextmanager

from stale_retry import StaleSessionRetrying, TransactionRetrying, constant

SOON = {"backoff": constant(0.001), "jitter": None, "observers": ()}

WAYS = ["decorator", "call", "with"]


async def append_in(way, policy, append, session="session", *arguments):
    """What the append returned, or was settled with."""
    if way == "decorator":
        return await policy(append)(session, *arguments)
    if way == "call":
        return await policy.call(append, session, *arguments)
    result = None
    async for attempt in policy.attempts(session):
        with attempt:
            result = await append(attempt.session, *arguments)
    return result if attempt.settled is None else attempt.settled.result


def by_id(session):
    return session.id


def a_stale_session(store):
    session = store.open()
    session.version -= 1
    return session


class Thing:
    """A session or an event, watched; told apart as a gate needs it."""


@contextmanager
def without_the_collector():
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def keys_in_use():
    """How many keys have a holder in the queues of all policies."""
    policies = [thing for thing in gc.get_objects() if isinstance(thing, (StaleSessionRetrying, TransactionRetrying))]
    return sum(
        len(queues)
        for queues in {
            id(queues): queues or () for queues in (vars(policy).get("queues") for policy in policies)
        }.values()
    )
