"""Rejected once, then stored: for every kind of append, every place of the session and every kind of refresh hook."""

import asyncio
import functools

import anyio
import pytest

from stale_retry import StaleSessionError, StaleSessionRetrying, retry_on_stale_session

from .ways import SOON

pytestmark = pytest.mark.anyio


class Session:
    def __init__(self, version):
        self.version = version


OLD, NEW = Session(1), Session(2)


def reject(session):
    if session is not NEW:
        raise StaleSessionError(f"version {session.version}")


class Recorder:
    """A refresh hook that keeps its arguments and answers the fresh session."""

    def __init__(self):
        self.calls = []

    async def __call__(self, *leading):
        self.calls.append(leading)
        return NEW


@pytest.fixture
def refresh():
    return Recorder()


@pytest.fixture
def retrying(refresh):
    return retry_on_stale_session(refresh, **SOON)


class Store:
    """Every kind of append that a class can have, each under one refresh hook that takes what comes before."""

    calls = None

    async def reload(self, session):
        self.calls.append((self, session))
        return NEW

    def reload_for_class(*leading):
        Store.calls.append(leading)
        return NEW

    @retry_on_stale_session(reload, **SOON)
    async def append(self, session, event):
        """Store one event."""
        reject(session)
        return self, event

    @retry_on_stale_session(reload_for_class, **SOON)
    @classmethod
    async def append_to_class(cls, session, event):
        reject(session)
        return cls, event

    @classmethod
    @retry_on_stale_session(reload_for_class, **SOON)
    async def append_to_class_inside(cls, session, event):
        reject(session)
        return cls, event

    @retry_on_stale_session(reload_for_class, **SOON)
    @staticmethod
    async def append_statically(session, event):
        reject(session)
        return event

    @staticmethod
    @retry_on_stale_session(reload_for_class, **SOON)
    async def append_statically_inside(session, event):
        reject(session)
        return event


@pytest.fixture
def store():
    Store.calls = []
    return Store()


class CallableStore:
    async def __call__(self, session, event):
        reject(session)
        return event


class PlainStore:
    async def append(self, session, event):
        reject(session)
        return event


