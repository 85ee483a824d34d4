"""The queue yields where waiting would do harm: no one's appends are held up by another's for long."""

import itertools
import random
import statistics
from contextlib import suppress
from functools import partial

import anyio
import pytest

from stale_retry import DeadlineExceededError, StaleSessionError, constant, retry_on_stale_session
from stale_retry.testing import VersionedStore

from .queueing import in_order, slot
from .ways import by_id


class Crowd:
    """Writers of one session, each append of which takes 5 ms, and how long each of them took."""

    def __init__(self, **options):
        self.store = VersionedStore()
        self.options = {"key": by_id, "deadline": 90, "observers": (), **options}
        self.policy = self.new_policy()
        self.took, self.given_up = [], []

    def new_policy(self):
        async def refresh(session):
            await anyio.sleep(0.002)
            return await self.store.refresh(session)

        return retry_on_stale_session(refresh, **self.options)

    async def append(self, session, event):
        await anyio.sleep(0.005)
        return await self.store.append(session, event)

    async def write(self, events, policy=None):
        for event in events:
            began = anyio.current_time()
            try:
                await (policy or self.policy).call(self.append, self.store.open(), event)
                self.took.append(anyio.current_time() - began)
            except DeadlineExceededError:
                self.given_up.append(event)

    async def rejected_always(self):
        async def append(session, event):
            await anyio.sleep(0.005)
            raise StaleSessionError

        await self.policy.call(append, self.store.open(), "never")

    async def hang(self):
        await self.policy.call(hangs, self.store.open(), "never")

    async def foreign(self, every):
        for number in itertools.count():
            with suppress(StaleSessionError):
                await self.store.append(self.store.open(), f"foreign {number}")
            await anyio.sleep(every)


async def hangs(session, event):
    await anyio.sleep_forever()


async def beside(*others, main):
    """Run `main` beside the others, which are cancelled when it ends."""
    async with anyio.create_task_group() as tasks:
        for other in others:
            tasks.start_soon(other)
            await anyio.wait_all_tasks_blocked()
        await main()
        tasks.cancel_scope.cancel()


async def together(*calls):
    async with anyio.create_task_group() as tasks:
        for call in calls:
            tasks.start_soon(call)


@pytest.fixture(autouse=True)
def same_jitter():
    random.seed(1)


@pytest.mark.parametrize("rejected", [1, 100])
def test_the_median_wait_behind_appends_that_are_always_rejected_is_short(virtually, rejected):
    crowd = Crowd()

    async def one_each_second():
        for number in range(60):
            await crowd.write([number])
            await anyio.sleep(1)

    virtually(partial(beside, *[crowd.rejected_always] * rejected, main=one_each_second))
    assert len(crowd.took) == 60
    assert statistics.median(crowd.took) <= 0.1


@pytest.mark.parametrize(("hanging", "longest"), [(1, 6), (10, 10)])
def test_all_are_stored_behind_appends_that_hang(virtually, hanging, longest):
    crowd = Crowd()
    others = [partial(crowd.write, [number]) for number in range(20)]
    virtually(partial(beside, *[crowd.hang] * hanging, main=partial(together, *others)))
    assert sorted(crowd.store.events()) == list(range(20))
    assert max(crowd.took) <= longest


@pytest.mark.parametrize("where", ["refresh", "hook", "find_stored"])
def test_a_slot_is_revoked_in_whatever_its_holder_hangs(virtually, where):
    crowd = Crowd()

    async def hang(*_):
        await anyio.sleep_forever()

    options = {"refresh": {}, "hook": {"on_conflict": hang}, "find_stored": {"find_stored": lambda: hang()}}[where]
    refresh = hang if where == "refresh" else crowd.policy.refresh
    policy = crowd.policy.replace(**options, refresh=refresh, backoff=constant(0), jitter=None)

    async def rejected(session, event):
        raise StaleSessionError

    async def stuck():
        await policy.call(rejected, crowd.store.open(), "never")

    virtually(partial(beside, stuck, main=partial(crowd.write, [1])))
    assert crowd.store.events() == [1]
    assert 4.9 <= crowd.took[0] <= 5.1


def test_every_waiter_refreshes_after_a_revocation_and_after_the_revoked_holder_stored(virtually):
    crowd, refreshed = Crowd(), []

    async def refresh(session):
        refreshed.append(anyio.current_time())
        return session

    policy = crowd.policy.replace(refresh=refresh)
    mine = crowd.store.open()

    async def append(session, event):
        await anyio.sleep({"revoked": 6, "fails": 1.1}.get(event, 0))
        if event == "fails":
            raise KeyError

    async def fails():
        with pytest.raises(KeyError):
            await policy.call(append, mine, "fails")

    revoked, last = (partial(policy.call, append, mine, event) for event in ("revoked", "last"))
    virtually(partial(in_order, revoked, fails, last))
    assert refreshed == [pytest.approx(5), pytest.approx(6.1)]


def test_each_revocation_in_a_row_comes_four_times_sooner(virtually):
    crowd, began = Crowd(), []

    async def hang(session, event):
        began.append(anyio.current_time())
        await anyio.sleep_forever()

    others = [partial(crowd.policy.call, hang, crowd.store.open(), "never") for _ in range(6)]
    virtually(partial(beside, *others, main=partial(crowd.write, ["event"])))
    waits = [later - earlier for earlier, later in itertools.pairwise(began)]
    assert waits == [pytest.approx(max(5 / 4**number, 0.05), abs=0.01) for number in range(5)]


@pytest.mark.parametrize("every", [0.008, 0.015])
def test_a_foreign_writer_lets_as_many_be_stored_as_without_a_queue(virtually, every):
    stored = {}
    for key in (None, by_id):
        random.seed(1)
        crowd = Crowd(key=key, deadline=10)
        writers = [partial(crowd.write, range(16 * number, 16 * number + 16)) for number in range(20)]
        virtually(partial(beside, partial(crowd.foreign, every), main=partial(together, *writers)))
        stored[key] = len(crowd.took)
    assert stored[by_id] >= 0.95 * stored[None]
    if every == 0.015:
        assert statistics.median(crowd.took) <= 1.2


def test_several_processes_with_a_queue_each_take_at_most_1_7_calls_per_event(virtually):
    crowd = Crowd()
    processes = [crowd.new_policy() for _ in range(4)]
    numbers = itertools.count()
    writers = [
        partial(crowd.write, [next(numbers) for _ in range(5)], process) for process in processes for _ in range(5)
    ]
    virtually(partial(together, *writers))
    assert sorted(crowd.store.events()) == list(range(100))
    assert crowd.store.appends <= 1.7 * 100


@pytest.mark.parametrize("rings", [2, 3])
def test_appends_that_are_nested_in_a_circle_do_not_wait_for_each_other(virtually, rings):
    crowd = Crowd(jitter=None)
    sessions = [str(number) for number in range(rings)]

    async def outer(number):
        async with slot(crowd.policy, crowd.store.open(sessions[number])):
            await anyio.sleep(0.01)
            inner = crowd.store.open(sessions[(number + 1) % rings])
            await crowd.policy.call(crowd.append, inner, number)

    async def main():
        await together(*(partial(outer, number) for number in range(rings)))
        return anyio.current_time()

    assert virtually(main) <= 1
    assert crowd.store.appends >= rings
    assert len(crowd.policy.queues) == 0
