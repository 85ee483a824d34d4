"""What the page on SQLAlchemy says, seen on PostgreSQL."""

from __future__ import annotations

import asyncio

import pytest

from stale_retry import StaleSessionError, retry_if_conflict, retry_transaction

from .recipes import EVENTS, WRITERS, programs, recipe

pytestmark = [pytest.mark.servers, pytest.mark.asyncio]

PAGE = "sqlalchemy.md"
URL = 'os.environ["DATABASE_URL"]'
ADD = "        message.chat_id = chat_id\n        database.add(message)\n"
FLUSH = "        await database.flush()                              # the version first\n"


@pytest.fixture
def program(provide):
    def load(**replacements):
        provide(programs(PAGE)[0])
        return recipe(PAGE, **replacements)

    return load


async def everything_is_stored(program, chat):
    async with program.open(chat) as handle:
        acknowledged, errors = await program.contend(handle, chat)
        assert errors == []
        assert sorted(await program.read(handle, chat)) == acknowledged
        return len(acknowledged) == WRITERS * EVENTS


@pytest.mark.parametrize("level", ["REPEATABLE READ", "SERIALIZABLE"])
async def test_a_stricter_isolation_changes_nothing(program, chat, level):
    assert await everything_is_stored(program(**{URL: f'{URL}, isolation_level="{level}"'}), chat)


async def test_it_is_the_same_on_sqlite(program, chat, monkeypatch, tmp_path):
    orm = program()
    monkeypatch.setenv("DATABASE_URL", f"sqlite+aiosqlite:///{tmp_path}/chats.db")
    assert await everything_is_stored(orm, chat)


async def test_writers_of_several_processes_lose_nothing(program, chat):
    """They share no queue."""
    orm = program()
    orm.without_queue()
    assert await everything_is_stored(orm, chat)


async def test_under_repeatable_read_a_rejection_is_not_sqlalchemys_own_error(program, chat):
    from sqlalchemy.orm.exc import StaleDataError

    orm = program(**{URL: f'{URL}, isolation_level="REPEATABLE READ"'})
    orm.without_looking()
    orm.without_queue()
    orm.with_options(on=StaleDataError)
    async with orm.open(chat) as handle:
        _, errors = await orm.contend(handle, chat)
    assert {error.orig.sqlstate for error in errors} == {"40001"}


async def test_without_a_flush_the_child_row_may_be_inserted_first_and_violate_a_constraint(program, chat):
    """SQLAlchemy knows no order between the two, and goes by the names of their classes."""
    from sqlalchemy.exc import IntegrityError

    orm = program(**{FLUSH: "", "Message": "Answer"})
    orm.without_queue()
    async with orm.open(chat) as handle:
        acknowledged, errors = await orm.contend(handle, chat)
        assert errors
        assert {type(error) for error in errors} == {IntegrityError}
        assert sorted(await orm.read(handle, chat)) == acknowledged


async def test_with_a_relationship_no_flush_is_needed(program, chat):
    orm = program(
        **{
            FLUSH: "",
            ADD: "        chat.messages.add(message)\n",
            "    __mapper_args__": '    messages: WriteOnlyMapped["Message"] = relationship()\n    __mapper_args__',
            "import DeclarativeBase,": "import WriteOnlyMapped, relationship, DeclarativeBase,",
        }
    )
    orm.without_queue()
    assert await everything_is_stored(orm, chat)


async def test_a_child_row_alone_is_not_rejected(program, chat):
    """Two messages get the same position, and only a constraint of its own notices."""
    orm = program(**{"chat.length += 1": "length = chat.length + 1", "position=chat.length": "position=length"})
    orm.without_looking()
    async with orm.open(chat) as handle:
        await orm.append(handle, chat, "1", "one")
        with pytest.raises(Exception, match="UniqueViolation"):
            await orm.append(handle, chat, "2", "two")


async def test_a_kept_object_is_stale_as_soon_as_others_write(program, chat):
    from sqlalchemy.orm.exc import StaleDataError

    orm = program()
    async with orm.open(chat) as new_session:
        async with new_session() as database:
            kept = await database.get(orm.Chat, chat)
        await orm.append(new_session, chat, "1", "theirs")
        async with new_session() as database:
            database.add(kept)
            kept.length += 1
            with pytest.raises(StaleDataError):
                await database.commit()