class TestKindsOfAppend:
    async def test_a_function_is_called_again_on_the_refreshed_session(self, retrying, refresh):
        seen = []

        @retrying
        async def append(session, event):
            seen.append(session)
            reject(session)
            return event

        assert await append(OLD, "event") == "event"
        assert seen == [OLD, NEW]
        assert refresh.calls == [(OLD,)]

    async def test_an_append_that_succeeds_at_once_never_refreshes(self, retrying, refresh):
        @retrying
        async def append(session, event):
            return event

        assert await append(OLD, "event") == "event"
        assert refresh.calls == []

    @pytest.mark.parametrize("by_keyword", [False, True])
    async def test_a_method_hands_its_instance_to_refresh(self, store, by_keyword):
        answer = await (store.append(session=OLD, event="event") if by_keyword else store.append(OLD, "event"))
        assert answer == (store, "event")
        assert Store.calls == [(store, OLD)]

    async def test_a_method_called_on_its_class_hands_its_instance_to_refresh(self, store):
        assert await Store.append(store, OLD, "event") == (store, "event")
        assert Store.calls == [(store, OLD)]

    @pytest.mark.parametrize("name", ["append_to_class", "append_to_class_inside"])
    @pytest.mark.parametrize("on_instance", [False, True])
    async def test_a_classmethod_hands_its_class_to_refresh(self, store, name, on_instance):
        append = getattr(store if on_instance else Store, name)
        assert await append(OLD, "event") == (Store, "event")
        assert Store.calls == [(Store, OLD)]

    async def test_a_classmethod_of_a_subclass_gets_the_subclass(self, store):
        class Child(Store):
            pass

        assert (await Child.append_to_class(OLD, "event"))[0] is Child
        assert Store.calls == [(Child, OLD)]

    @pytest.mark.parametrize("name", ["append_statically", "append_statically_inside"])
    @pytest.mark.parametrize("on_instance", [False, True])
    async def test_a_staticmethod_hands_only_the_session_to_refresh(self, store, name, on_instance):
        append = getattr(store if on_instance else Store, name)
        assert await append(OLD, "event") == "event"
        assert Store.calls == [(OLD,)]

    async def test_a_method_that_calls_its_parents_append_is_retried_once(self, store):
        class Child(Store):
            async def append(self, session, event):
                return await super().append(session, event)

        child = Child()
        assert await child.append(OLD, "event") == (child, "event")
        assert Store.calls == [(child, OLD)]

    async def test_a_partial(self, retrying, refresh):
        async def append(prefix, session, event):
            reject(session)
            return prefix, event

        decorated = retrying(functools.partial(append, "prefix", event="event"))
        assert await decorated(OLD) == ("prefix", "event")
        assert refresh.calls == [(OLD,)]

    async def test_a_callable_object(self, retrying, refresh):
        assert await retrying(CallableStore())(OLD, "event") == "event"
        assert refresh.calls == [(OLD,)]

    async def test_a_bound_method_of_an_instance(self, retrying, refresh):
        assert await retrying(PlainStore().append)(OLD, "event") == "event"
        assert refresh.calls == [(OLD,)]

    async def test_a_bound_method_hands_its_instance_to_a_refresh_that_takes_it(self):
        calls = []

        def refresh(store, session):
            calls.append((store, session))
            return NEW

        store = PlainStore()
        retrying = retry_on_stale_session(refresh, **SOON)
        assert await retrying(store.append)(OLD, "event") == "event"
        assert await retrying.call(store.append, OLD, "event") == "event"
        assert calls == [(store, OLD), (store, OLD)]

    async def test_a_partial_hands_what_it_holds_to_a_refresh_that_takes_it(self):
        calls = []

        def refresh(store, session):
            calls.append((store, session))
            return NEW

        store = PlainStore()
        append = functools.partial(PlainStore.append, store)
        assert await retry_on_stale_session(refresh, **SOON).call(append, OLD, "event") == "event"
        assert calls == [(store, OLD)]

    async def test_a_wrapped_function_keeps_the_signature_it_shows(self, retrying, refresh):
        def traced(function):
            @functools.wraps(function)
            async def wrapper(*args, **kwargs):
                return await function(*args, **kwargs)

            return wrapper

        @retrying
        @traced
        async def append(store, session, event):
            reject(session)
            return event

        assert await append("store", event="event", session=OLD) == "event"
        assert refresh.calls == [("store", OLD)]


class TestWhereTheSessionSits:
    async def test_by_keyword(self, retrying, refresh):
        @retrying
        async def append(session, event):
            reject(session)
            return event

        assert await append(event="event", session=OLD) == "event"
        assert refresh.calls == [(OLD,)]

    async def test_leading_arguments_by_keyword_reach_refresh_in_their_order(self, retrying, refresh):
        @retrying
        async def append(app, user, session, event):
            reject(session)
            return event

        assert await append(event="event", session=OLD, user="user", app="app") == "event"
        assert refresh.calls == [("app", "user", OLD)]

    async def test_under_another_name(self, refresh):
        @retry_on_stale_session(refresh, session="handle", **SOON)
        async def append(store, handle, event):
            reject(handle)
            return event

        assert await append("store", OLD, "event") == "event"
        assert refresh.calls == [("store", OLD)]

    async def test_positional_only(self, retrying, refresh):
        @retrying
        async def append(store, session, /, event):
            reject(session)
            return event

        assert await append("store", OLD, event="event") == "event"
        assert refresh.calls == [("store", OLD)]

    async def test_keyword_only(self, retrying, refresh):
        @retrying
        async def append(store, *, event, session):
            reject(session)
            return event

        assert await append("store", session=OLD, event="event") == "event"
        assert refresh.calls == [("store", OLD)]

    async def test_as_a_default(self, retrying, refresh):
        @retrying
        async def append(store="store", session=OLD, *, event):
            reject(session)
            return store, event

        assert await append(event="event") == ("store", "event")
        assert refresh.calls == [("store", OLD)]

    async def test_with_var_positional_behind_it(self, retrying, refresh):
        @retrying
        async def append(store, session, *events):
            reject(session)
            return events

        assert await append("store", OLD, 1, 2, 3) == (1, 2, 3)
        assert refresh.calls == [("store", OLD)]

    async def test_with_var_positional_before_it(self, retrying, refresh):
        @retrying
        async def append(*events, session):
            reject(session)
            return events

        assert await append(1, 2, 3, session=OLD) == (1, 2, 3)
        assert refresh.calls == [(OLD,)]

    async def test_with_var_keyword_around_it(self, retrying, refresh):
        @retrying
        async def append(session, event, /, **headers):
            reject(session)
            return event, headers

        # `session` may even come twice: by position, and as a header of that name.
        assert await append(OLD, "event", session="header", trace=1) == ("event", {"session": "header", "trace": 1})
        assert refresh.calls == [(OLD,)]

    async def test_with_everything_around_it(self, retrying, refresh):
        @retrying
        async def append(store, /, session, event="event", *more, urgent=False, trace, **headers):
            reject(session)
            return store, event, more, urgent, trace, headers

        answer = await append("store", OLD, "event", "more", trace=7, urgent=True, header=1)
        assert answer == ("store", "event", ("more",), True, 7, {"header": 1})
        assert refresh.calls == [("store", OLD)]

    async def test_a_call_that_does_not_fit_is_a_type_error_and_no_reason_to_refresh(self, retrying, refresh):
        @retrying
        async def append(session, event):
            raise AssertionError("never runs")

        with pytest.raises(
            TypeError, match=r"missing a required argument: 'event'|missing 1 required positional argument: 'event'"
        ):
            await append(OLD)
        assert refresh.calls == []


