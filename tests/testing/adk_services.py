"""google-adk's session services as they are, described for `check_store`."""

from uuid import uuid4

from google.adk.events import Event
from google.genai import types

OF = {"app_name": "app", "user_id": "user"}


def described(service):
    async def create():
        return (await service.create_session(**OF)).id

    async def load(session_id):
        return await service.get_session(**OF, session_id=session_id)

    async def append(session, event):
        await service.append_event(session, event)

    async def refresh(session):
        return await load(session.id)

    async def events(session_id):
        return (await load(session_id)).events

    async def delete(session_id):
        await service.delete_session(**OF, session_id=session_id)

    def event(n):
        content = types.Content(role="user", parts=[types.Part(text="ok")])
        return Event(author="user", invocation_id="i", id=uuid4().hex, content=content)

    def find_stored(session, event):
        return next((stored for stored in session.events if stored.id == event.id), None)

    return {
        "create": create,
        "load": load,
        "append": append,
        "refresh": refresh,
        "events": events,
        "event": event,
        "identity": lambda event: event.id,
        "seen": lambda session: session.events,
        "delete": delete,
        "find_stored": find_stored,
    }
