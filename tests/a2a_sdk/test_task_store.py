"""Several replicas write to one task through a2a-sdk's own TaskManagers and request handler."""

from __future__ import annotations

import asyncio
import dataclasses
import itertools
import sys
from contextlib import asynccontextmanager

import pytest
from a2a.server.agent_execution import AgentExecutor
from a2a.server.cluster import (
    ConcurrentTaskModificationError,
    DatabaseTaskEventStream,
    LegacyTaskStoreAdapter,
    TaskVersion,
    VersionedDatabaseTaskStore,
    VersionedTaskStore,
)
from a2a.server.context import ServerCallContext
from a2a.server.request_handlers import DefaultRequestHandlerV2
from a2a.server.tasks import InMemoryTaskStore, TaskManager
from a2a.types import (
    AgentCard,
    Artifact,
    ListTasksRequest,
    Message,
    Part,
    Role,
    SendMessageRequest,
    Task,
    TaskArtifactUpdateEvent,
    TaskState,
    TaskStatus,
    TaskStatusUpdateEvent,
)
from sqlalchemy.ext.asyncio import create_async_engine

from stale_retry import retry_if_transient
from stale_retry.a2a import RetryingTaskStore

CONTEXT = ServerCallContext()
WORKING, CANCELED = TaskState.TASK_STATE_WORKING, TaskState.TASK_STATE_CANCELED
WRITERS, EVENTS = 10, 5

pytestmark = pytest.mark.asyncio


@asynccontextmanager
async def storage(url):
    engine = create_async_engine(url)
    store = VersionedDatabaseTaskStore(engine)
    await store.initialize()
    await TaskManager(store, CONTEXT, None, None, None).process(submitted())
    try:
        yield store
    finally:
        await engine.dispose()


def submitted():
    return Task(id="t", context_id="c", status=TaskStatus(state=TaskState.TASK_STATE_SUBMITTED))


def message(name):
    return Message(message_id=name, role=Role.ROLE_USER, parts=[Part(text=name)], task_id="t", context_id="c")


def artifact(name, append=False):
    chunk = Artifact(artifact_id=name, parts=[Part(text=name)])
    return TaskArtifactUpdateEvent(task_id="t", context_id="c", artifact=chunk, append=append)


def status(name, state=WORKING):
    return TaskStatusUpdateEvent(task_id="t", context_id="c", status=TaskStatus(state=state, message=message(name)))


def manager(store):
    return TaskManager(store, CONTEXT, "t", "c", None)


async def loaded(store):
    """A replica's manager that has read the task, as it was then."""
    replica = manager(store)
    await replica.get_task()
    return replica


async def stored(store):
    return (await store.get("t", CONTEXT)).task


def names(task):
    told = [*task.history, task.status.message]
    return sorted(chunk.artifact_id for chunk in task.artifacts) + sorted(m.message_id for m in told if m.message_id)


def counted(store, monkeypatch):
    """A list that gets an entry for each call of the store's `save`."""
    save, calls = store.save, []

    async def counting(*args, **kwargs):
        calls.append(args)
        return await save(*args, **kwargs)

    monkeypatch.setattr(store, "save", counting)
    return calls


async def write(store, writer):
    """Returns how many of a replica's events were acknowledged."""
    replica, kinds, acknowledged = await loaded(store), itertools.cycle([artifact, status]), []
    for number in range(EVENTS):
        event = next(kinds)(f"{writer}.{number}")
        try:
            await replica.process(event)
        except ConcurrentTaskModificationError:  # the SDK's policy: reload, once more, give up
            replica.invalidate()
            try:
                await replica.process(event)
            except ConcurrentTaskModificationError:
                replica.invalidate()
                continue
        acknowledged.append(f"{writer}.{number}")
    return acknowledged


async def contend(store):
    acknowledged = itertools.chain(*await asyncio.gather(*(write(store, writer) for writer in range(WRITERS))))
    return sorted(acknowledged)


async def test_every_event_of_ten_replicas_is_stored_once(url):
    async with storage(url) as store:
        acknowledged = await contend(RetryingTaskStore(store))
        task = await stored(store)
        assert len(acknowledged) == WRITERS * EVENTS
        assert sorted(names(task)) == acknowledged


async def test_replicas_that_share_no_queue_lose_nothing_either(url):
    async with storage(url) as store:
        acknowledged = itertools.chain(
            *await asyncio.gather(*(write(RetryingTaskStore(store, key=None), writer) for writer in range(WRITERS)))
        )
        assert sorted(acknowledged) == sorted(names(await stored(store)))
        assert len(names(await stored(store))) == WRITERS * EVENTS


async def test_without_it_events_are_lost(url):
    """How many, is for the machine to say: of 50, 12 to 40 with the SDK's one more try."""
    async with storage(url) as store:
        assert len(await contend(store)) < WRITERS * EVENTS


async def test_each_event_is_in_the_log_that_other_replicas_follow(url):
    async with storage(url) as store:
        await contend(RetryingTaskStore(store))
        stream, seen = DatabaseTaskEventStream(store.as_task_store.engine), []
        async for event in stream.subscribe("t", after=TaskVersion(1)):
            seen.append(event.version)
            if len(seen) == WRITERS * EVENTS:
                break
        assert seen == [TaskVersion(number) for number in range(2, WRITERS * EVENTS + 2)]


