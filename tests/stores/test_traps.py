"""What the recipes warn of, seen on the real thing."""

from __future__ import annotations

import pytest

from stale_retry import DeadlineExceededError, SessionGoneError, StaleSessionError

from .recipes import EVENTS, WRITERS, programs, recipe

pytestmark = [pytest.mark.servers, pytest.mark.asyncio]


@pytest.fixture
def program(provide):
    def load(page, number=0, **replacements):
        provide(programs(page)[number])
        return recipe(page, number, **replacements)

    return load


async def everything_is_stored(program, chat):
    async with program.open(chat) as handle:
        acknowledged, errors = await program.contend(handle, chat)
        assert errors == []
        assert sorted(await program.read(handle, chat)) == acknowledged
        return len(acknowledged) == WRITERS * EVENTS


# asyncpg and psycopg


async def test_an_event_that_is_stored_already_is_told_at_once(program, chat):
    """And the constraint's name is what tells the two apart."""
    import asyncpg

    events = program("asyncpg.md")
    async with events.open(chat) as pool:
        await events.append(pool, await events.load(pool, chat), f"{chat}/1", "hello")
        events.without_looking()
        with pytest.raises(asyncpg.UniqueViolationError):
            await events.append(pool, await events.load(pool, chat), f"{chat}/1", "hello")
        assert events.retries == 0
        events.with_options(on=asyncpg.UniqueViolationError, max_attempts=3)
        with pytest.raises(StaleSessionError):
            await events.append(pool, await events.load(pool, chat), f"{chat}/1", "hello")
        assert events.retries == 2


@pytest.mark.parametrize("savepoint", [True, False])
async def test_a_savepoint_keeps_the_transaction_around_it_usable(program, chat, savepoint):
    import psycopg

    without = {} if savepoint else {"async with connection.transaction():": "if True:"}
    events = program("psycopg.md", 1, **without)
    async with events.open(chat) as pool:
        stale = await events.load(pool, chat)
        await events.append(pool, await events.load(pool, chat), f"{chat}/theirs", "theirs")
        if savepoint:
            await events.append(pool, stale, f"{chat}/mine", "mine")
            assert await events.read(pool, chat) == ["theirs", "mine"]
        else:
            with pytest.raises(StaleSessionError) as caught:
                await events.append(pool, stale, f"{chat}/mine", "mine")
            assert isinstance(caught.value.__cause__, psycopg.errors.InFailedSqlTransaction)


# HTTP


async def test_a_409_is_retried_where_the_service_is_said_to_mean_a_conflict(program, chat):
    from stale_retry import http_status, retry_if_conflict

    documents = program("http.md", **{'"/chats/{chat_id}"': '"/lists/{chat_id}"'})
    documents.with_options(on=retry_if_conflict() | http_status(409))
    assert await everything_is_stored(documents, chat)


async def test_a_409_is_the_callers_where_nothing_was_said(program, chat):
    import httpx

    documents = program("http.md", **{'"/chats/{chat_id}"': '"/lists/{chat_id}"'})
    async with documents.open(chat) as client:
        stale = await documents.load(client, chat)
        await documents.append(client, await documents.load(client, chat), "1", "theirs")
        with pytest.raises(httpx.HTTPStatusError, match="409"):
            await documents.append(client, stale, "2", "mine")


async def test_a_document_that_was_deleted_is_gone(program, chat):
    documents = program("http.md")
    async with documents.open(chat) as client:
        stale = await documents.load(client, chat)
        await client.delete(stale.url)
        with pytest.raises(SessionGoneError):
            await documents.append(client, stale, "2", "mine")


async def test_without_raise_for_status_a_rejection_returns_as_if_stored(program, chat):
    careless = program("http.md", **{"headers=expected)\n    answer.raise_for_status()": "headers=expected)"})
    async with careless.open(chat) as client:
        stale = await careless.load(client, chat)
        stale.etag = '"none of them"'
        with pytest.raises(KeyError):  # the recipe would notice all the same: there is no new ETag
            await careless.append(client, stale, "2", "mine")
        assert await careless.read(client, chat) == []


# NATS, etcd, DynamoDB, eventsourcing, pydantic-ai


async def test_a_message_with_the_id_of_a_stored_one_is_stored_once(program, chat):
    """So what timed out may be sent again."""
    messages = program("nats.md")
    async with messages.open(chat) as jetstream:
        for _ in range(2):
            stored = await jetstream.publish(f"chats.{chat}", b"hello", headers={"Nats-Msg-Id": f"{chat}/1"})
        assert stored.duplicate
        assert await messages.read(jetstream, chat) == ["hello"]


async def test_a_transaction_that_was_never_carried_out_ends_as_a_conflict(program, chat):
    values = program("etcd.md")
    values.with_options(deadline=0.2)
    async with values.open(chat) as client:
        session = await values.load(client, chat)
        session.revision = 12345  # and the reload finds no key, so it stays
        with pytest.raises(DeadlineExceededError) as caught:
            await values.append(client, session, "1", "mine")
        assert isinstance(caught.value.last_error, StaleSessionError)


async def test_a_cancelled_dynamodb_transaction_is_a_conflict_by_its_reasons(program, chat):
    events = program("dynamodb.md")
    async with events.open(chat) as client:
        stale = await events.load(client, chat)
        await events.append(client, await events.load(client, chat), "1", "theirs")

        async def append(client, chat, event_id, text):
            item = {"chat_id": {"S": chat.id}, "version": {"N": str(chat.version + 1)}}
            item |= {"event_id": {"S": event_id}, "text": {"S": text}}
            condition = "attribute_not_exists(chat_id)"
            put = {"TableName": "events", "Item": item, "ConditionExpression": condition}
            await client.transact_write_items(TransactItems=[{"Put": put}])

        await events.append.retrying.call(append, client, stale, "2", "mine")
        assert await events.read(client, chat) == ["theirs", "mine"]


async def test_saving_the_same_aggregate_again_stores_nothing(program, chat):
    """A failed save has emptied it: why the recipe loads in every attempt."""
    chats = program("eventsourcing.md")
    from eventsourcing.persistence import IntegrityError

    async with chats.open(chat) as application:
        mine = application.repository.get(chats.Chat.create_id(chat))
        await chats.append(application, chat, "1", "theirs")
        mine.say("2", "mine")
        with pytest.raises(IntegrityError):
            application.save(mine)
        application.save(mine)
        assert await chats.read(application, chat) == ["theirs"]


async def test_the_usage_of_every_run_is_carried_over(program, chat):
    talks = program("pydantic-ai.md")
    async with talks.open(chat) as store:
        await talks.contend(store, chat)
        conversation = await store.load(chat)
        assert conversation.usage.requests == WRITERS * EVENTS
        assert len(conversation.messages) == 2 * WRITERS * EVENTS
