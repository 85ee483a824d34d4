"""Rejected once, then stored: for every kind of append, every place of the session and every kind of refresh hook."""

import asyncio
import copy
import functools
import inspect
import pickle

import anyio
import pytest

from stale_retry import StaleSessionError, StaleSessionRetrying, retry_on_stale_session, retry_with

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


class TestKindsOfRefresh:
    class Bound:
        def __init__(self):
            self.calls = []

        async def reload(self, session):
            self.calls.append(session)
            return NEW

        async def __call__(self, session):
            return await self.reload(session)

    async def stored_with(self, refresh):
        @retry_on_stale_session(refresh, **SOON)
        async def append(session, event):
            reject(session)
            return event

        return await append(OLD, "event")

    async def test_async(self):
        calls = []

        async def refresh(session):
            await anyio.lowlevel.checkpoint()
            calls.append(session)
            return NEW

        assert await self.stored_with(refresh) == "event"
        assert calls == [OLD]

    async def test_plain(self):
        calls = []

        def refresh(session):
            calls.append(session)
            return NEW

        assert await self.stored_with(refresh) == "event"
        assert calls == [OLD]

    async def test_lambda(self):
        assert await self.stored_with(lambda session: NEW if session is OLD else None) == "event"

    async def test_lambda_that_returns_an_awaitable(self):
        reloader = self.Bound()
        assert await self.stored_with(lambda session: reloader.reload(session)) == "event"
        assert reloader.calls == [OLD]

    async def test_bound(self):
        reloader = self.Bound()
        assert await self.stored_with(reloader.reload) == "event"
        assert reloader.calls == [OLD]

    async def test_callable_object(self):
        reloader = self.Bound()
        assert await self.stored_with(reloader) == "event"
        assert reloader.calls == [OLD]

    async def test_partial(self):
        calls = []

        async def refresh(store, session):
            calls.append((store, session))
            return NEW

        assert await self.stored_with(functools.partial(refresh, "store")) == "event"
        assert calls == [("store", OLD)]

    async def test_one_whose_signature_cannot_be_read_is_trusted(self):
        class Opaque:
            __signature__ = "none"

            def __call__(self, session):
                return NEW

        assert await self.stored_with(Opaque()) == "event"

    async def test_the_same_session_updated_in_place(self):
        session = Session(1)

        def refresh(session):
            session.version = 2
            return session

        @retry_on_stale_session(refresh, **SOON)
        async def append(session, event):
            if session.version == 1:
                raise StaleSessionError
            return session

        assert await append(session, "event") is session

    async def test_a_falsy_session_is_a_session(self):
        seen = []

        @retry_on_stale_session(lambda session: 0, **SOON)
        async def append(session, event):
            seen.append(session)
            if session:
                raise StaleSessionError
            return "stored"

        assert await append(1, "event") == "stored"
        assert seen == [1, 0]

    async def test_each_refresh_is_given_the_session_of_the_attempt_before_it(self):
        sessions = []

        def refresh(session):
            sessions.append(session)
            return session + 1

        @retry_on_stale_session(refresh, **SOON)
        async def append(session, event):
            if session < 4:
                raise StaleSessionError
            return session

        assert await append(1, "event") == 4
        assert sessions == [1, 2, 3]


class TestWhatTheDecoratedAppendIs:
    def test_it_keeps_name_docstring_signature_and_kind(self):
        assert Store.append.__name__ == "append"
        assert Store.append.__qualname__ == "Store.append"
        assert Store.append.__doc__ == "Store one event."
        assert list(inspect.signature(Store.append).parameters) == ["self", "session", "event"]
        assert inspect.iscoroutinefunction(Store.append)

    def test_bound_it_keeps_them_too(self, store):
        assert store.append.__name__ == "append"
        assert store.append.__qualname__ == "Store.append"
        assert store.append.__doc__ == "Store one event."
        assert store.append.__self__ is store
        assert list(inspect.signature(store.append).parameters) == ["session", "event"]
        assert inspect.iscoroutinefunction(store.append)

    def test_bound_it_equals_itself_and_nothing_else(self, store):
        assert store.append == store.append
        assert hash(store.append) == hash(store.append)
        assert store.append != Store().append
        assert store.append != "append"
        assert store.append.__func__ is Store().append.__func__

    def test_bound_it_has_no_attributes_of_its_own(self, store):
        with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
            _ = store.append.nonsense

    def test_bound_it_can_be_pickled_and_copied_with_its_instance(self, store):
        assert type(pickle.loads(pickle.dumps(store.append)).__self__) is Store
        assert copy.copy(store.append) == store.append

    def test_a_callable_object_is_named_after_its_class(self, retrying):
        assert retrying(CallableStore()).__qualname__ == "CallableStore"

    def test_a_partial_is_named_after_its_function(self, retrying):
        assert retrying(functools.partial(PlainStore.append, None)).__qualname__ == "PlainStore.append"

    def test_a_staticmethod_and_a_classmethod_stay_what_they_are(self):
        assert isinstance(vars(Store)["append_statically"], staticmethod)
        assert isinstance(vars(Store)["append_to_class"], classmethod)

    async def test_it_runs_in_asyncio_gather_and_in_task_groups(self, store):
        done = []

        async def writer(event):
            done.append(await store.append(OLD, event))

        async with anyio.create_task_group() as tasks:
            for event in range(5):
                tasks.start_soon(writer, event)
        assert sorted(event for _, event in done) == list(range(5))


class TestRetryWith:
    async def test_a_function_under_a_changed_policy_leaves_the_original_alone(self, retrying, refresh):
        @retrying
        async def append(session, event):
            reject(session)
            return "stored"

        once = retry_with(append, max_attempts=1)
        assert append.retrying is retrying
        assert once.retrying.max_attempts == 1
        assert once.retrying.refresh is refresh
        with pytest.raises(StaleSessionError):
            await once(OLD, "event")
        assert await append(OLD, "event") == "stored"

    async def test_the_typed_form_keeps_a_bound_method_bound(self, store):
        once = retry_with(store.append, max_attempts=1)
        assert once.__self__ is store
        with pytest.raises(StaleSessionError):
            await once(OLD, "event")
        assert await retry_with(Store.append, name="other")(store, OLD, "event") == (store, "event")
        assert await retry_with(Store.append_to_class, max_attempts=2)(OLD, "event") == (Store, "event")

    def test_the_typed_form_refuses_what_is_not_decorated(self):
        with pytest.raises(TypeError, match=r"PlainStore\.append is not decorated"):
            retry_with(PlainStore().append, deadline=5)

    async def test_on_the_class_it_stays_unbound(self, store):
        assert await retry_with(Store.append, name="other")(store, OLD, "event") == (store, "event")

    async def test_on_a_staticmethod(self, store):
        assert await retry_with(store.append_statically, max_attempts=2)(OLD, "event") == "event"

    def test_an_unknown_option_is_refused(self, store):
        with pytest.raises(TypeError, match="unknown option 'max_attempt'; did you mean 'max_attempts'"):
            retry_with(store.append, max_attempt=2)


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
