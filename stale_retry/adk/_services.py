"""What is known of google-adk's own services, by where they are defined, so that none is imported."""

from __future__ import annotations

from google.adk.sessions import BaseSessionService


def stores_whole_state(service: BaseSessionService | None) -> bool:
    """Whether an append stores all that the session's state holds, and not only what the event writes."""
    return any(kind.__module__.startswith("google.adk.integrations.firestore.") for kind in type(service).__mro__)
