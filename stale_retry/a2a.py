"""A task store around one of a2a-sdk that checks versions: a rejected event is applied to the task as it then is."""

# pyright: reportPrivateUsage=false, reportUnnecessaryIsInstance=false
# a snapshot keeps what only this module may use

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

try:
    from a2a.server.cluster.task_store import (
        ConcurrentTaskModificationError,
        LegacyTaskStoreAdapter,
        StoredTask,
        VersionedTaskStore,
    )
    from a2a.server.cluster.version import TaskVersion
    from a2a.server.context import ServerCallContext
    from a2a.server.events import Event
    from a2a.server.tasks import TaskManager
    from a2a.types import (
        ListTasksRequest,
        ListTasksResponse,
        Message,
        Task,
        TaskArtifactUpdateEvent,
        TaskState,
        TaskStatusUpdateEvent,
    )
except ModuleNotFoundError as _missing:
    raise ModuleNotFoundError(
        'stale_retry.a2a needs a2a-sdk: pip install "stale-retry[a2a]"', name=_missing.name
    ) from _missing

from . import StaleSessionRetrying, retry_on_stale_session

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from .typing import OptionsButRefresh

_OVER = {
    TaskState.TASK_STATE_CANCELED,
    TaskState.TASK_STATE_COMPLETED,
    TaskState.TASK_STATE_FAILED,
    TaskState.TASK_STATE_REJECTED,
}


@dataclass(frozen=True)
class MessagesAdded:
    """What is new in a task that a request handler saves whole: messages to the agent, and nothing else."""

    messages: tuple[Message, ...] = field(repr=False)


@dataclass(eq=False)
class TaskSnapshot:
    """A task at the version it was read at: the session of a task store.

    Attributes:
        task: the caller's own task, which a reload brings up to date in place.
        version: the version in storage that `task` stands on.
    """

    task: Task = field(repr=False)
    version: TaskVersion
    _store: VersionedTaskStore = field(repr=False)
    _context: ServerCallContext = field(repr=False)
    _prev: Task | None = field(repr=False)
    _reloaded: TaskManager | None = field(default=None, repr=False)


class RetryingTaskStore(VersionedTaskStore):
    """Wrap a task store: an event that lost a race against another writer is applied to the task as it now is.

    Hand it to a request handler or a `TaskManager` in place of the store. The task that the caller holds is brought up
    to date in place, so the caller's next event does not conflict again.

    It retries the events that say what changed: a status, an artifact, a message to the agent. It does not retry a
    whole task in which anything else is new, because that would undo what others stored; a save without an event; the
    first save of a task; a cancellation, which a2a-sdk stores without a check of versions; or an event for a task that
    has ended meanwhile. These are rejected as they are without the wrapper.

    Args:
        store: the store to wrap.
        options: those of `stale_retry.retry_on_stale_session`. Here `on` is `ConcurrentTaskModificationError`,
            `reraise` is True, so that a call gives up with a2a-sdk's own error, and with `key` calls that save one
            task queue. A conflict's `stale` and `fresh` are `TaskSnapshot`s, its argument `event` is the event or
            `MessagesAdded`; settle it with `conflict.settle(conflict.fresh.version)`.

    Attributes:
        store: the wrapped store. Every attribute that this class does not have is the wrapped store's.
        retrying: the policy.

    Raises:
        TypeError, ValueError: `store` does not check versions or is wrapped already, or an option is wrong.
    """

    def __init__(self, store: VersionedTaskStore, **options: Unpack[OptionsButRefresh]) -> None:
        if isinstance(store, RetryingTaskStore):
            raise TypeError("store is a RetryingTaskStore already; wrap its .store to change the options")
        if not isinstance(store, VersionedTaskStore) or isinstance(store, LegacyTaskStoreAdapter):
            raise TypeError(f"store must check versions, as a2a-sdk's VersionedDatabaseTaskStore does, got {store!r}")
        options.setdefault("on", ConcurrentTaskModificationError)
        options.setdefault("key", lambda snapshot: snapshot.task.id)
        options.setdefault("reraise", True)
        options.setdefault("name", f"{type(store).__name__}.save")
        options["session"] = "snapshot"
        self.store = store
        self.retrying: StaleSessionRetrying = retry_on_stale_session(_reload, **options)
        self._append = self.retrying(_append)

    async def save(
        self,
        task: Task,
        *,
        event: Event | None,
        prev: Task | None,
        prev_version: TaskVersion,
        context: ServerCallContext,
    ) -> TaskVersion:
        """Persist `task`; as long as `prev_version` is stale, apply `event` to the task that is stored.

        Raises:
            ConcurrentTaskModificationError: it was given up, with attempts and seconds in the error's notes, or it
                is nothing that is retried.
        """
        snapshot = TaskSnapshot(task, prev_version, self.store, context, prev)
        change = _change(snapshot, event)
        if change is None:
            version = await self.store.save(task, event=event, prev=prev, prev_version=prev_version, context=context)
        else:
            try:
                version = await self._append(snapshot, change)
            except _TaskIsOverError as over:
                raise ConcurrentTaskModificationError(task.id) from over
        return _with_task(version, task)

    async def get(self, task_id: str, context: ServerCallContext) -> StoredTask | None:
        stored = await self.store.get(task_id, context)
        return stored and replace(stored, version=_with_task(stored.version, stored.task))

    async def list(self, params: ListTasksRequest, context: ServerCallContext) -> ListTasksResponse:
        return await self.store.list(params, context)

    async def delete(self, task_id: str, context: ServerCallContext) -> None:
        await self.store.delete(task_id, context)

    def __getattr__(self, attribute: str) -> Any:
        if attribute == "store":  # not yet set, as in a copy that is being made
            raise AttributeError(attribute)
        return getattr(self.store, attribute)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.store!r})"


