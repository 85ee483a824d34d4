"""What Redis, DynamoDB, S3 and eventsourcing say, each seen losing a race."""

import contextlib
import functools
from uuid import uuid4

import pytest
import pytest_asyncio

from stale_retry.detection import is_conflict_error
from stale_retry.transient import is_transient_error, leaves_doubt

pytestmark = pytest.mark.servers


@pytest_asyncio.fixture
async def redis(redis_server):
    import redis.asyncio
    from redis.asyncio.retry import Retry
    from redis.backoff import ExponentialBackoff

    client = redis.asyncio.Redis.from_url(redis_server.url, retry=Retry(ExponentialBackoff(base=0.01), 20))
    await client.ping()
    yield client
    await client.aclose()


class TestRedis:
    @pytest.mark.asyncio
    async def test_a_key_that_changed_is_a_conflict(self, redis):
        from redis.exceptions import WatchError

        async with redis.pipeline() as pipe:
            await pipe.watch("chat")
            await redis.rpush("chat", "theirs")
            pipe.multi()
            pipe.rpush("chat", "mine")
            with pytest.raises(WatchError) as caught:
                await pipe.execute()
        assert is_conflict_error(caught.value)
        assert not is_transient_error(caught.value)

    @pytest.mark.asyncio
    async def test_a_connection_that_was_lost_while_watching_is_in_doubt_and_no_conflict(self, redis):
        """redis raises WatchError then, too, though EXEC may have been carried out."""
        from redis.exceptions import WatchError

        async with redis.pipeline() as pipe:
            await pipe.watch("chat")
            await redis.client_kill_filter(_type="normal", skipme=True)
            pipe.multi()
            pipe.rpush("chat", "mine")
            with pytest.raises(WatchError) as caught:
                await pipe.execute()
        assert is_transient_error(caught.value)
        assert not is_conflict_error(caught.value)

    @pytest.mark.asyncio
    async def test_a_server_that_is_not_there_is_transient(self, tmp_path):
        import redis.asyncio

        client = redis.asyncio.Redis.from_url(f"unix://{tmp_path}/nowhere", retry=None)
        with pytest.raises(redis.exceptions.ConnectionError) as caught:
            await client.ping()
        await client.aclose()
        assert is_transient_error(caught.value)

    @pytest.mark.asyncio
    async def test_a_pool_without_a_connection_left_stored_nothing(self, redis_server):
        import redis.asyncio

        pool = redis.asyncio.ConnectionPool.from_url(redis_server.url, max_connections=1)
        client, taken = redis.asyncio.Redis(connection_pool=pool), await pool.get_connection()
        with pytest.raises(redis.exceptions.MaxConnectionsError) as caught:
            await client.set("chat", "mine")
        await pool.release(taken)
        await client.aclose()
        await pool.aclose()
        assert is_transient_error(caught.value)
        assert not leaves_doubt(caught.value)


@pytest.fixture
def aws(monkeypatch):
    import moto

    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    with moto.mock_aws():
        yield


@contextlib.contextmanager
def client_error():
    from botocore.exceptions import ClientError

    with pytest.raises(ClientError) as caught:
        yield caught


class TestDynamoDb:
    @pytest.fixture
    def table(self, aws):
        import boto3

        client = boto3.client("dynamodb")
        client.create_table(
            TableName="events",
            KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
            AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}],
            BillingMode="PAY_PER_REQUEST",
        )
        client.put_item(**self.put("taken"))
        return client

    def put(self, key):
        return {
            "TableName": "events",
            "Item": {"id": {"S": key}},
            "ConditionExpression": "attribute_not_exists(id)",
        }

    def test_a_condition_that_does_not_hold_is_a_conflict(self, table):
        with client_error() as caught:
            table.put_item(**self.put("taken"))
        assert is_conflict_error(caught.value)
        assert not is_transient_error(caught.value)

    def test_a_transaction_with_such_a_condition_is_a_conflict(self, table):
        with client_error() as caught:
            table.transact_write_items(TransactItems=[{"Put": self.put("free")}, {"Put": self.put("taken")}])
        assert caught.value.response["CancellationReasons"][0]["Code"] == "None"
        assert is_conflict_error(caught.value)

    @pytest.fixture
    def pynamodb_model(self, table):
        from pynamodb.attributes import NumberAttribute, UnicodeAttribute, VersionAttribute
        from pynamodb.models import Model

        class Event(Model):
            class Meta:
                table_name = "events"
                region = "us-east-1"

            id = UnicodeAttribute(hash_key=True)
            n = NumberAttribute(default=0)
            version = VersionAttribute()

        Event("chat").save()
        return Event

    @pytest.mark.parametrize("in_a_transaction", [False, True])
    def test_a_version_of_pynamodb_that_moved_on_is_a_conflict(self, pynamodb_model, in_a_transaction):
        from pynamodb.connection import Connection
        from pynamodb.exceptions import PynamoDBException
        from pynamodb.transactions import TransactWrite

        mine, theirs = pynamodb_model.get("chat"), pynamodb_model.get("chat")
        mine.n, theirs.n = 1, 2
        theirs.save()
        with pytest.raises(PynamoDBException) as caught:
            if in_a_transaction:
                with TransactWrite(connection=Connection(region="us-east-1")) as transaction:
                    transaction.save(mine)
            else:
                mine.save()
        assert is_conflict_error(caught.value)
        assert not is_transient_error(caught.value)

    def test_a_mistake_is_not(self, table):
        with client_error() as caught:
            table.put_item(TableName="events", Item={})
        assert not is_conflict_error(caught.value)
        assert not is_transient_error(caught.value)


