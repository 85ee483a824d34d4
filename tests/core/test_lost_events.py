"""An event that a second attempt would not store is refused loudly, and never dropped."""

import functools
import io

import anyio
import pytest

from stale_retry import StaleSessionError, retry_on_stale_session, retry_transaction

from .ways import SOON, by_id

pytestmark = pytest.mark.anyio

retrying = retry_on_stale_session(lambda session: "fresh", max_attempts=3, **SOON)
INSIDE = pytest.raises(
    TypeError, match=r"so its event may be inside the session.* Take the event as a required argument"
)


class TestAnEventInsideTheSession:
    """`save(session)` on a reloaded session would store nothing and return."""

    async def save(self, session):
        if session == "stale":
            raise StaleSessionError("lost the race")
        return "saved nothing"

    @pytest.mark.parametrize("way", ["function", "method", "keyword", "bound"])
    async def test_is_refused_at_the_first_conflict_chained_to_the_stale_error(self, way):
        async def save(session):
            return await self.save(session)

        with pytest.raises(TypeError, match="so its event may be inside the session") as caught:
            if way == "function":
                await retrying(save)("stale")
            elif way == "keyword":
                await retrying(save)(session="stale")
            elif way == "bound":
                await retrying.call(self.save, "stale")
            else:
                policy = retry_on_stale_session(lambda store, session: "fresh", **SOON)
                await policy(type(self).save)(self, "stale")
        assert str(caught.value.__cause__) == "lost the race"

    async def test_is_refused_whatever_flags_or_optional_arguments_follow_the_session(self):
        async def flag(session, flush=False):
            await self.save(session)

        async def keyword(session, *, flush=False, timeout=None):
            await self.save(session)

        async def optional(session, event=None):
            await self.save(session)

        async def anything(session, *events, **fields):
            await self.save(session)

        calls = [
            functools.partial(retrying.call, flag, "stale"),
            functools.partial(retrying.call, flag, "stale", flush=True),
            functools.partial(retrying.call, flag, "stale", True),
            functools.partial(retrying.call, keyword, "stale", flush=True, timeout=3),
            functools.partial(retrying.call, optional, "stale"),
            functools.partial(retrying.call, anything, "stale", flush=True),
        ]
        for call in calls:
            with INSIDE:
                await call()

    async def test_is_not_suspected_where_events_are_given_beside_it(self):
        async def variadic(session, *events):
            await self.save(session)
            return events

        assert await retrying.call(variadic, "stale", 1, 2) == (1, 2)
        with INSIDE:
            await retrying.call(variadic, "stale")

    async def test_is_not_suspected_where_a_partial_holds_it(self):
        async def append(session, event):
            await self.save(session)
            return event

        assert await retrying.call(functools.partial(append, event="event"), "stale") == "event"

    async def test_is_told_to_observers_as_a_call_that_ended_without(self):
        events = []
        with INSIDE:
            await retrying.replace(observers=events.append).call(self.save, "stale")
        assert [(event.kind, event.reason) for event in events] == [("retrying", None), ("gave_up", "aborted")]

    async def test_is_stored_where_the_refresh_hook_updates_the_session_in_place_or_a_conflict_hook_assigns_it(self):
        session, calls = [], []

        async def save(session):
            calls.append(session)
            if len(calls) % 2:
                raise StaleSessionError
            return "saved"

        def assign(conflict):
            conflict.arguments["session"] = conflict.fresh

        assert await retry_on_stale_session(lambda session: session, **SOON).call(save, session) == "saved"
        with INSIDE:
            await retrying.replace(on_conflict=lambda conflict: None).call(save, session)
        calls.clear()
        assert await retrying.replace(on_conflict=assign).call(save, session) == "saved"

    async def test_a_block_is_trusted_to_append_through_its_attempt(self):
        async for attempt in retrying.attempts("stale"):
            with attempt:
                await self.save(attempt.session)
        assert attempt.number == 2


async def async_generator():
    yield 1


READ_ONCE = {
    "iterator": lambda: iter([1]),
    "generator": lambda: (n for n in [1]),
    "map": lambda: map(str, [1]),
    "async generator": async_generator,
    "file": lambda: io.BytesIO(b"1"),
    "text file": lambda: io.StringIO("1"),
}


