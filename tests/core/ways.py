"""What many tests need: waits that are over soon, the same append made in each way there is, and who is freed when."""

import gc
import itertools
from contextlib import contextmanager

import anyio

from stale_retry import StaleSessionError, StaleSessionRetrying, TransactionRetrying, constant, retry_on_stale_session

from .virtual import run

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
    """A session or an event, watched; told apart by what it is."""


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


def waits_of(retries, *, backend="asyncio", **options):
    """When each attempt of an append that is always stale begins, as the waits in between, and how it ended."""
    began = []

    @retry_on_stale_session(lambda session: session, **{"jitter": None, "deadline": None, "observers": (), **options})
    async def append(session):
        began.append(anyio.current_time())
        if len(began) > retries:
            return "stored"
        raise StaleSessionError

    async def main():
        try:
            return await append("session")
        except StaleSessionError as error:
            return error

    ended = run(main, backend)
    return [later - earlier for earlier, later in itertools.pairwise(began)], ended
