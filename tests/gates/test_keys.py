"""Which lock a key has, and what is refused where the gate is made."""

import json
import os
import subprocess
import sys
from collections import namedtuple
from enum import Enum
from pathlib import Path
from uuid import UUID, uuid4

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from redis import Redis
from redis.asyncio import Redis as AsyncRedis
from sqlalchemy import create_engine
from sqlalchemy.ext.asyncio import create_async_engine

from stale_retry.gates._key import lock_of
from stale_retry.gates.postgres import postgres_gate
from stale_retry.gates.redis import redis_gate

KEYS = st.recursive(
    st.text() | st.integers() | st.uuids(), lambda keys: st.lists(keys, max_size=4).map(tuple), max_leaves=6
)


@given(KEYS, KEYS)
@settings(max_examples=200, deadline=None)
def test_equal_keys_have_one_lock_and_others_have_others(one, other):
    assert (lock_of(one) == lock_of(other)) == (one == other)


def test_a_lock_is_the_same_in_every_process_and_release():
    keys = [("app", "user", "s-1"), "s", 7, ["nested", ["x", 1]]]
    code = (
        "import json, sys; from stale_retry.gates._key import lock_of\n"
        "def keyed(key): return tuple(map(keyed, key)) if isinstance(key, list) else key\n"
        f"print(json.dumps([lock_of(keyed(key)).hex() for key in json.loads({json.dumps(json.dumps(keys))})]))"
    )

    def locks(seed):
        environment = {**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": str(Path(__file__).parents[2])}
        return json.loads(subprocess.check_output([sys.executable, "-c", code], env=environment))

    assert (
        locks("1")
        == locks("2")
        == [
            "9b65d4e5dd2beb98",
            "e79e0d777a1a0116",
            "fbe77e8bf57508ea",
            "ba9dce31d1555003",
        ]
    )


def test_what_inherits_from_a_key_is_that_key():
    class Color(str, Enum):
        RED = "red"

    class DriversUUID(UUID):
        def __repr__(self):
            return "another"

    some = uuid4()
    assert lock_of(Color.RED) == lock_of("red")
    assert lock_of(namedtuple("Key", "app id")("a", "b")) == lock_of(("a", "b"))
    assert lock_of(DriversUUID(some.hex)) == lock_of(some)


@pytest.mark.parametrize("key", [None, 1.5, b"bytes", object(), ("app", None), frozenset("s")])
def test_another_key_is_refused_by_name(key):
    gate = redis_gate(AsyncRedis(), lambda session: session)
    kind = "NoneType" if key == ("app", None) else type(key).__name__
    with pytest.raises(TypeError, match=f"must be a str, an int, a UUID or a tuple of such, got a {kind}"):
        gate(key)


def test_what_the_key_function_raises_is_raised():
    with pytest.raises(AttributeError):
        redis_gate(AsyncRedis(), lambda session: session.id)(object())


@pytest.mark.parametrize("timeout", [0, -1, float("nan")])
def test_a_timeout_must_be_above_zero(timeout):
    engine = create_async_engine("postgresql+asyncpg://")
    for gate in (lambda: redis_gate(AsyncRedis(), str, timeout), lambda: postgres_gate(engine, str, timeout=timeout)):
        with pytest.raises(ValueError, match="timeout must be above zero"):
            gate()


@pytest.mark.parametrize("timeout", [None, float("inf")])
def test_a_lock_in_redis_must_end_and_a_wait_for_postgresql_need_not(timeout):
    with pytest.raises(ValueError, match="timeout must have an end"):
        redis_gate(AsyncRedis(), str, timeout)
    assert callable(postgres_gate(create_async_engine("postgresql+asyncpg://"), str, timeout=timeout))


def test_a_key_must_be_a_function():
    with pytest.raises(TypeError, match="key must be a function of the session"):
        redis_gate(AsyncRedis(), "id")


@pytest.mark.parametrize(
    "engine", [create_engine("sqlite://"), "postgresql://", object()], ids=["sync", "url", "other"]
)
def test_postgres_gate_refuses_what_it_cannot_use(engine):
    with pytest.raises(TypeError, match="AsyncEngine, asyncpg's Pool or psycopg's AsyncConnectionPool"):
        postgres_gate(engine, str)


def test_postgres_gate_refuses_an_engine_of_another_database():
    with pytest.raises(TypeError, match="PostgreSQL engine, got one for sqlite"):
        postgres_gate(create_async_engine("sqlite+aiosqlite://"), str)


def test_redis_gate_refuses_a_client_that_blocks():
    with pytest.raises(TypeError, match=r"client of redis\.asyncio, got a redis\.client\.Redis"):
        redis_gate(Redis(), str)


def test_neither_gate_imports_a_driver():
    code = (
        "import sys, stale_retry.gates.postgres, stale_retry.gates.redis\n"
        "assert not {'sqlalchemy', 'asyncpg', 'psycopg', 'redis'} & set(sys.modules)"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    subprocess.run([sys.executable, "-c", code], env=environment, check=True)
