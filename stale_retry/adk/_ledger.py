"""The session as a ledger: which message was delivered already, what became of it, and what its run stored.

The user's event of a message with an idempotency key carries the key and a digest of the message as it was sent. When
its run ends, an event without content notes how. A run without that mark was cut off.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, cast

from google.adk.events import Event
from google.adk.sessions import Session
from google.genai import types

from ..turns import TurnError
from ._releases import rewinds_to

RECENT_EVENTS = 200
"""How far back a delivery looks for its message."""

Fate = Literal["answered", "stopped", "newer"]
IdempotencyKey = str | Callable[[Mapping[str, Any]], str | None] | None
FIELD = "stale_retry"
"""The field of an event's `custom_metadata` where all of this stands."""


class IdempotencyKeyReusedError(TurnError):
    """Raised when a message comes with the idempotency key of another message. Nothing of it is stored."""


@dataclass(frozen=True)
class Message:
    """A message that was sent with an idempotency key."""

    key: str
    digest: str


def message_in(idempotency_key: IdempotencyKey, arguments: Mapping[str, Any]) -> Message | None:
    """The message that a run is asked to answer, if it has a key.

    Args:
        idempotency_key: a field of `RunConfig.custom_metadata`, or a function of the arguments.
        arguments: keyword arguments of `Runner.run_async`.
    """
    content = arguments.get("new_message")
    if idempotency_key is None or content is None:
        return None
    if callable(idempotency_key):
        key: Any = idempotency_key(arguments)
    else:
        key = (getattr(arguments.get("run_config"), "custom_metadata", None) or {}).get(idempotency_key)
    if key is None or key == "":
        return None
    if isinstance(key, bool) or not isinstance(key, (str, int)):
        raise TypeError(
            f"an idempotency key must be a string, got {key!r}; use the id that the client gave the message"
        )
    return Message(str(key), digest_of(content))


def checked(idempotency_key: Any) -> IdempotencyKey:
    if idempotency_key is None or callable(idempotency_key) or (isinstance(idempotency_key, str) and idempotency_key):
        return cast(IdempotencyKey, idempotency_key)
    raise TypeError(
        "idempotency_key must be the name of a field of RunConfig.custom_metadata, a function of run_async's keyword "
        f"arguments, or None to switch it off; got {idempotency_key!r}"
    )


def digest_of(content: types.Content) -> str:
    parts = [part.model_dump(mode="json", exclude_none=True) for part in content.parts or ()]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]


def note(event: Event, **fields: Any) -> None:
    """Add fields to what this package notes in an event."""
    noted = {**_noted(event), **fields}
    event.custom_metadata = {**(event.custom_metadata or {}), FIELD: noted}


def _noted(event: Event) -> Mapping[str, Any]:
    noted = (event.custom_metadata or {}).get(FIELD)
    return noted if isinstance(noted, Mapping) else {}


def mark(asked: str, fate: Fate) -> Event:
    """The event that notes how the run of a message ended; `asked` is the invocation of the user's event."""
    event = Event(author="user", invocation_id=asked)
    note(event, fate=fate)
    return event


@dataclass(frozen=True)
class Record:
    """What a session knows of a message.

    Attributes:
        asked: the user's event.
        events: what its runs stored, oldest first, without the messages of users.
        fate: how its run ended; None: it was cut off.
        is_latest: whether nothing else was said since.
        invocations: its own, and those of runs inside them.
        length: how many events the session has from the user's event on.
    """

    asked: Event
    events: Sequence[Event]
    fate: Fate | None
    is_latest: bool
    invocations: frozenset[str]
    length: int

    def belongs(self, event: Event) -> bool:
        return event.invocation_id in self.invocations

    @property
    def last_word(self) -> Event | None:
        """The model's answer, if that was the last thing said. A model cannot be asked after it."""
        said = [event for event in self.events if event.content and event.content.parts]
        if not said or said[-1].get_function_responses() or said[-1].get_function_calls():
            return None
        return said[-1]


def look_for(message: Message, session: Session | None) -> Record | None:
    """What the session knows of the message, if it was delivered before.

    Raises:
        IdempotencyKeyReusedError: it knows another message of that key.
    """
    events = [] if session is None else session.events
    for index in range(len(events) - 1, -1, -1):
        digest = _noted(events[index]).get("messages", {}).get(message.key)
        if digest is None:
            continue
        check_digest(message, digest)
        record = _record(events[index], events[index:])
        if record.fate is None and any(rewinds_to(event) for event in events[index:]):
            return None  # what was rewound cannot be gone on with
        return record
    return None


def check_digest(message: Message, digest: str) -> None:
    """Compare a message with the digest that is known of its key.

    Raises:
        IdempotencyKeyReusedError: it is another message's.
    """
    if digest != message.digest:
        raise IdempotencyKeyReusedError(
            f"another message of this session was sent with the idempotency key {message.key!r}; a message that is "
            "sent again must be the same, and a new message needs a key of its own"
        )


def _record(asked: Event, since: Sequence[Event]) -> Record:
    own, inside = {asked.invocation_id}, set[str]()
    fate: Fate | None = None
    for event in since:
        noted = _noted(event)
        if noted.get("continues") == asked.invocation_id:
            own.add(event.invocation_id)
        elif noted.get("inside") == asked.invocation_id:
            inside.add(event.invocation_id)
        if event.invocation_id == asked.invocation_id and "fate" in noted:
            fate = cast(Fate, noted["fate"])
            since = since[: since.index(event)]  # what comes later in that invocation answers another message
            break
    invocations = frozenset(own | inside)
    events = [event for event in since if event.invocation_id in own and event.author != "user"]
    # The error that a run was cut off with is not what the message is answered with.
    last = events[-1].invocation_id if events and fate is not None else None
    events = [event for event in events if event.error_code is None or event.invocation_id == last]
    is_latest = all(event.content is None or event.invocation_id in invocations for event in since)
    return Record(asked, events, fate, is_latest, invocations, len(since))
