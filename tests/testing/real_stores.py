"""Stores on real databases, each an async context manager that yields the arguments of `check_store`.

Where they are: the environment variable STORE_URL, so that another process finds the same one.
"""

import asyncio
import json
import os
import shutil
import tempfile
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from uuid import uuid4

from stale_retry import StaleSessionError


@dataclass
class Session:
    id: str
    version: object = 0
    events: list = field(default_factory=list)


def event(n):
    return {"id": uuid4().hex, "text": "ok"}


def find_stored(session, event):
    return next((stored for stored in session.events if stored["id"] == event["id"]), None)


COMMON = {
    "event": event,
    "identity": lambda event: event["id"],
    "seen": lambda session: session.events,
    "find_stored": find_stored,
}


@asynccontextmanager
async def sqlite():
    """One connection for each operation, as web servers with a pool have it."""
    import aiosqlite

    @asynccontextmanager
    async def transaction(kind="IMMEDIATE"):
        async with aiosqlite.connect(os.environ["STORE_URL"], isolation_level=None) as database:
            await database.execute("PRAGMA synchronous = OFF")
            await database.execute(f"BEGIN {kind}")
            yield database
            await database.execute("COMMIT")

    async with transaction() as database:
        await database.execute("CREATE TABLE IF NOT EXISTS sessions (id TEXT PRIMARY KEY, version INTEGER)")
        await database.execute("CREATE TABLE IF NOT EXISTS events (session TEXT, version INTEGER, body TEXT)")

    async def create():
        session_id = uuid4().hex
        async with transaction() as database:
            await database.execute("INSERT INTO sessions VALUES (?, 0)", (session_id,))
        return session_id

    async def load(session_id):
        return await refresh(Session(session_id))

    async def refresh(session):
        async with transaction("DEFERRED") as database:
            query = "SELECT version FROM sessions WHERE id = ?"
            (row,) = await database.execute_fetchall(query, (session.id,)) or [None]
            query = "SELECT body FROM events WHERE session = ? ORDER BY version"
            events = await database.execute_fetchall(query, (session.id,))
        if row is None:
            return None
        return Session(session.id, row[0], [json.loads(body) for (body,) in events])

    async def append(session, event):
        async with transaction() as database:
            move = "UPDATE sessions SET version = version + 1 WHERE id = ? AND version = ?"
            moved = await database.execute(move, (session.id, session.version))
            if not moved.rowcount:
                raise StaleSessionError(f"{session.id} is not at version {session.version}")
            new = (session.id, session.version + 1, json.dumps(event))
            await database.execute("INSERT INTO events VALUES (?, ?, ?)", new)

    async def events(session_id):
        return (await load(session_id)).events

    async def delete(session_id):
        async with transaction() as database:
            await database.execute("DELETE FROM sessions WHERE id = ?", (session_id,))
            await database.execute("DELETE FROM events WHERE session = ?", (session_id,))

    functions = {"create": create, "load": load, "append": append, "refresh": refresh, "events": events}
    yield {**COMMON, **functions, "delete": delete}


@asynccontextmanager
async def sqlalchemy():
    from sqlalchemy import ForeignKey, Integer, String, select
    from sqlalchemy import delete as sql_delete
    from sqlalchemy.ext.asyncio import async_sessionmaker, create_async_engine
    from sqlalchemy.orm import DeclarativeBase, mapped_column

    class Base(DeclarativeBase):
        pass

    class Chat(Base):
        __tablename__ = "chats"
        id = mapped_column(String, primary_key=True)
        version = mapped_column(Integer, nullable=False)
        length = mapped_column(Integer, nullable=False)
        __mapper_args__ = {"version_id_col": version}  # noqa: RUF012  # as SQLAlchemy has it

    class Message(Base):
        __tablename__ = "messages"
        id = mapped_column(String, primary_key=True)
        chat_id = mapped_column(ForeignKey("chats.id"))
        position = mapped_column(Integer)

    engine = create_async_engine(os.environ["STORE_URL"])
    sessions = async_sessionmaker(engine)
    async with engine.begin() as connection:
        await connection.run_sync(Base.metadata.create_all)

    async def create():
        session_id = uuid4().hex
        async with sessions.begin() as database:
            database.add(Chat(id=session_id, length=0))
        return session_id

    async def load(session_id):
        return await refresh(Session(session_id))

    async def refresh(session):
        async with sessions() as database:
            chat = await database.get(Chat, session.id)
            query = select(Message.id).where(Message.chat_id == session.id).order_by(Message.position)
            found = [{"id": each} for each in await database.scalars(query)]
            return None if chat is None else Session(session.id, chat.version, found)

    async def append(session, event):
        async with sessions.begin() as database:
            chat = await database.get(Chat, session.id)
            if chat is None or chat.version != session.version:
                raise StaleSessionError(f"{session.id} is not at version {session.version}")
            chat.length += 1
            await database.flush()
            database.add(Message(id=event["id"], chat_id=chat.id, position=chat.length))

    async def events(session_id):
        return (await load(session_id)).events

    async def delete(session_id):
        async with sessions.begin() as database:
            await database.execute(sql_delete(Message).where(Message.chat_id == session_id))
            await database.execute(sql_delete(Chat).where(Chat.id == session_id))

    functions = {"create": create, "load": load, "append": append, "refresh": refresh, "events": events}
    try:
        yield {**COMMON, **functions, "delete": delete}
    finally:
        await engine.dispose()