async def test_the_caller_goes_on_with_the_task_as_it_is_stored(url):
    async with storage(url) as store:
        retries = []
        replica = await loaded(RetryingTaskStore(store, observers=retries.append))
        held = await replica.get_task()
        await manager(store).process(artifact("theirs"))
        await replica.process(artifact("mine"))
        assert held is await replica.get_task()
        assert names(held) == ["mine", "theirs"]
        assert replica.current_version == (await store.get("t", CONTEXT)).version == TaskVersion(3)
        retries.clear()
        await replica.process(artifact("the next one"))
        assert not retries
        assert names(await stored(store)) == ["mine", "the next one", "theirs"]


async def test_chunks_of_an_artifact_stay_in_order(url):
    async with storage(url) as store:
        replica = await loaded(RetryingTaskStore(store))
        for number in range(3):
            await manager(store).process(artifact(f"theirs {number}"))
            chunk = artifact("mine", append=number > 0)
            chunk.artifact.parts[0].text = str(number)
            await replica.process(chunk)
        mine = next(chunk for chunk in (await stored(store)).artifacts if chunk.artifact_id == "mine")
        assert [part.text for part in mine.parts] == ["0", "1", "2"]


async def test_a_message_to_the_agent_that_lost_the_race_is_added_to_the_task_as_it_is(url):
    async with storage(url) as store:
        replica = await loaded(RetryingTaskStore(store))
        await manager(store).process(status("theirs"))
        await replica.save_task_event(replica.update_with_message(message("mine"), await replica.get_task()))
        assert names(await stored(store)) == ["mine", "theirs"]


async def test_a_message_that_is_stored_already_is_not_added_again(url):
    async with storage(url) as store:
        replica, other = await loaded(RetryingTaskStore(store)), await loaded(store)
        await other.save_task_event(other.update_with_message(message("the same"), await other.get_task()))
        await replica.save_task_event(replica.update_with_message(message("the same"), await replica.get_task()))
        assert names(await stored(store)) == ["the same"]


async def test_a_whole_task_that_replaces_what_is_stored_is_rejected(url):
    """It would undo what the other writer stored."""
    async with storage(url) as store:
        replica = await loaded(RetryingTaskStore(store))
        await manager(store).process(artifact("theirs"))
        mine = await replica.get_task()
        mine.metadata["key"] = "value"
        mine.history.append(message("mine"))
        with pytest.raises(ConcurrentTaskModificationError):
            await replica.process(mine)
        with pytest.raises(ConcurrentTaskModificationError):
            await (await loaded(RetryingTaskStore(store, key=None))).task_store.save(
                submitted(), event=submitted(), prev=None, prev_version=TaskVersion(1), context=CONTEXT
            )
        assert names(await stored(store)) == ["theirs"]


async def test_a_second_creation_is_rejected(url):
    async with storage(url) as store:
        with pytest.raises(ConcurrentTaskModificationError):
            await manager(RetryingTaskStore(store)).process(submitted())


OVER = [CANCELED, TaskState.TASK_STATE_COMPLETED, TaskState.TASK_STATE_FAILED, TaskState.TASK_STATE_REJECTED]


@pytest.mark.parametrize("state", OVER)
@pytest.mark.parametrize("event", [artifact("late"), status("late")], ids=["artifact", "status"])
async def test_nothing_is_stored_for_a_task_that_has_ended_meanwhile(url, event, state):
    """What the SDK makes of this error is to end the run: a retry would bring the task back to life."""
    async with storage(url) as store:
        replica = await loaded(RetryingTaskStore(store))
        await manager(store).process(status("stop", state))
        with pytest.raises(ConcurrentTaskModificationError):
            await replica.process(event)
        task = await stored(store)
        assert names(task) == ["stop"]
        assert task.status.state == state


async def test_a_cancellation_takes_one_call(url, monkeypatch):
    async with storage(url) as store:
        replica = await loaded(RetryingTaskStore(store))
        await manager(store).process(artifact("theirs"))
        saves = counted(store, monkeypatch)
        await replica.process(status("stop", CANCELED))
        assert (await stored(store)).status.state == CANCELED
        assert len(saves) == 1


async def test_replicas_of_one_process_queue_for_a_task(url, monkeypatch):
    """One save for each event."""
    async with storage(url) as store:
        saves, wrapped = counted(store, monkeypatch), RetryingTaskStore(store)
        acknowledged = await asyncio.gather(*(write(wrapped, writer) for writer in range(WRITERS)))
        assert sum(map(len, acknowledged)) == WRITERS * EVENTS
        # The first save of each replica but one is stale: it had read the task before any of them wrote.
        assert len(saves) <= WRITERS * EVENTS + WRITERS - 1


