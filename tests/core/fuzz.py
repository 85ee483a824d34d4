"""A random world from a seed: writers, a store that fails in every way, cancellations of every kind.

What must hold of each call, whatever the seed: it returned, and its event is stored once; it gave up, and its event is
not stored; it raised `InDoubtError`, or was cancelled, or raised an error that nothing was to be done about, and its
event is stored once at most. No call gives up without an attempt, none makes one after it was cancelled, and none
leaves a slot or an object behind.

`cd tests && python -m core.fuzz 20000` plays that many seeds; `python -m core.fuzz 1 --from 4711` plays one.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import math
import random
import sys
import weakref
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import anyio
import trio

from stale_retry import (
    InDoubtError,
    StaleSessionError,
    StaleSessionRetryError,
    retry_if_conflict,
    retry_if_transient,
    retry_on_stale_session,
    retry_transaction,
)

from .virtual import run

if sys.version_info < (3, 11):
    from exceptiongroup import BaseExceptionGroup

FOR_EVER = 30.0
"""Seconds that an append hangs."""

COUNTED = sys.version_info >= (3, 11)
"""Whether tasks count their cancellations, without which one that a driver turned into an error cannot be told."""

WAYS = ("decorated", "call", "block", "nested", "transaction")
LIMITS = ("none", "none", "scope", "cancel", "timeout", "wait_for", "task group")


class Session:
    def __init__(self, world: World) -> None:
        self.id = "session"
        self.version = world.version
        self.ids = list(world.stored)


class Event:
    def __init__(self, number: tuple[int, int]) -> None:
        self.id = number


class World:
    """One seed's store, policy and writers.

    Attributes:
        stored: the ids of the stored events, in order.
        sent: how many attempts were made to store each.
        ends: when each event's call was cancelled.
        late: the events that were sent after that.
        swallowed: those whose cancellation the append's own group may have swallowed: groups of anyio, and of asyncio
            before Python 3.13, do if a child fails at the same instant.
        outcomes: how each event's call ended.
        things: every session and event.
    """

    def __init__(self, seed: int, backend: str) -> None:
        self.random = pick = random.Random(seed)
        self.native = backend == "asyncio" and COUNTED
        self.version = 0
        self.stored: list[Any] = []
        self.sent: Counter[Any] = Counter()
        self.ends: dict[Any, float] = {}
        self.late: set[Any] = set()
        self.swallowed: set[Any] = set()
        self.outcomes: dict[Any, str] = {}
        self.things: list[weakref.ref[Any]] = []
        self.way = pick.choice(WAYS)
        # asyncio's own groups and limits, and a driver's error in place of a cancellation, are cycles by themselves.
        self.is_tidy = pick.random() < 0.3
        self.limits = (LIMITS[:4] if self.is_tidy else LIMITS) if self.native else LIMITS[:3]
        self.latency = pick.choice((0, 0.005, 0.05, 1))
        self.finds = pick.random() < 0.8
        self.chances = {
            "hangs": pick.choice((0, 0, 0, 0.05)),
            "lands late": pick.choice((0, 0.5)),
            "is lost": pick.choice((0, 0, 0.1, 0.4)),
            # Without find_stored nobody can tell a resent request's rejection from another one.
            "is resent": pick.choice((0, 0, 0.2)) if self.finds else 0,
            "is converted": pick.choice((0, 0, 0.5)) if not self.is_tidy and (self.native or backend == "trio") else 0,
            "refresh fails": pick.choice((0, 0, 0.1)),
            "in a group": 0 if self.is_tidy else pick.choice((0, 0, 0.5)),
        }
        self.leaves_counts = self.native and not self.is_tidy and pick.random() < 0.3
        if self.leaves_counts and sys.version_info >= (3, 13):  # where a group that fails cancels such a task once more
            self.chances["in a group"] = 0
            self.limits = tuple(limit for limit in self.limits if limit != "task group")
        self.foreign = pick.choice((0, 0, 0.02, 0.5))
        self.policy, self.append = self.decorate()
        if sys.version_info < (3, 13) and self.way == "nested" and self.policy.attempt_timeout is not None:
            # An asyncio group that fails within a time limit leaves a count behind, and the limit, as `asyncio.timeout`
            # would, takes its own cancellation for another one.
            self.chances["in a group"] = 0

    def chance(self, what: str) -> bool:
        return self.random.random() < self.chances[what]

    def is_late(self, event: Event) -> bool:
        return anyio.current_time() >= self.ends.get(event.id, math.inf)

    async def pause(self) -> None:
        await anyio.sleep(self.random.uniform(0, self.latency) if self.latency else 0)

    def new_session(self) -> Session:
        session = Session(self)
        self.things.append(weakref.ref(session))
        return session

    # The policy

    def decorate(self) -> tuple[Any, Callable[[Session, Event], Awaitable[Any]]]:
        pick, is_transaction = self.random, self.way == "transaction"
        deadline = pick.choice((None, 0.3, 2, 20))
        options: dict[str, Any] = {"observers": (), "deadline": deadline, "reraise": pick.random() < 0.3}
        if deadline is None:
            options["max_attempts"] = pick.choice((1, 3, 8))
        if self.finds:
            options["in_doubt"] = retry_if_transient()
            options["find_stored"] = self.find_transaction if is_transaction else self.find
        elif pick.random() < 0.3:
            options["on"] = retry_if_conflict() | retry_if_transient()  # as for an idempotent append
        self.is_idempotent = "on" in options
        if pick.random() < 0.6:
            options["key"] = "key" if is_transaction else lambda session: session.id
        if pick.random() < 0.2:
            options["attempt_timeout"] = pick.choice((0.01, 1))
        self.reraises = options["reraise"]
        if is_transaction:
            policy: Any = retry_transaction(**options)
            transact = policy(self.transact)
            return policy, lambda session, event: transact("session", event)
        policy = retry_on_stale_session(self.refresh, **options)
        decorated = policy(self.store)

        @policy
        async def nested(session: Session, event: Event) -> Any:
            return await decorated(session, event)

        async def block(session: Session, event: Event) -> Any:
            find = (lambda session: self.find(session, event)) if self.finds else None
            async for attempt in policy.attempts(session, find_stored=find):
                with attempt:
                    await self.store(attempt.session, event)
            return event.id

        async def called(session: Session, event: Event) -> Any:
            return await policy.call(self.store, session, event)

        ways = {"decorated": decorated, "call": called, "block": block, "nested": nested}
        return policy, ways[self.way]

    def find(self, session: Session, event: Event) -> Any:
        return event.id if event.id in session.ids else None

    async def find_transaction(self, event: Event) -> Any:
        with self.driver():
            await self.pause()
            return event.id if event.id in self.stored else None

    # The store

    @contextmanager
    def driver(self) -> Iterator[None]:
        """One that turns a cancellation into a connection error of its own, as some do."""
        try:
            yield
        except anyio.get_cancelled_exc_class():
            if self.chance("is converted"):
                raise ConnectionResetError("the connection was lost") from None
            raise

    async def refresh(self, session: Session) -> Session:
        with self.driver():
            await self.pause()
            if self.chance("refresh fails"):
                raise ConnectionResetError("the session could not be read")
            fresh = self.new_session()
            await self.pause()
            return fresh

    async def transact(self, key: str, event: Event) -> Any:
        session = self.new_session()
        with self.driver():
            await self.pause()
        return await self.store(session, event)

    async def store(self, session: Session, event: Event) -> Any:
        self.sent[event.id] += 1
        if self.is_late(event) and anyio.current_time() > self.ends[event.id]:
            self.late.add(event.id)
        if not self.chance("in a group"):
            return await self.send(session, event)
        try:
            if self.native and self.random.random() < 0.5:
                async with asyncio.TaskGroup() as group:
                    group.create_task(self.send(session, event))
            else:
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(self.send, session, event)
        except BaseExceptionGroup:
            if self.is_late(event):
                self.swallowed.add(event.id)
            raise
        return event.id

    async def send(self, session: Session, event: Event) -> Any:
        with self.driver():
            try:
                if self.chance("hangs"):
                    await anyio.sleep(FOR_EVER)
                await self.pause()
            except anyio.get_cancelled_exc_class():
                if self.chance("lands late"):
                    self.requests.start_soon(self.land, session.version, event.id)
                raise
            if not self.commit(session.version, event.id):
                raise StaleSessionError("the session is stale")
            is_lost, is_resent = self.chance("is lost"), self.chance("is resent")
            await self.pause()
            if is_resent:
                raise StaleSessionError("the request was resent, and its own first success is a conflict")
            if is_lost:
                raise ConnectionResetError("the answer was lost")
            session.version, session.ids = self.version, list(self.stored)
            return event.id

    async def land(self, version: int, id: Any) -> None:
        await anyio.sleep(self.random.choice((0.001, 0.1, 3)))
        self.commit(version, id)

    def commit(self, version: int, id: Any) -> bool:
        if version != self.version or (self.is_idempotent and id in self.stored):
            return version == self.version
        self.version += 1
        self.stored.append(id)
        return True

    # Those that write

    async def write_elsewhere(self) -> None:
        while self.foreign:
            await anyio.sleep(self.random.expovariate(1 / self.foreign))
            self.version += 1

    async def write(self, writer: int) -> None:
        session = self.new_session()
        if self.leaves_counts and self.random.random() < 0.5:
            await leave_a_count_behind()
        for number in range(self.random.choice((1, 2, 3))):
            await anyio.sleep(self.random.choice((0, 0, 0.01, 0.3)))
            event = Event((writer, number))
            self.things.append(weakref.ref(event))
            limit = self.random.choice(self.limits)
            await self.watch(limit, session, event)
            if self.random.random() < 0.3:
                session = self.new_session()

    async def watch(self, limit: str, session: Session, event: Event) -> None:
        """Make one call, and note how it ended."""
        seconds = self.random.choice((0, 0.001, 0.02, 0.5, 3))
        if limit != "none":
            self.ends[event.id] = anyio.current_time() + seconds
        outcome = "cancelled"
        try:
            answer = await getattr(self, limit.replace(" ", "_"))(seconds, session, event)
        except anyio.get_cancelled_exc_class():
            if limit == "none":
                raise
            # Nor does an anyio scope end it, where an `asyncio.TaskGroup` inside left a count behind.
            if limit == "cancel":
                asyncio.current_task().uncancel()
        except InDoubtError as error:
            outcome = "in doubt"
            self.gave_up_with(error)
        except StaleSessionRetryError as error:
            outcome = "gave up"
            self.gave_up_with(error)
        except Exception as error:
            outcome = "raised"
            if only_stale(error) and not self.reraises and not self.is_late(event):
                raise AssertionError("a rejection was not retried") from error
        else:
            assert answer in (event.id, None)
            outcome = "cancelled" if answer is None else "returned"
        self.outcomes[event.id] = outcome

    def gave_up_with(self, error: Any) -> None:
        assert error.attempts, "a call gave up without an attempt"

    async def none(self, seconds: float, session: Session, event: Event) -> Any:
        return await self.append(session, event)

    async def scope(self, seconds: float, session: Session, event: Event) -> Any:
        with anyio.move_on_after(seconds):
            return await self.append(session, event)

    async def cancel(self, seconds: float, session: Session, event: Event) -> Any:
        timer = asyncio.get_running_loop().call_later(seconds, asyncio.current_task().cancel)
        try:
            return await self.append(session, event)
        finally:
            timer.cancel()

    async def timeout(self, seconds: float, session: Session, event: Event) -> Any:
        async with asyncio.timeout(seconds):
            return await self.append(session, event)

    async def wait_for(self, seconds: float, session: Session, event: Event) -> Any:
        return await asyncio.wait_for(self.append(session, event), seconds)

    async def task_group(self, seconds: float, session: Session, event: Event) -> Any:
        async def fail() -> None:
            await asyncio.sleep(seconds)
            raise KeyError

        answer = None
        with suppress(BaseExceptionGroup):
            async with asyncio.TaskGroup() as group:
                call = group.create_task(self.append(session, event))
                failing = group.create_task(fail())
                answer = await call
                failing.cancel()
        return answer

    async def play(self) -> None:
        if self.native and hasattr(asyncio, "eager_task_factory") and self.random.random() < 0.5:
            asyncio.get_running_loop().set_task_factory(asyncio.eager_task_factory)
        async with anyio.create_task_group() as self.requests:
            self.requests.start_soon(self.write_elsewhere)
            async with anyio.create_task_group() as writers:
                for writer in range(self.random.choice((1, 3, 6))):
                    writers.start_soon(self.write, writer)
            await anyio.sleep(FOR_EVER)  # for requests that land late
            self.requests.cancel_scope.cancel()
        del self.requests

    def check(self) -> None:
        counts = Counter(self.stored)
        for id, outcome in self.outcomes.items():
            allowed = {"returned": (1,), "gave up": (0,)}.get(outcome, (0, 1))
            assert counts[id] in allowed, f"{id} {outcome}, and was stored {counts[id]} times"
        assert set(counts) <= set(self.outcomes), "a call never ended"
        late = self.late - self.swallowed
        assert not late, f"{late} sent after the cancellation"
        if self.policy.max_attempts is not None and self.policy.attempt_timeout is None:
            assert max(self.sent.values(), default=0) <= self.policy.max_attempts, "more attempts than max_attempts"
        assert not self.policy.queues, "a slot was left behind"
        alive = Counter(type(thing()).__name__ for thing in self.things if thing() is not None)
        assert not alive or not self.is_tidy, f"alive without a collection: {dict(alive)}"


async def leave_a_count_behind() -> None:
    """What a task that lives on has behind it: a cancellation that it swallowed, a failed group before 3.13."""
    asyncio.get_running_loop().call_soon(asyncio.current_task().cancel)
    with suppress(asyncio.CancelledError):
        await asyncio.sleep(1)

    async def fail() -> None:
        await asyncio.sleep(0)
        raise KeyError

    if sys.version_info < (3, 13):
        with suppress(BaseExceptionGroup):
            async with asyncio.TaskGroup() as group:
                group.create_task(fail())


def only_stale(error: BaseException) -> bool:
    if isinstance(error, BaseExceptionGroup):
        return all(map(only_stale, error.exceptions))
    return isinstance(error, StaleSessionError)


def play(seed: int, backend: str = "asyncio") -> Counter[str]:
    """Play a seed; how many calls ended how.

    Raises:
        AssertionError: something that must hold does not; the message names the seed.
    """
    random.seed(seed)
    trio._core._run._ALLOW_DETERMINISTIC_SCHEDULING = True  # `trio.testing` has no way to say so
    trio._core._run._r.seed(seed)
    world = World(seed, backend)
    gc.disable()
    try:
        run(world.play, backend)
        world.check()
    except BaseException as error:
        raise AssertionError(f"seed {seed} on {backend}, {world.way}: {error!r}") from error
    finally:
        gc.enable()
    return Counter(world.outcomes.values())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("seeds", type=int)
    parser.add_argument("--from", type=int, default=0, dest="first")
    parser.add_argument("--backend", choices=("asyncio", "trio"), default="asyncio")
    arguments = parser.parse_args()
    ended: Counter[str] = Counter()
    failed = 0
    for seed in range(arguments.first, arguments.first + arguments.seeds):
        try:
            ended += play(seed, arguments.backend)
        except AssertionError as error:
            failed += 1
            print(error, flush=True)
    print(f"{arguments.seeds} seeds, {failed} failed; calls: {dict(ended)}")
    sys.exit(failed > 0)


if __name__ == "__main__":
    main()
