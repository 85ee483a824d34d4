"""Errors that are frozen, slotted, falsy, shared or cannot be pickled change nothing of how a call ends."""

import copy
import pickle
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context

import anyio
import pytest

from stale_retry import (
    AttemptsExhaustedError,
    DeadlineExceededError,
    InDoubtError,
    SessionGoneError,
    SessionRefreshError,
    StaleSessionError,
    retry_on_stale_session,
)

from .ways import SOON, append_in, keys_in_use

pytestmark = pytest.mark.anyio


@dataclass(frozen=True)
class FrozenError(StaleSessionError):
    """Nothing of it can be set, not even what the interpreter sets."""

    text: str = "frozen"


class SlottedError(StaleSessionError):
    __slots__ = ("version",)


class FalsyError(StaleSessionError):
    def __len__(self):
        return 0


class UnreadableError(StaleSessionError):
    def __str__(self):
        raise ZeroDivisionError


class OwnInitError(StaleSessionError):
    def __init__(self, session_id, version):
        super().__init__(f"{session_id} at {version}")


class UnreadableOwnInitError(UnreadableError, OwnInitError):
    pass


def odd(kind):
    return kind("a", 1) if issubclass(kind, OwnInitError) else kind()


ODD = [FrozenError, SlottedError, FalsyError, UnreadableError, OwnInitError, UnreadableOwnInitError]
odd_errors = pytest.mark.parametrize("kind", ODD)


def raising(error):
    def hook(*_):
        raise error

    return hook


def behind(error):
    links = []
    while error is not None and not any(error is link for link in links):
        links.append(error)
        error = error.__cause__ if error.__cause__ is not None else error.__context__
    return links


async def call(append, way="decorator", **options):
    policy = retry_on_stale_session(**{"refresh": lambda session: session, **SOON, **options})
    return await append_in(way, policy, append, "session", "event")
    return "stored"


@odd_errors
@pytest.mark.parametrize("way", ["decorator", "with", "async with"])
class TestRaisedByTheAppend:
    async def test_it_is_retried(self, kind, way):
        left = [odd(kind), odd(kind)]

        async def append(session, event):
            if left:
                raise left.pop()
            return "stored"

        assert await call(append, way) == "stored"

    @pytest.mark.parametrize("reraise", [False, True])
    async def test_it_is_given_up_with(self, kind, way, reraise):
        error = odd(kind)

        async def append(session, event):
            raise error

        with pytest.raises(StaleSessionError) as caught:
            await call(append, way, max_attempts=3, reraise=reraise)
        if reraise:
            assert caught.value is error
            assert "gave up after 3 attempts" in error.__notes__[-1]
        else:
            assert caught.value.last_error is error
            assert caught.value.__cause__ is error

    async def test_listed_as_in_doubt_a_rejection_stays_one(self, kind, way):
        error = odd(kind)

        async def append(session, event):
            raise error

        with pytest.raises(AttemptsExhaustedError) as caught:
            await call(append, way, on=KeyError, in_doubt=kind, on_conflict=lambda conflict: None, max_attempts=2)
        assert caught.value.last_error is error


@odd_errors
@pytest.mark.parametrize("option", ["on_conflict", "refresh", "stop", "backoff", "jitter", "on"])
async def test_raised_by_a_hook_it_comes_as_it_is_and_leads_to_the_stale_error(kind, option):
    error, stale = odd(kind), KeyError("stale")

    async def append(session, event):
        raise stale

    options = {"on": KeyError, option: raising(error)}
    with pytest.raises(SessionRefreshError if option == "refresh" else kind) as caught:
        await call(append, **options)
    assert error in [caught.value, caught.value.__cause__]
    assert stale in behind(caught.value)


@odd_errors
async def test_raised_by_a_reload_that_counts_it_is_told_as_the_last_error(kind):
    error = odd(kind)

    async def append(session, event):
        raise StaleSessionError

    with pytest.raises(AttemptsExhaustedError) as caught:
        await call(append, refresh=raising(error), max_attempts=2)
    assert caught.value.last_error is error


@odd_errors
async def test_raised_by_an_observer_it_is_logged_and_disturbs_nothing(kind, caplog):
    left = [StaleSessionError()]

    async def append(session, event):
        if left:
            raise left.pop()
        return "stored"

    assert await call(append, observers=raising(odd(kind))) == "stored"
    assert [record.levelname for record in caplog.records] == ["ERROR"] * 2