@pytest.mark.parametrize("condition", [{"IfNoneMatch": "*"}, {"IfMatch": '"another"'}])
def test_an_s3_object_that_is_another_is_a_conflict(aws, condition):
    import boto3

    client = boto3.client("s3")
    client.create_bucket(Bucket="bucket")
    client.put_object(Bucket="bucket", Key="chat", Body=b"theirs")
    with client_error() as caught:
        client.put_object(Bucket="bucket", Key="chat", Body=b"mine", **condition)
    assert is_conflict_error(caught.value)
    assert not is_transient_error(caught.value)


@pytest.mark.asyncio
async def test_an_s3_object_that_is_another_is_in_doubt_through_aiobotocore(monkeypatch):
    """aiohttp beneath it may have sent the PUT before, and neither of them says so."""
    from aiobotocore.session import get_session
    from moto.server import ThreadedMotoServer

    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    server = ThreadedMotoServer("127.0.0.1", port=0, verbose=False)
    server.start()
    address = "http://{}:{}".format(*server.get_host_and_port())
    async with get_session().create_client("s3", region_name="us-east-1", endpoint_url=address) as client:
        await client.create_bucket(Bucket="bucket")
        await client.put_object(Bucket="bucket", Key="chat", Body=b"theirs")
        with client_error() as caught:
            await client.put_object(Bucket="bucket", Key="chat", Body=b"mine", IfMatch='"another"')
    server.stop()
    assert not is_conflict_error(caught.value)
    assert is_transient_error(caught.value)
    assert leaves_doubt(caught.value)


IN_MEMORY = {"PERSISTENCE_MODULE": "eventsourcing.popo"}
IN_SQLITE = {"PERSISTENCE_MODULE": "eventsourcing.sqlite", "SQLITE_DBNAME": ":memory:"}


@functools.cache
def chat_class():
    from eventsourcing.domain import Aggregate, event

    class Chat(Aggregate):
        @event("Said")
        def say(self, text):
            self.text = text

    return Chat


class TestEventsourcing:
    @pytest.mark.parametrize("environment", [IN_MEMORY, IN_SQLITE], ids=["memory", "sqlite"])
    def test_an_aggregate_that_moved_on_is_a_conflict(self, environment):
        from eventsourcing.application import Application
        from eventsourcing.persistence import IntegrityError

        application = Application(env=environment)
        chat = chat_class()()
        application.save(chat)
        mine, theirs = application.repository.get(chat.id), application.repository.get(chat.id)
        mine.say("mine"), theirs.say("theirs")
        application.save(theirs)
        with pytest.raises(IntegrityError) as caught:
            application.save(mine)
        assert is_conflict_error(caught.value)
        assert not is_transient_error(caught.value)

    def test_an_aggregate_that_moved_on_is_in_doubt_on_postgresql(self, postgres):
        """The recorder for PostgreSQL sends an insert again when its answer was lost, and meets its own event."""
        from eventsourcing.application import Application
        from eventsourcing.persistence import IntegrityError

        name = {"POSTGRES_DBNAME": "postgres", "POSTGRES_USER": "postgres", "POSTGRES_PASSWORD": ""}
        host = {"POSTGRES_HOST": postgres.socket_directory, "POSTGRES_PORT": "5432"}
        application = Application(env={"PERSISTENCE_MODULE": "eventsourcing.postgres", **name, **host})
        chat = chat_class()()
        application.save(chat)
        mine, theirs = application.repository.get(chat.id), application.repository.get(chat.id)
        mine.say("mine"), theirs.say("theirs")
        application.save(theirs)
        with pytest.raises(IntegrityError) as caught:
            application.save(mine)
        application.close()
        assert not is_conflict_error(caught.value)
        assert is_transient_error(caught.value)
        assert leaves_doubt(caught.value)

    @pytest.mark.parametrize(
        "environment",
        [IN_MEMORY, IN_SQLITE, {**IN_SQLITE, "SINGLE_ROW_TRACKING": "n"}],
        ids=["memory", "sqlite", "sqlite, many rows"],
    )
    def test_an_event_that_a_projection_saw_before_is_not(self, environment):
        from eventsourcing.application import Environment
        from eventsourcing.persistence import InfrastructureFactory, IntegrityError, StoredEvent, Tracking

        factory = InfrastructureFactory.construct(env=Environment("projection", environment))
        recorder = factory.process_recorder()
        recorder.insert_events([StoredEvent(uuid4(), 1, "topic", b"")], tracking=Tracking("upstream", 1))
        with pytest.raises(IntegrityError) as caught:
            recorder.insert_events([StoredEvent(uuid4(), 1, "topic", b"")], tracking=Tracking("upstream", 1))
        assert not is_conflict_error(caught.value)

    def test_a_consistency_boundary_that_was_crossed_is_a_conflict(self):
        from eventsourcing.dcb.api import DCBAppendCondition, DCBEvent, DCBQuery, DCBQueryItem
        from eventsourcing.dcb.popo import InMemoryDCBRecorder
        from eventsourcing.persistence import IntegrityError

        recorder = InMemoryDCBRecorder()
        event = DCBEvent(type="Said", data=b"", tags=["chat"])
        recorder.append([event])
        condition = DCBAppendCondition(fail_if_events_match=DCBQuery(items=[DCBQueryItem(tags=["chat"])]))
        with pytest.raises(IntegrityError) as caught:
            recorder.append([event], condition)
        assert is_conflict_error(caught.value)
