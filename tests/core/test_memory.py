"""Nothing is kept after a call, and while it waits no frame of a failed attempt but the last one's."""

import gc
import sys
import weakref
from contextlib import suppress

import anyio
import pytest

from stale_retry import StaleSessionError, constant, retry_on_stale_session, retry_transaction

from .ways import SOON, WAYS, Thing, append_in, without_the_collector

if sys.version_info < (3, 11):
    from exceptiongroup import ExceptionGroup

pytestmark = pytest.mark.anyio


async def freed_after(once):
    """What is not, of what `once(session, event)` was called with, without a garbage collection."""

    async def watched():
        session, event = Thing(), Thing()
        references = weakref.ref(session), weakref.ref(event)
        with suppress(Exception):
            await once(session, event)
        return references

    await watched()  # what the first call of anything leaves in caches
    with without_the_collector():
        references = await watched()
        for _ in range(3):
            await anyio.sleep(0.002)  # trio lets go at the next switch
        assert [reference() for reference in references] == [None, None]


def failing_from(cause):
    def hook(*_):
        raise KeyError from cause

    return hook


def fails_with(kind):
    def hook(*_):
        raise kind

    return hook


ENDINGS = {
    "success": {"rejections": 0},
    "recovery": {"rejections": 2},
    "recovery in a queue": {"rejections": 2, "key": id},
    "another error": {"rejections": 0, "then": KeyError},
    "another error after a retry": {"rejections": 1, "then": KeyError},
    "attempts exhausted": {"max_attempts": 3},
    "attempts exhausted, the store's error": {"max_attempts": 3, "reraise": True},
    "stopped": {"stop": lambda state: True},
    "deadline": {"deadline": 0.0001},
    "session gone": {"refresh": lambda session: None},
    "session gone, the store's error": {"refresh": lambda session: None, "reraise": True},
    "refresh failed": {"refresh": fails_with(OSError)},
    "refresh failed, its own error": {"refresh": fails_with(OSError), "reraise": True},
    "refresh rejected too": {"refresh": fails_with(StaleSessionError), "max_attempts": 3},
    "hook aborted": {"on_conflict": fails_with(KeyError)},
    "hook settled": {"on_conflict": lambda conflict: conflict.settle()},
    "on raised": {"on": fails_with(ZeroDivisionError)},
    "backoff raised": {"backoff": fails_with(ZeroDivisionError)},
    "jitter raised": {"jitter": fails_with(ZeroDivisionError)},
    "stop raised": {"stop": fails_with(ZeroDivisionError)},
    "observer raised": {"rejections": 1, "observers": fails_with(ZeroDivisionError)},
    "a doubt given up": {"in_doubt": ConnectionError, "raises": ConnectionError, "max_attempts": 3},
    "a doubt given up, its own error": {
        "in_doubt": ConnectionError,
        "raises": ConnectionError,
        "max_attempts": 3,
        "reraise": True,
    },
    "an attempt over its time": {"attempt_timeout": 0.001, "raises": None},
    "attempts over their time": {"attempt_timeout": 0.001, "raises": None, "on": TimeoutError, "max_attempts": 3},
    "a queue": {"key": id, "max_attempts": 3},
    "a key that raises": {"key": failing_from(None)},
    "found": {"find_stored": lambda session: True},
    "a look that fails": {"find_stored": lambda session: failing_from(None)(), "max_attempts": 3},
    "looked for in vain": {"find_stored": lambda session: False, "max_attempts": 3},
    "a hook that raises from its conflict": {"on_conflict": lambda conflict: failing_from(conflict.error)()},
    "StopAsyncIteration": {"on_conflict": lambda conflict: (_ for _ in ()).throw(StopAsyncIteration)},
    "a refused save": {"refresh": lambda session: Thing(), "save": True},
    "a reload that counts": {"refresh": lambda session: (_ for _ in ()).throw(StaleSessionError), "max_attempts": 4},
    "a group": {"raises": lambda *_: ExceptionGroup("all stale", [StaleSessionError()]), "max_attempts": 3},
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("ending", ENDINGS)
async def test_session_and_event_are_freed_however_the_call_ends(way, ending, caplog):
    caplog.set_level("CRITICAL", "stale_retry")  # a log record of an observer's error would hold its frames
    options = dict(ENDINGS[ending])
    raises, saves = options.pop("raises", StaleSessionError), options.pop("save", False)
    rejections, then = options.pop("rejections", 9), options.pop("then", None)
    calls = []
    if "in_doubt" in options:
        options["on_conflict"] = lambda conflict: None
    policy = retry_on_stale_session(**{"refresh": lambda session: session, **SOON, **options})

    async def append(session, event):
        await anyio.lowlevel.checkpoint()
        calls.append(1)
        if raises is None:
            await anyio.sleep(60)
        if len(calls) <= rejections:
            raise raises(session, event)
        if then is not None:
            raise then

    async def once(session, event):
        calls.clear()
        if saves and way in ("decorator", "call"):

            async def save(session):
                await append(session, event)

            await (policy(save)(session) if way == "decorator" else policy.call(save, session))
        else:
            await append_in(way, policy.replace(max_attempts=3), append, session, event)

    await freed_after(once)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("where", ["append", "retried append", "wait", "refresh", "find_stored", "conflict hook"])
async def test_session_and_event_are_freed_after_each_kind_of_cancellation(way, where):
    async def hang(*_):
        await anyio.sleep_forever()

    options = {
        "wait": {"backoff": constant(60)},
        "refresh": {"refresh": hang},
        "find_stored": {"find_stored": lambda session: hang()},
        "conflict hook": {"on_conflict": hang},
    }.get(where, {})
    policy = retry_on_stale_session(**{"refresh": lambda session: session, **SOON, **options})

    async def once(session, event):
        calls = []

        async def append(session, event):
            calls.append(1)
            if where == "append" or (where == "retried append" and len(calls) == 2):
                await anyio.sleep_forever()
            raise StaleSessionError

        with anyio.move_on_after(0.01):
            await append_in(way, policy, append, session, event)

    await freed_after(once)


async def test_what_a_transaction_was_called_with_is_freed():
    @retry_transaction(key=lambda account, amount: id(account), on=StaleSessionError, max_attempts=2, **SOON)
    async def withdraw(account, amount):
        raise StaleSessionError

    await freed_after(withdraw)


@pytest.mark.parametrize("way", WAYS)
async def test_while_a_call_waits_only_the_last_failed_attempts_frames_are_kept(way):
    connections = []

    async def append(session, event):
        connection = Thing()
        connections.append(weakref.ref(connection))
        if len(connections) == 4:
            assert [reference() is None for reference in connections[:2]] == [True, True]
            return
        raise StaleSessionError(len(connections))

    def refresh(session):
        alive = [reference() is not None for reference in connections]
        assert alive[:-1] == [False] * (len(alive) - 1)
        return session

    with without_the_collector():
        await append_in(way, retry_on_stale_session(refresh, **SOON), append, "session", "event")
    assert len(connections) == 4


@pytest.mark.parametrize("way", WAYS)
async def test_frames_of_a_doubt_are_not_kept_though_its_error_is(way):
    connections = []

    async def append(session, event):
        connection = Thing()
        connections.append(weakref.ref(connection))
        if len(connections) == 1:
            raise ConnectionError
        if len(connections) < 4:
            raise StaleSessionError

    def look(conflict):
        assert [reference() is not None for reference in connections[:-1]] == [False] * (len(connections) - 1)

    policy = retry_on_stale_session(lambda session: session, in_doubt=ConnectionError, on_conflict=look, **SOON)
    with without_the_collector():
        await append_in(way, policy, append, "session", "event")


async def test_of_groups_too_no_frames_are_kept_but_the_last_ones():
    connections = []

    async def child():
        connection = Thing()
        connections.append(weakref.ref(connection))
        raise StaleSessionError

    async def append(session, event):
        if len(connections) < 3:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(child)

    def refresh(session):
        gc.collect()  # a task group of the framework's may leave circles of its own
        assert [reference() is not None for reference in connections[:-1]] == [False] * (len(connections) - 1)
        return session

    await retry_on_stale_session(refresh, **SOON).call(append, "session", "event")


async def test_notes_do_not_pile_up_on_an_error_that_a_store_raises_again_and_again():
    shared = StaleSessionError("always this one")
    shared.__notes__ = ["the store's own"]

    async def append(session, event):
        raise shared

    policy = retry_on_stale_session(lambda session: session, max_attempts=2, reraise=True, **SOON)
    for _ in range(50):
        with pytest.raises(StaleSessionError):
            await policy.call(append, "session", "event")
    assert shared.__notes__[0] == "the store's own"
    assert len(shared.__notes__) == 2
    assert "gave up after 2 attempts" in shared.__notes__[1]


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_the_slot_of_a_retry_is_free_again_soon_when_the_loop_is_left():
    policy = retry_on_stale_session(lambda session: session, key=repr, **SOON)

    async def turn():
        async for attempt in policy.attempts("session"):
            if attempt.number == 2:
                break
            with attempt:
                raise StaleSessionError

    with without_the_collector():
        with pytest.warns(ResourceWarning, match="was dropped"):
            await turn()
        await anyio.lowlevel.checkpoint()
    assert len(policy.queues) == 0