async def test_an_event_whose_answer_got_lost_is_found_by_its_id(url, monkeypatch):
    def find_stored(snapshot, event):
        held = {chunk.artifact_id for chunk in snapshot.task.artifacts}
        return event.artifact.artifact_id in held and snapshot.version

    async with storage(url) as store:
        save, saves = store.save, []

        async def save_and_lose_the_answer(*args, **kwargs):
            saves.append(await save(*args, **kwargs))
            raise ConnectionResetError

        monkeypatch.setattr(store, "save", save_and_lose_the_answer)
        replica = await loaded(RetryingTaskStore(store, in_doubt=retry_if_transient(), find_stored=find_stored))
        await replica.process(artifact("mine"))
        assert replica.current_version == saves[0] == (await store.get("t", CONTEXT)).version
        with pytest.raises(ConnectionResetError):
            await (await loaded(RetryingTaskStore(store))).process(artifact("another"))
        assert len(saves) == 2


async def test_a_stores_own_class_of_version_goes_back_to_it_as_it_came(url, monkeypatch):
    class OwnVersion(TaskVersion):
        __slots__ = ()

    async with storage(url) as store:
        get = store.get

        async def with_own_version(*args):
            found = await get(*args)
            return dataclasses.replace(found, version=OwnVersion(found.version._value))

        monkeypatch.setattr(store, "get", with_own_version)
        assert type((await RetryingTaskStore(store).get("t", CONTEXT)).version) is OwnVersion


async def test_a_task_that_was_deleted_is_gone(url):
    async with storage(url) as store:
        replica = await loaded(RetryingTaskStore(store))
        await store.delete("t", CONTEXT)
        with pytest.raises(ConcurrentTaskModificationError):
            await replica.process(artifact("mine"))


async def test_a_conflict_hook_sees_the_task_and_can_settle(url):
    def settle_if_stored(conflict):
        held = [chunk.artifact_id for chunk in conflict.fresh.task.artifacts]
        if conflict.arguments["event"].artifact.artifact_id in held:
            return conflict.settle(conflict.fresh.version)
        return None

    async with storage(url) as store:
        replica = await loaded(RetryingTaskStore(store, on_conflict=settle_if_stored))
        await manager(store).process(artifact("mine"))
        await replica.process(artifact("mine"))
        assert replica.current_version == (await store.get("t", CONTEXT)).version == TaskVersion(2)


async def test_giving_up_raises_the_sdks_own_error_with_the_facts(url):
    async with storage(url) as store:
        replica = await loaded(RetryingTaskStore(store, max_attempts=1))
        await manager(store).process(artifact("theirs"))
        with pytest.raises(ConcurrentTaskModificationError) as caught:
            await replica.process(artifact("mine"))
        if sys.version_info >= (3, 11):
            assert "attempt" in " ".join(caught.value.__notes__)


async def test_other_methods_and_attributes_are_the_stores(url):
    async with storage(url) as store:
        wrapped = RetryingTaskStore(store)
        assert isinstance(wrapped, VersionedTaskStore)
        assert wrapped.as_task_store is store.as_task_store
        assert [task.id for task in (await wrapped.list(ListTasksRequest(), CONTEXT)).tasks] == ["t"]
        await wrapped.delete("t", CONTEXT)
        assert await wrapped.get("t", CONTEXT) is None
        assert repr(store) in repr(wrapped)


async def test_a_store_that_checks_no_versions_is_refused():
    for store in (InMemoryTaskStore(), LegacyTaskStoreAdapter(InMemoryTaskStore())):
        with pytest.raises(TypeError, match="must check versions"):
            RetryingTaskStore(store)


async def test_a_store_is_wrapped_once(url):
    async with storage(url) as store:
        with pytest.raises(TypeError, match="already"):
            RetryingTaskStore(RetryingTaskStore(store))


class Echo(AgentExecutor):
    async def execute(self, context, queue):
        name = context.message.message_id
        if context.current_task is None:
            await queue.enqueue_event(Task(id="t", context_id="c", status=TaskStatus(state=WORKING)))
        await queue.enqueue_event(artifact(f"answer to {name}"))
        await queue.enqueue_event(status(f"asked {name}", TaskState.TASK_STATE_INPUT_REQUIRED))

    async def cancel(self, context, queue):
        raise NotImplementedError


async def test_messages_to_one_task_through_ten_replicas_are_all_kept(url):
    """Each replica is a request handler of its own, as in as many processes."""
    async with storage(url) as store:
        stream = DatabaseTaskEventStream(store.as_task_store.engine, poll_interval_s=0.01)
        card = AgentCard(name="echo", description="-", version="1")
        replicas = [
            DefaultRequestHandlerV2(Echo(), RetryingTaskStore(store, key=None), card, event_stream=stream)
            for _ in range(WRITERS)
        ]
        asked = [f"message {number}" for number in range(WRITERS)]
        sent = asyncio.gather(
            *(
                replica.on_message_send(SendMessageRequest(message=message(name)), CONTEXT)
                for replica, name in zip(replicas, asked, strict=True)
            )
        )
        await asyncio.wait_for(sent, 60)
        await asyncio.gather(*(replica.aclose() for replica in replicas))
        kept = names(await stored(store))
        assert sorted(kept) == sorted([*asked, *(f"answer to {n}" for n in asked), *(f"asked {n}" for n in asked)])