class TestAnArgumentThatCanBeReadOnlyOnce:
    @pytest.mark.parametrize("kind", READ_ONCE)
    @pytest.mark.parametrize("way", ["position", "keyword", "*rest", "**more"])
    async def test_is_refused_at_the_first_conflict(self, kind, way):
        made = []

        async def append(session, event, *rest, **more):
            made.append(session)
            raise StaleSessionError("lost the race")

        value = READ_ONCE[kind]()
        args = {"position": (value,), "*rest": (1, 2, value), "**more": (1,)}.get(way, ())
        kwargs = {"keyword": {"event": value}, "**more": {"rows": value}}.get(way, {})
        name = {"*rest": "rest", "**more": "more"}.get(way, "event")
        with pytest.raises(TypeError, match=rf"read only once \({name}\).* Pass a list, bytes or a string") as caught:
            await retrying(append)("stale", *args, **kwargs)
        assert made == ["stale"]
        assert str(caught.value.__cause__) == "lost the race"

    async def test_before_the_session_is_the_refresh_hooks_affair(self):
        store, made = iter([1]), []

        async def append(store, session, event):
            made.append((store, session))
            if len(made) == 1:
                raise StaleSessionError
            return event

        policy = retry_on_stale_session(lambda store, session: "fresh", **SOON)
        assert await policy(append)(store=store, session="stale", event="event") == "event"
        assert made == [(store, "stale"), (store, "fresh")]

    @pytest.mark.parametrize("kind", READ_ONCE)
    async def test_is_refused_in_a_transaction_too(self, kind):
        made = []

        @retry_transaction(max_attempts=3, **SOON)
        async def store_all(rows):
            made.append(rows)
            raise StaleSessionError

        with pytest.raises(TypeError, match=r"read only once \(rows\)"):
            await store_all(READ_ONCE[kind]())
        assert len(made) == 1

    @pytest.mark.parametrize("kind", READ_ONCE)
    async def test_is_passed_on_where_nothing_was_rejected(self, kind):
        async def append(session, event):
            return event

        value = READ_ONCE[kind]()
        assert await retrying(append)("stale", value) is value

    def test_is_passed_on_after_a_wait_in_the_queue(self, virtually):
        class Session:
            id = 1

        stored = []

        async def append(session, rows):
            await anyio.sleep(1)
            stored.append(list(rows))

        async def main():
            policy = retry_on_stale_session(lambda session: Session(), key=by_id, **SOON)
            async with anyio.create_task_group() as tasks:
                for n in range(2):
                    tasks.start_soon(policy(append), Session(), iter([n]))

        virtually(main)
        assert sorted(stored) == [[0], [1]]

    @pytest.mark.parametrize("value", [[1], (1,), {1: 2}, b"1", "1", range(3), {1}])
    async def test_is_none_of_these(self, value):
        async def append(session, event):
            if session == "stale":
                raise StaleSessionError
            return event

        assert await retrying(append)("stale", value) is value

    async def test_is_not_looked_for_before_the_session(self):
        class Store:
            """A store may be an iterator of itself: nothing of it is stored."""

            def __iter__(self):
                return self

            __next__ = None

            async def append(self, session, event):
                if session == "stale":
                    raise StaleSessionError
                return event

        policy = retry_on_stale_session(lambda store, session: "fresh", **SOON)
        assert await policy(Store.append)(Store(), "stale", "event") == "event"


class TestARefreshHookThatWouldBeMisbound:
    """The session would arrive in a parameter that means something else, and another session be reloaded."""

    class Store:
        async def append(self, session, event):
            if session != "fresh":
                raise StaleSessionError
            return session

    def test_is_refused_at_decoration(self):
        def reload(session, consistent=True):
            raise AssertionError("called with the store for a session")

        with pytest.raises(TypeError, match=r"argument number 2; .* takes something else there\. Write it as"):
            retry_on_stale_session(reload, **SOON)(self.Store.append)

    def test_is_refused_where_the_session_comes_sooner_than_the_hook_has_it(self):
        def reload(store=None, session=None):
            raise AssertionError("called with the session for a store")

        async def append(session, event): ...

        with pytest.raises(TypeError, match=r"as its argument number 1; .* takes something else there"):
            retry_on_stale_session(reload, **SOON)(append)

    def test_is_refused_where_the_hook_has_the_session_elsewhere(self):
        def reload(session, *rest):
            raise AssertionError("called with the store for a session")

        with pytest.raises(TypeError, match=r"as its argument number 2; .* takes something else there"):
            retry_on_stale_session(reload, **SOON)(self.Store.append)

    def test_is_refused_by_a_block_too(self):
        def reload(session, consistent=True):
            raise AssertionError("called with the store for a session")

        with pytest.raises(TypeError, match="the session last"):
            retry_on_stale_session(reload, **SOON).attempts(self.Store(), "session")

    async def test_one_with_an_optional_second_parameter_serves_a_function_and_a_bound_method(self):
        def reload(session, consistent=True):
            assert consistent is True
            return "fresh"

        policy = retry_on_stale_session(reload, **SOON)
        assert await policy.call(self.Store().append, "stale", "e") == "fresh"

    async def test_one_that_names_the_session_otherwise_is_bound_by_position(self):
        def reload(store, chat):
            return "fresh"

        assert await retry_on_stale_session(reload, **SOON)(self.Store.append)(self.Store(), "stale", "e") == "fresh"
