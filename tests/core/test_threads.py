"""Event loops in several threads share policies, queues and turns; on a free-threaded build they really run at once."""

import asyncio
import sys
import threading
from collections import Counter

import pytest

from stale_retry import constant, retry_on_stale_session, retry_transaction
from stale_retry._loops import current_task
from stale_retry.turns import TurnQueue

from .ways import keys_in_use

THREADS = 6
ROUNDS = 60


@pytest.fixture(autouse=True)
def switching_often():
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(interval)


def in_threads(main):
    """Run `main(number)` in as many event loops, each in a thread of its own, all starting together."""
    start, failures = threading.Barrier(THREADS), []

    def run(number):
        try:
            start.wait()
            asyncio.run(main(number))
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    assert not any(thread.is_alive() for thread in threads)
    assert failures == []


def test_one_policy_with_a_key_stores_every_event_of_every_thread_once():
    stored, lock, versions = [], threading.Lock(), Counter()

    class Rejected(Exception):
        pass

    class Session:
        def __init__(self, key):
            self.key, self.version = key, versions[key]

    events = Counter()

    def observe(event):
        with lock:
            events[event.kind] += 1

    @retry_on_stale_session(
        lambda session: Session(session.key),
        on=lambda error: isinstance(error, Rejected),
        backoff=constant(0),
        jitter=None,
        key=lambda session: session.key,
        observers=observe,
    )
    async def append(session, event):
        await asyncio.sleep(0)
        with lock:
            if session.version != versions[session.key]:
                raise Rejected
            versions[session.key] += 1
            stored.append(event)

    async def main(number):
        async def write(round_):
            session = Session(round_ % 3)
            if round_ < 3:
                session.version -= 1  # the first of each thread has certainly lost its race
            await append(session, (number, round_))

        await asyncio.gather(*map(write, range(ROUNDS)))

    in_threads(main)
    assert Counter(stored) == Counter((number, round_) for number in range(THREADS) for round_ in range(ROUNDS))
    assert events["recovered"] >= 3 * THREADS
    assert events["gave_up"] == 0
    assert keys_in_use() == 0


def test_one_decorated_transaction_is_run_by_every_thread():
    lock, value = threading.Lock(), [0, 0]

    class Rejected(Exception):
        pass

    @retry_transaction(key="account", on=lambda error: isinstance(error, Rejected), backoff=constant(0), jitter=None)
    async def add(account, amount):
        before = list(value)
        await asyncio.sleep(0)
        with lock:
            if value != before:
                raise Rejected
            value[:] = [before[0] + amount, before[1] + 1]

    async def main(number):
        await asyncio.gather(*(add("a", number) for _ in range(ROUNDS)))

    in_threads(main)
    assert value == [ROUNDS * sum(range(THREADS)), ROUNDS * THREADS]


def test_keys_in_use_can_be_counted_while_threads_come_and_go():
    policy, done = retry_on_stale_session(lambda session: session, key=str), threading.Event()
    failures = []

    def count():
        try:
            while not done.is_set():
                assert len(policy.queues) >= 0
        except BaseException as error:
            failures.append(error)

    counting = threading.Thread(target=count)
    counting.start()

    async def hold(key):
        await policy.call(pause, key, "event")

    async def pause(session, event):
        await asyncio.sleep(0)

    def come_and_go(number):
        for _ in range(ROUNDS):
            asyncio.run(hold(number))

    threads = [threading.Thread(target=come_and_go, args=(number,)) for number in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    done.set()
    counting.join(timeout=60)
    assert failures == []


def test_turns_of_one_key_never_overlap_across_threads():
    turns, running, overlapped, order = TurnQueue(longest=THREADS * ROUNDS), [], [], []

    async def main(number):
        async def turn():
            async with turns("chat"):
                overlapped.extend(running)
                running.append(number)
                await asyncio.sleep(0)
                running.remove(number)
                order.append(number)

        await asyncio.gather(*(turn() for _ in range(ROUNDS)))

    in_threads(main)
    assert overlapped == []
    assert Counter(order) == Counter(dict.fromkeys(range(THREADS), ROUNDS))


def test_where_no_event_loop_runs_there_is_no_task():
    assert current_task() is None
