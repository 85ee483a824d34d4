"""A block of a runner's own, retried: it knows what session it goes through, during the loop and after it."""

from __future__ import annotations

from store import Event, Receipt, Session, event, load, reload, session, store
from typing_extensions import assert_type

from stale_retry import retry_on_stale_session
from stale_retry.typing import Attempts, Settled

retrying = retry_on_stale_session(load)


async def with_a_block() -> Session:
    attempts = retrying.attempts(session)
    assert_type(attempts, Attempts[Session])
    async for attempt in attempts:
        with attempt:
            assert_type(attempt.session, Session)
            assert_type(attempt.number, int)
            assert_type(await store.append_once(attempt.session, event), Receipt)
    # It is one object throughout, so what was stored through is told by it.
    assert_type(attempts.settled, Settled | None)
    return attempts.session


async def entered_by_name() -> None:
    async for attempt in retrying.attempts(session):
        with attempt as entered:
            assert_type(entered, Attempts[Session])
            await store.append_once(attempt.session, event)
            await store.append_once(attempt, event)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


async def after_the_loop() -> Session:
    async for attempt in retrying.attempts(session):
        with attempt:
            await store.append_once(attempt.session, event)
    # There is always a first attempt, which pyright cannot know; `attempts`, as above, asks nothing of it.
    return attempt.session  # pyright: ignore[reportPossiblyUnboundVariable]


async def that_returns() -> Receipt | None:
    async for attempt in retrying.attempts(session):
        with attempt:
            return await store.append_once(attempt.session, event)
    return None  # a conflict hook settled it


async def of_a_hook_with_more_arguments() -> None:
    async for attempt in retry_on_stale_session(reload).attempts(store, session):
        with attempt:
            assert_type(attempt.session, Session)
            await store.append_once(attempt.session, event)


async def of_another_type() -> None:
    async for attempt in retrying.attempts("session"):
        with attempt:
            assert_type(attempt.session, str)
            await store.append_once(attempt.session, event)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


class Runner:
    def __init__(self, session: Session) -> None:
        self.session = session

    async def send(self, *events: Event) -> int:
        attempts = retrying.attempts(self.session)
        async for attempt in attempts:
            with attempt:
                for each in events:
                    await store.append_once(attempt.session, each)
        self.session = attempts.session
        return attempts.number


def wrong() -> None:
    retrying.attempts()  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue]
    retrying.attempts(session=session)  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue]