# A database session that is handed in


async def test_a_session_that_is_handed_in_is_unusable_after_a_conflict(program, chat):
    from sqlalchemy.exc import PendingRollbackError
    from sqlalchemy.orm.exc import StaleDataError

    orm, errors = program(), []

    @retry_transaction(on=lambda error: errors.append(error) or True, max_attempts=3)
    async def add(database):
        loaded = await database.get_one(orm.Chat, chat)
        if not errors:
            await orm.append(new_session, chat, "1", "theirs")
        loaded.length += 1
        await database.flush()

    async with orm.open(chat) as new_session, new_session() as database:
        with pytest.raises(StaleSessionError):
            await add(database)
    assert [type(error) for error in errors] == [StaleDataError, PendingRollbackError, PendingRollbackError]


@pytest.mark.parametrize("handed_in", ["a session", "a sessionmaker"])
async def test_a_request_hands_in_a_sessionmaker(program, chat, handed_in):
    import fastapi
    import httpx

    orm, app = program(), fastapi.FastAPI()

    async def get_session():
        async with new_session() as database:
            yield database

    async def get_sessionmaker():
        return new_session

    @app.post("/sessions/{event_id}")
    async def with_a_session(event_id: str, database=fastapi.Depends(get_session)):
        @retry_transaction(deadline=2)
        async def add():
            loaded = await database.get_one(orm.Chat, chat)
            loaded.length += 1
            database.add(orm.Message(event_id=event_id, chat_id=chat, position=loaded.length, text=event_id))
            await database.flush()

        await add()
        await database.commit()

    @app.post("/sessionmakers/{event_id}")
    async def with_a_sessionmaker(event_id: str, new_session=fastapi.Depends(get_sessionmaker)):
        await orm.append(new_session, chat, event_id, event_id)

    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with orm.open(chat) as new_session, httpx.AsyncClient(transport=transport, base_url="http://app") as client:
        path = "/sessions" if handed_in == "a session" else "/sessionmakers"
        answers = await asyncio.gather(*(client.post(f"{path}/{number}") for number in range(10)))
        stored = await orm.read(new_session, chat)
    failed = [answer for answer in answers if answer.status_code == 500]
    assert len(stored) == 10 - len(failed)
    assert bool(failed) == (handed_in == "a session")


# Bulk statements


@pytest.mark.parametrize("raises", [True, False])
async def test_a_bulk_statement_raises_where_the_transaction_writes_anything_else(program, chat, raises):
    """A function that returns the row count commits the rest, and its retry writes that again."""
    from sqlalchemy import select, update
    from tenacity import retry_if_result

    orm = program()

    @retry_transaction(on=retry_if_conflict() | retry_if_result(lambda changed: changed == 0))
    async def add(new_session, event_id):
        async with new_session() as database, database.begin():
            version = (await database.scalars(select(orm.Chat.version).where(orm.Chat.id == chat))).one()
            numbers.append(event_id)
            row = orm.Message(event_id=str(len(numbers)), chat_id=chat, position=len(numbers), text=event_id)
            database.add(row)
            await database.flush()
            bulk = update(orm.Chat).where(orm.Chat.id == chat, orm.Chat.version == version)
            changed = (await database.execute(bulk.values(version=version + 1))).rowcount
            if raises and not changed:
                raise StaleSessionError(chat)
            return changed

    numbers = []
    async with orm.open(chat) as new_session:
        await asyncio.gather(*(add(new_session, f"{number}") for number in range(20)))
        stored = await orm.read(new_session, chat)
    assert len(set(stored)) == 20
    assert (len(stored) == 20) == raises


async def test_a_bulk_statement_alone_checks_no_version(program, chat):
    from sqlalchemy import update

    orm = program()
    async with orm.open(chat) as new_session, new_session() as database:
        stale = await database.get_one(orm.Chat, chat)
        await orm.append(new_session, chat, "1", "theirs")
        await database.execute(update(orm.Chat).where(orm.Chat.id == chat).values(length=stale.length + 1))
        await database.commit()  # no error