class TestCall:
    """`retrying.call(append, ...)`, for runners that are handed a function."""

    async def test_each_kind_of_append(self, retrying, refresh):
        async def append(session, event):
            reject(session)
            return event

        for kind in (append, PlainStore().append, CallableStore(), functools.partial(append, event="event")):
            arguments = (OLD,) if isinstance(kind, functools.partial) else (OLD, "event")
            assert await retrying.call(kind, *arguments) == "event"
        assert refresh.calls == [(OLD,)] * 4

    async def test_names_of_its_own_parameters_are_free_for_the_append(self, retrying):
        async def record(session, *, append, self):
            reject(session)
            return append, self

        assert await retrying.call(record, OLD, append=1, self=2) == (1, 2)

    async def test_a_method_and_its_function_are_told_apart(self):
        calls = []
        retrying = retry_on_stale_session(lambda *leading: calls.append(leading) or NEW, **SOON)
        store = PlainStore()
        for _ in range(2):
            assert await retrying.call(store.append, OLD, "event") == "event"
            assert await retrying.call(PlainStore.append, store, OLD, "event") == "event"
        assert calls == [(OLD,), (store, OLD)] * 2

    async def test_a_decorated_method_and_its_function_are_told_apart(self):
        class Inner:
            @retry_on_stale_session(lambda self, session: session, on=KeyError, **SOON)
            async def append(self, session, event):
                reject(session)
                return event

        calls = []
        retrying = retry_on_stale_session(lambda *leading: calls.append(leading) or NEW, **SOON)
        inner = Inner()
        assert await retrying.call(inner.append, OLD, "event") == "event"
        assert await retrying.call(inner.append.__func__, inner, OLD, "event") == "event"
        assert calls == [(OLD,), (inner, OLD)]

    async def test_an_append_that_cannot_be_remembered_is_inspected_anew(self, retrying, refresh):
        class Unhashable(CallableStore):
            __hash__ = None

        class Slotted:
            __slots__ = ()
            __call__ = CallableStore.__call__

        assert await retrying.call(Unhashable(), OLD, "event") == "event"
        assert await retrying.call(Slotted(), OLD, "event") == "event"

    async def test_what_is_no_append_is_refused(self, retrying):
        with pytest.raises(TypeError, match="must be a coroutine function"):
            await retrying.call(print, OLD)

    async def test_functions_that_are_gone_are_not_remembered(self, retrying):
        async def once():
            async def append(session, event):
                reject(session)

            await retrying.call(append, OLD, "event")

        await once()
        await anyio.lowlevel.checkpoint()  # trio keeps the frames around a sleep until it next switches tasks
        assert len(retrying._shapes) == 0


def test_one_policy_may_serve_any_number_of_appends():
    retrying = StaleSessionRetrying(lambda session: NEW, **SOON)

    @retrying
    async def first(session, event):
        reject(session)
        return 1

    @retrying
    async def second(session, event):
        reject(session)
        return 2

    async def main():
        return await asyncio.gather(first(OLD, "event"), second(OLD, "event"), retrying.call(first, OLD, "event"))

    assert asyncio.run(main()) == [1, 2, 1]