@asynccontextmanager
async def redis():
    from redis.asyncio import Redis

    client = Redis(unix_socket_path=os.environ["STORE_URL"], decode_responses=True)

    async def create():
        session_id = uuid4().hex
        await client.rpush(session_id, "created")
        return session_id

    async def load(session_id):
        return await refresh(Session(session_id))

    async def refresh(session):
        there, *bodies = await client.lrange(session.id, 0, -1) or [None]
        if there is None:
            return None
        return Session(session.id, len(bodies) + 1, [json.loads(body) for body in bodies])

    async def append(session, event):
        async with client.pipeline() as pipe:
            await pipe.watch(session.id)
            if await pipe.llen(session.id) != session.version:
                raise StaleSessionError(f"{session.id} is not at version {session.version}")
            pipe.multi()
            pipe.rpush(session.id, json.dumps(event))
            await pipe.execute()

    async def events(session_id):
        return (await load(session_id)).events

    async def delete(session_id):
        await client.delete(session_id)

    functions = {"create": create, "load": load, "append": append, "refresh": refresh, "events": events}
    try:
        yield {**COMMON, **functions, "delete": delete}
    finally:
        await client.aclose()


@asynccontextmanager
async def http():
    import httpx

    client = httpx.AsyncClient(base_url=os.environ["STORE_URL"])

    async def create():
        session_id = uuid4().hex
        (await client.put(f"/chats/{session_id}", json=[], headers={"If-None-Match": "*"})).raise_for_status()
        return session_id

    async def load(session_id):
        return await refresh(Session(session_id))

    async def refresh(session):
        answer = await client.get(f"/chats/{session.id}")
        if answer.status_code == 404:
            return None
        answer.raise_for_status()
        return Session(session.id, answer.headers["ETag"], answer.json())

    async def append(session, event):
        expected = {"If-Match": session.version}
        answer = await client.put(f"/chats/{session.id}", json=[*session.events, event], headers=expected)
        answer.raise_for_status()

    async def events(session_id):
        return (await load(session_id)).events

    async def delete(session_id):
        (await client.delete(f"/chats/{session_id}")).raise_for_status()

    functions = {"create": create, "load": load, "append": append, "refresh": refresh, "events": events}
    async with client:
        yield {**COMMON, **functions, "delete": delete}


def files():
    """One file an event, named by its version; a hard link is made or refused in one step, for every process."""
    folder = Path(os.environ["STORE_URL"])

    async def create():
        session_id = uuid4().hex
        (folder / session_id).mkdir()
        return session_id

    async def load(session_id):
        return await refresh(Session(session_id))

    async def refresh(session):
        await asyncio.sleep(0)
        names = sorted(int(file.name) for file in (folder / session.id).glob("[0-9]*"))
        found = [json.loads((folder / session.id / str(name)).read_text()) for name in names]
        return Session(session.id, len(found), found) if (folder / session.id).exists() else None

    async def append(session, event):
        await asyncio.sleep(0)
        new = folder / f"new {uuid4().hex}"
        new.write_text(json.dumps(event))
        try:
            (folder / session.id / str(session.version + 1)).hardlink_to(new)
        except (FileExistsError, FileNotFoundError) as error:
            raise StaleSessionError(f"{session.id} is not at version {session.version}") from error
        finally:
            new.unlink()
        await asyncio.sleep(0)

    async def events(session_id):
        return (await load(session_id)).events

    async def delete(session_id):
        shutil.rmtree(folder / session_id)

    functions = {"create": create, "load": load, "append": append, "refresh": refresh, "events": events}
    return {**COMMON, **functions, "delete": delete}


LOCK = asyncio.Lock()


def json_file():
    """One file a session, and a lock: right in one process, wrong in two."""
    folder = Path(os.environ["STORE_URL"])

    async def create():
        session_id = uuid4().hex
        (folder / session_id).write_text("[]")
        return session_id

    async def load(session_id):
        return await refresh(Session(session_id))

    async def refresh(session):
        file = folder / session.id
        events = json.loads(file.read_text()) if file.exists() else None
        return None if events is None else Session(session.id, len(events), events)

    async def append(session, event):
        async with LOCK:
            now = await refresh(session)
            if now is None or now.version != session.version:
                raise StaleSessionError("stale")
            await asyncio.sleep(0)
            with tempfile.NamedTemporaryFile("w", dir=folder, delete=False) as new:
                new.write(json.dumps([*session.events, event]))
            Path(new.name).replace(folder / session.id)

    async def events(session_id):
        return (await load(session_id)).events

    async def delete(session_id):
        (folder / session_id).unlink()

    functions = {"create": create, "load": load, "append": append, "refresh": refresh, "events": events}
    return {**COMMON, **functions, "delete": delete}
