"""`check_store`: drive a store through races, cancellations and lost answers, and tell what held."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable, Hashable, Iterable
from typing import Any, TypeVar

from .._types import On, Refresh
from . import _cancelling, _races, _reading, _retrying
from ._check import Bench, CannotRunError, Check, FailedError
from ._report import Finding, StoreReport, Verdict
from ._user_store import BrokenError, UserStore

Id = TypeVar("Id")
S = TypeVar("S")
E = TypeVar("E")

Tell = Callable[[Finding], None]

_EXTRA_SECONDS = 5.0
"""What cleaning up may take on top."""

ONE_PROCESS = "several processes"


async def _one_process(bench: Bench) -> str:
    raise CannotRunError("check_store runs in one process; ask `stale-retry check package.module:name --processes 3`")


PROCESSES = Check(
    ONE_PROCESS,
    "writers in several processes, with retries, lose and double nothing",
    "What keeps the store right is a lock or a queue inside one process; a second server loses events.",
    "Let the database compare the version: in one statement, one transaction, or under a row lock.",
    _one_process,
    needs=("recognised", "refresh newest"),
)
CHECKS = (_reading.STORED, *_races.CHECKS, *_reading.CHECKS, *_cancelling.CHECKS, *_retrying.CHECKS, PROCESSES)


async def check_store(
    *,
    create: Callable[[], Awaitable[Id]],
    load: Callable[[Id], Awaitable[S]],
    append: Callable[[S, E], Awaitable[Any]],
    events: Callable[[Id], Awaitable[Iterable[Any]]],
    event: Callable[[int], E],
    identity: Callable[[Any], Hashable],
    refresh: Refresh | None = None,
    seen: Callable[[S], Iterable[Any]] | None = None,
    delete: Callable[[Id], Awaitable[Any]] | None = None,
    on: On | None = None,
    find_stored: Callable[..., Any] | None = None,
    writers: int = 8,
    seconds: float = 30,
    seed: int = 0,
) -> StoreReport:
    """Check whether the appends of a store are safe to retry: `assert report, report`.

    Races are made: an operation is stopped at each of its awaits in turn, another one runs meanwhile, and the first
    goes on. The store is your own, with real input and output; each check creates sessions of its own. No session is
    used again after an append through it was accepted. Needs asyncio.

    Args:
        create: creates a session without events and returns its id.
        load: loads a session.
        append: appends an event through a session: `append(session, event)`, bare or decorated with
            `retry_on_stale_session`. A decorated one brings `refresh`, `on` and `find_stored`.
        events: reads the stored events of a session, oldest first.
        event: makes the n-th event. Their ids differ; all else is as alike as your events can be. If ids are
            unique in the whole store, and not only in a session, make them from a UUID.
        identity: the id of an event, given or stored; hashable.
        refresh: the refresh hook; required unless `append` is decorated.
        seen: the events that a session shows. None: a version ahead of its events cannot be seen.
        delete: deletes a session. None: the sessions are left in the store, and "gone" cannot be checked.
        on: what the store's rejection is, `retry_if_conflict()` by default.
        find_stored: looks for an event in the store, as in `retry_on_stale_session`. None: lost answers cannot be
            checked.
        writers: how many append at once.
        seconds: for all checks together. A check that runs out of time says how far it came.
        seed: for everything that is left to chance.

    Returns:
        A report that is false when a check failed. A check that could not run, which `report.could_not_run` lists,
        is never counted as passed.

    Raises:
        TypeError, ValueError: a function is missing or is not one, or an option was given that a decorated append
            brings itself.
        RuntimeError: it does not run in an asyncio event loop.
    """
    mapping = locals()
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        raise RuntimeError("check_store needs asyncio, because it stops operations at their awaits") from None
    return await run_checks(bench_for(mapping))


def bench_for(mapping: dict[str, Any]) -> Bench:
    """The arguments of `check_store`, checked and ready to be used.

    Raises:
        TypeError, ValueError: as `check_store`.
    """
    functions = {**mapping}
    writers, seconds, seed = functions.pop("writers"), functions.pop("seconds"), functions.pop("seed")
    if not writers >= 2:
        raise ValueError(f"writers must be at least 2, got {writers!r}")
    if not seconds > 0:
        raise ValueError(f"seconds must be above zero, got {seconds!r}")
    return Bench(UserStore(functions), writers=writers, seconds=seconds, seed=seed)


async def run_checks(bench: Bench, *, checks: Iterable[Check] = CHECKS, tell: Tell | None = None) -> StoreReport:
    """Run checks in order; `tell` is told each finding as it comes."""
    store, seconds = bench.store, bench.seconds
    began = time.monotonic()
    waiting, findings = list(checks), list[Finding]()
    while waiting:
        left = seconds - (time.monotonic() - began)
        # Most checks take a fraction of their share, so one may take four times as much. Without the first, none runs.
        share = min(left, 4 * left / len(waiting)) if findings else left
        finding = await _run(waiting.pop(0), bench, findings, share)
        findings.append(finding)
        if tell is not None:
            tell(finding)
    await _clean_up(store)
    return StoreReport(tuple(findings), time.monotonic() - began, bench.seed, len(store.created))


async def _run(check: Check, bench: Bench, findings: list[Finding], seconds: float) -> Finding:
    verdict: Verdict
    bench.far = ""
    failed = {finding.check for finding in findings if finding.verdict == "failed"}
    try:
        for needed in (_reading.STORED.name, *check.needs):
            if needed in failed:
                raise CannotRunError(f"says nothing before `{needed}` passes")
        if seconds <= 0:
            raise CannotRunError(f"the checks before it took all of seconds={bench.seconds:g}")
        seen = await asyncio.wait_for(check.run(bench), seconds)
        verdict = "passed"
    except (FailedError, BrokenError) as failure:
        verdict, seen = "failed", str(failure)
    except CannotRunError as reason:
        verdict, seen = "could not run", str(reason)
    except asyncio.TimeoutError:  # another class before Python 3.11
        came = f"came to {bench.far}" if bench.far else "the first operation did not end"
        verdict, seen = "could not run", f"out of time after {seconds:.1f} s: {came}, nothing was wrong until there"
    return Finding(check.name, check.promise, verdict, seen, check.meaning, check.cure)


async def _clean_up(store: UserStore) -> None:
    """Delete every session that was created. What cannot be deleted stays, and the report counts it."""
    if not store.has_delete:
        return

    async def delete_all() -> None:
        for session_id in list(store.created):
            try:
                await store.delete(session_id)
            except BrokenError as error:
                logging.getLogger("stale_retry").warning("check_store could not clean up: %s", error)
                return

    with contextlib.suppress(asyncio.TimeoutError):
        await asyncio.wait_for(delete_all(), _EXTRA_SECONDS)