def _change(snapshot: TaskSnapshot, event: Event | None) -> Event | MessagesAdded | None:
    """What an append applies again, or None for what is not retried."""
    task, version = snapshot.task, snapshot.version
    if task.status.state == TaskState.TASK_STATE_CANCELED:
        return None
    if isinstance(event, (TaskStatusUpdateEvent, TaskArtifactUpdateEvent)):
        return event
    if event is task and isinstance(version, _VersionOfTask):
        known = {version.task.status.message.message_id, *(message.message_id for message in version.task.history)}
        added = MessagesAdded(tuple(message for message in task.history if message.message_id not in known))
        replayed = Task()
        replayed.CopyFrom(version.task)
        if added.messages and _with_messages(added, _manager(snapshot), replayed) == task:
            return added
    return None


async def _append(snapshot: TaskSnapshot, event: Event | MessagesAdded) -> TaskVersion:
    manager = snapshot._reloaded
    if manager is None:  # the caller has applied the event to its task
        return await snapshot._store.save(
            snapshot.task,
            event=snapshot.task if isinstance(event, MessagesAdded) else event,
            prev=snapshot._prev,
            prev_version=snapshot.version,
            context=snapshot._context,
        )
    if snapshot.task.status.state in _OVER:
        raise _TaskIsOverError(f"task {snapshot.task.id} is over")
    if isinstance(event, MessagesAdded):
        event = _with_messages(event, manager, snapshot.task)
    snapshot.task.CopyFrom(await manager.save_task_event(event) or snapshot.task)  # pyright: ignore[reportArgumentType]  # no Message is saved
    return manager.current_version


async def _reload(snapshot: TaskSnapshot) -> TaskSnapshot | None:
    manager = _manager(snapshot)
    stored = await manager.get_task()
    if stored is None:
        return None
    snapshot.task.CopyFrom(stored)
    return replace(snapshot, version=manager.current_version, _reloaded=manager)


def _manager(snapshot: TaskSnapshot) -> TaskManager:
    return TaskManager(snapshot._store, snapshot._context, snapshot.task.id, None, None)


def _with_messages(added: MessagesAdded, manager: TaskManager, task: Task) -> Task:
    for message in added.messages:
        if all(message.message_id != held.message_id for held in task.history):
            manager.update_with_message(message, task)
    return task


class _VersionOfTask(TaskVersion):
    """A version that knows its task, so that what a caller changed in the task can be told."""

    __slots__ = ("task",)

    def __init__(self, version: TaskVersion, task: Task) -> None:
        super().__init__(version._value)
        self.task = Task()
        self.task.CopyFrom(task)


def _with_task(version: TaskVersion, task: Task) -> TaskVersion:
    # A store's own class of version goes back to it as it came.
    return _VersionOfTask(version, task) if type(version) is TaskVersion else version


class _TaskIsOverError(Exception):
    """Raised when the task reached its end before the event was applied to it."""