@pytest.mark.parametrize("kind", [StopAsyncIteration, StopIteration, GeneratorExit, RecursionError, BaseException])
@pytest.mark.parametrize("way", ["decorator", "with", "async with"])
async def test_whatever_an_observer_raises_it_disturbs_nothing(kind, way, caplog):
    left = [StaleSessionError()]

    async def append(session, event):
        if left:
            raise left.pop()
        return "stored"

    told = []
    assert await call(append, way, observers=[raising(kind()), told.append]) == "stored"
    assert [event.kind for event in told] == ["retrying", "recovered"]


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit])
@pytest.mark.parametrize("told", ["retrying", "recovered", "gave_up"])
async def test_what_ends_the_process_gets_out_of_an_observer_and_nothing_is_held(kind, told):
    key = str
    left = [StaleSessionError()] * (1 if told == "recovered" else 9)

    async def append(session, event):
        if left:
            raise left.pop()

    def observe(event):
        if event.kind == told:
            raise kind

    with pytest.raises(kind):
        await call(append, observers=observe, key=key, max_attempts=3)
    assert keys_in_use() == 0


class TestOneErrorObjectOfManyCalls:
    @pytest.mark.parametrize("reraise", [False, True])
    async def test_a_call_that_began_earlier_goes_on_when_another_gives_up_with_it(self, reraise):
        shared = StaleSessionError("always this one")
        other_gave_up = anyio.Event()
        made = []

        async def patient(session, event):
            made.append(session)
            if len(made) == 1:
                await other_gave_up.wait()
                raise shared
            return "stored"

        async def hopeless(session, event):
            raise shared

        async def other():
            with pytest.raises(StaleSessionError):
                await call(hopeless, max_attempts=2, reraise=reraise)
            other_gave_up.set()

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(other)
            assert await call(patient, max_attempts=5, reraise=reraise) == "stored"

    async def test_another_call_of_the_same_task_later_is_retried_with_it(self):
        shared = StaleSessionError("always this one")
        for _ in range(3):
            made = []

            async def append(session, event, made=made):
                made.append(session)
                raise shared

            with pytest.raises(StaleSessionError):
                await call(append, max_attempts=3, reraise=True)
            assert len(made) == 3

    async def test_a_call_inside_the_hooks_that_gave_up_with_it_does_not_end_the_next_attempt(self):
        shared = StaleSessionError("always this one")
        made = []

        async def hopeless(session, event):
            raise shared

        async def refresh(session):
            with pytest.raises(StaleSessionError):
                await call(hopeless, max_attempts=1, reraise=True)
            await anyio.sleep(0.001)
            return session

        async def append(session, event):
            made.append(session)
            if len(made) < 3:
                raise shared
            return "stored"

        assert await call(append, refresh=refresh) == "stored"


def gives_up(kind, last_error):
    error = kind("why", attempts=2, elapsed=1.5, last_error=last_error, reason="deadline")
    error.__cause__ = last_error
    return error


KINDS = [AttemptsExhaustedError, DeadlineExceededError, SessionGoneError, SessionRefreshError, InDoubtError]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("last", [*ODD, StaleSessionError])
@pytest.mark.parametrize("duplicate", [lambda error: pickle.loads(pickle.dumps(error)), copy.copy, copy.deepcopy])
def test_an_error_of_giving_up_can_be_pickled_and_copied_whatever_was_its_last_one(kind, last, duplicate):
    twin = duplicate(gives_up(kind, odd(last)))
    assert type(twin) is kind
    assert (twin.attempts, twin.elapsed, twin.reason, str(twin)) == (2, 1.5, "deadline", "why")
    assert twin.in_doubt is (kind is InDoubtError)
    assert twin.__cause__ is twin.last_error
    if type(twin.last_error) is not last:
        assert type(twin.last_error) is RuntimeError
        assert last.__name__ in str(twin.last_error)


def _give_up_in_a_worker():
    raise gives_up(AttemptsExhaustedError, OwnInitError("a", 1))


def test_one_comes_out_of_a_process_pool_and_leaves_the_pool_whole():
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        for _ in range(2):
            with pytest.raises(AttemptsExhaustedError) as caught:
                pool.submit(_give_up_in_a_worker).result()
            assert caught.value.attempts == 2


def test_the_class_of_an_observer_in_the_place_of_one_is_refused():
    class Observer:
        def __call__(self, event): ...

    with pytest.raises(TypeError, match="observers must be a function of the event; got the class Observer itself"):
        retry_on_stale_session(lambda session: session, observers=Observer)
