"""Options: by keyword, from a dictionary, changed later; and what no checker lets pass."""

from __future__ import annotations

import random
import threading
from datetime import timedelta

from store import Event, Receipt, Session, load
from tenacity import (
    RetryCallState,
    retry_if_exception_type,
    retry_if_not_result,
    retry_if_result,
    stop_after_attempt,
    stop_any,
    stop_when_event_set,
    wait_chain,
    wait_fixed,
)
from typing_extensions import Unpack, assert_type

from stale_retry import (
    CLASSIC_SCHEDULE,
    StaleSessionError,
    StaleSessionRetrying,
    additive_jitter,
    constant,
    equal_jitter,
    exponential,
    full_jitter,
    http_status,
    is_stale_session_error,
    limits,
    linear,
    proportional_jitter,
    retry_if_conflict,
    retry_if_stale_session,
    retry_on_stale_session,
    retry_with,
    sqlstate,
    unique_violation,
)
from stale_retry.typing import Jitter, On, Options, OptionsButRefresh, Stop, Wait

# From a dictionary


@retry_on_stale_session(load, **CLASSIC_SCHEDULE)
async def append(session: Session, event: Event) -> Receipt:
    return Receipt(session.version)


OURS: OptionsButRefresh = {"deadline": 30, "max_attempts": 10, "key": None}


def retrying_with(**options: Unpack[OptionsButRefresh]) -> StaleSessionRetrying:
    merged: OptionsButRefresh = {**OURS, **options}
    return retry_on_stale_session(load, **merged)


def from_dictionaries(options: Options) -> None:
    retry_on_stale_session(load, **OURS)
    retry_on_stale_session(load).replace(**options)
    retry_with(append, **options)
    assert_type(retrying_with(deadline=5), StaleSessionRetrying)
    retrying_with(deadline="5")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    retrying_with(dead_line=5)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    wrong: Options = {"dead_line": 5}  # type: ignore[typeddict-unknown-key]  # pyright: ignore[reportAssignmentType]
    retry_with(append, **wrong)
    assert_type(CLASSIC_SCHEDULE["max_attempts"], int | None)


def changed() -> None:
    retrying = retry_on_stale_session(load)
    assert_type(retrying.replace(**CLASSIC_SCHEDULE), StaleSessionRetrying)
    assert_type(retrying.replace(refresh=load, deadline=None, max_attempts=3), StaleSessionRetrying)
    assert_type(retrying.schedule(3), list[float])
    assert_type(retrying.deadline, float | None)
    retrying.replace(max_attempt=3)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]


# Limits, waits


def limited() -> None:
    retry_on_stale_session(load, deadline=timedelta(minutes=1), attempt_timeout=timedelta(seconds=5))
    retry_on_stale_session(load, deadline=None, max_attempts=6, reraise=True, name="append")
    with limits(deadline=2.0, max_attempts=3):
        pass


def waits() -> None:
    backoffs: list[Wait] = [
        linear(0.5, max=2),
        exponential(0.05, factor=3, max=2.0) + constant(0.01),
        wait_chain(wait_fixed(0), wait_fixed(1)),
        lambda retry_state: float(retry_state.attempt_number),
    ]
    jitters: list[Jitter | None] = [
        full_jitter,
        equal_jitter,
        proportional_jitter(0.1),
        additive_jitter(1),
        lambda delay: random.uniform(delay, 2 * delay),
        None,
    ]
    for backoff in backoffs:
        for jitter in jitters:
            retry_on_stale_session(load, backoff=backoff, jitter=jitter)


async def by_attempt(retry_state: RetryCallState) -> float:
    return retry_state.attempt_number / 10


def stops(shutdown: threading.Event) -> None:
    ends: list[Stop] = [
        stop_when_event_set(shutdown),
        stop_when_event_set(shutdown) | stop_after_attempt(3),
        stop_any(stop_after_attempt(3), stop_when_event_set(shutdown)),
        lambda retry_state: retry_state.idle_for > 5,
    ]
    for stop in ends:
        retry_on_stale_session(load, stop=stop, deadline=None)


# What is stale: by error, and by result


class CompareAndSetFailed(Exception):
    actual: int


def lost(error: BaseException) -> bool:
    return isinstance(error, CompareAndSetFailed) and error.actual > 0


async def lost_says_the_server(error: Exception) -> bool:
    return is_stale_session_error(error)


def not_of_a_compaction(retry_state: RetryCallState) -> bool:
    return "compaction" not in retry_state.kwargs


def what_is_stale() -> None:
    rules: list[On] = [
        CompareAndSetFailed,
        (CompareAndSetFailed, StaleSessionError),
        lost,
        not_of_a_compaction,
        lambda error: isinstance(error, CompareAndSetFailed),
        retry_if_stale_session() | retry_if_exception_type(CompareAndSetFailed),
        retry_if_conflict() | unique_violation("events_version_key") | http_status(409) | sqlstate("23505"),
        retry_if_stale_session() | retry_if_result(lambda stored: stored is False),
        retry_if_not_result(bool),
    ]
    for on in rules:
        retry_on_stale_session(load, on=on)


@retry_on_stale_session(load, on=retry_if_result(lambda stored: not stored))
async def compare_and_set(session: Session, event: Event) -> bool:
    return session.version == 1


async def by_result() -> None:
    assert_type(await compare_and_set(Session("s"), Event("hello")), bool)


# What no checker lets pass


def wrong() -> None:
    retry_on_stale_session()  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    retry_on_stale_session(load, "session")  # type: ignore[arg-type, call-arg]  # pyright: ignore[reportCallIssue]
    retry_on_stale_session("load")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    retry_on_stale_session(load, max_attempt=3)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    retry_on_stale_session(load, max_attempts=2.5)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    retry_on_stale_session(load, deadline="90")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    retry_on_stale_session(load, jitter="full")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    retry_on_stale_session(load, backoff=by_attempt)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    retry_on_stale_session(load, on=lost_says_the_server)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    retry_on_stale_session(load, backoff=exponential)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    retry_on_stale_session(load, on=409)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    retry_on_stale_session(load, on=KeyboardInterrupt)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    retry_on_stale_session(load, stop=3)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    retry_on_stale_session(load, session=Session("s"))  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    limits(deadline="2")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
