"""What the installed google-adk does, where releases differ: the tests say so instead of being skipped."""

import inspect
from importlib.util import find_spec

from google.adk.sessions import BaseSessionService, Session, sqlite_session_service
from google.adk.version import __version__

VERSION = tuple(int(part) for part in __version__.split(".")[:2])

# 1.19 compares with a time that only a change of state moves, and 1.24 to 1.27 reload silently and go on.
DATABASE_REJECTS_STALE = (1, 20) <= VERSION < (1, 24) or VERSION >= (1, 28)
DATABASE_RELOADS_SILENTLY = (1, 24) <= VERSION < (1, 28)
DATABASE_LOCKS = VERSION >= (1, 28)
"""Whether appends through one DatabaseSessionService happen one after the other, so that none overtakes the check."""
HAS_STALE_ERROR = VERSION >= (2, 7)
HAS_CLOCK = VERSION >= (1, 27)
SERVICES_RAISE_NOT_FOUND = VERSION >= (2, 6)
EVENT_DATES_THE_SESSION = VERSION >= (1, 20)
"""Whether a session's update time is that of its last event, and not the clock's."""
HAS_MARKER = "_storage_update_marker" in Session.__private_attributes__
SQLITE_PATCHES_STATE = "json_patch" in inspect.getsource(sqlite_session_service)
"""Whether SqliteSessionService merges a dict into the stored one, and deletes what is None."""
APPLIES_TEMP_STATE = hasattr(BaseSessionService, "_apply_temp_state")

HAS_FIRESTORE = bool(VERSION >= (2, 7) and find_spec("google.cloud") and find_spec("google.cloud.firestore"))
HAS_MONGODB = bool(VERSION >= (2, 7) and find_spec("google.adk.integrations.mongodb") and find_spec("mongomock"))
FAKED = [*["firestore_service"] * HAS_FIRESTORE, *["mongodb_service"] * HAS_MONGODB]
"""The services that can be run on a database in memory, where the library for that is installed."""
