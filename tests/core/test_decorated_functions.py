"""What is decorated stays the function, method, classmethod or staticmethod that it was."""

import copy
import functools
import inspect
import pickle
import typing
from abc import ABC, abstractmethod
from unittest.mock import AsyncMock, create_autospec, patch

import pytest
import tenacity

from stale_retry import StaleSessionError, retry_on_stale_session, retry_with

from .ways import SOON

pytestmark = pytest.mark.anyio


def reload(session):
    return session


def reload_of_method(self, session):
    return session


def marked(function):
    function.mark = "below"
    return function


@retry_on_stale_session(reload, **SOON)
@marked
async def append(session: str, event: int, *, author: str = "nobody") -> bool:
    """Store one event."""
    return True


class Store:
    @retry_on_stale_session(reload_of_method, **SOON)
    @marked
    async def append(self, session: str, event: int) -> bool:
        """Store one event."""
        return True

    @retry_on_stale_session(reload, **SOON)
    @staticmethod
    async def static(session: str, event: int) -> bool:
        return True

    @classmethod
    @retry_on_stale_session(reload_of_method, **SOON)
    async def of_class(cls, session: str, event: int) -> bool:
        return True

    @retry_on_stale_session(reload_of_method, **SOON)
    @classmethod
    async def of_class_below(cls, session: str, event: int) -> bool:
        return True


class TestAFunction:
    def test_is_a_plain_coroutine_function_with_everything_it_had(self):
        assert inspect.isfunction(append)
        assert inspect.iscoroutinefunction(append)
        assert (append.__name__, append.__qualname__, append.__module__) == ("append", "append", __name__)
        assert append.__doc__ == "Store one event."
        assert append.mark == "below"
        assert str(inspect.signature(append)) == "(session: str, event: int, *, author: str = 'nobody') -> bool"
        assert typing.get_type_hints(append) == {"session": str, "event": int, "author": str, "return": bool}
        assert "Store one event." in inspect.getsource(append)
        assert inspect.unwrap(append) is append.__wrapped__

    def test_is_pickled_and_copied_by_reference(self):
        assert pickle.loads(pickle.dumps(append)) is append
        assert pickle.loads(pickle.dumps(Store.append)) is Store.append
        assert copy.deepcopy(append) is append

    async def test_decorators_above_see_a_function(self):
        @functools.wraps(append)
        async def above(*args, **kwargs):
            return await append(*args, **kwargs)

        assert above.mark == "below"
        assert above.retrying is append.retrying
        assert await above("session", 1) is True

    async def test_tenacitys_own_decorator_may_stand_below(self):
        calls = []

        @retry_on_stale_session(reload, **SOON)
        @tenacity.retry(retry=tenacity.retry_if_exception_type(OSError), wait=tenacity.wait_none())
        async def flaky(session, event):
            calls.append(session)
            if len(calls) == 1:
                raise OSError
            if len(calls) == 2:
                raise StaleSessionError
            return "stored"

        assert await flaky("session", 1) == "stored"
        assert flaky.retry is flaky.__wrapped__.retry
        assert flaky.__wrapped__.statistics["attempt_number"] == 1


class TestAMethod:
    def test_bound_is_a_bound_method_and_shows_what_one_shows(self):
        bound = Store().append
        assert inspect.ismethod(bound)
        assert inspect.iscoroutinefunction(bound)
        assert (bound.__name__, bound.__qualname__, bound.__doc__) == ("append", "Store.append", "Store one event.")
        assert bound.__func__ is Store.__dict__["append"]
        assert bound.mark == "below"
        assert str(inspect.signature(bound)) == "(session: str, event: int) -> bool"
        assert typing.get_type_hints(bound) == {"session": str, "event": int, "return": bool}

    def test_bound_equals_itself_and_nothing_else_and_has_nothing_of_its_own(self):
        store = Store()
        assert store.append == store.append
        assert hash(store.append) == hash(store.append)
        assert store.append != Store().append
        assert store.append.__self__ is store
        with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
            _ = store.append.nonsense

    def test_bound_can_be_pickled_and_copied_with_its_instance(self):
        store = Store()
        assert type(pickle.loads(pickle.dumps(store.append)).__self__) is Store
        assert copy.copy(store.append) == store.append

    def test_in_a_class_is_a_function_staticmethod_or_classmethod(self):
        assert inspect.isfunction(vars(Store)["append"])
        assert isinstance(vars(Store)["static"], staticmethod)
        assert isinstance(vars(Store)["of_class"], classmethod)
        assert isinstance(vars(Store)["of_class_below"], classmethod)

    async def test_assigned_to_a_class_later_binds_like_any_function(self):
        class Other:
            async def append(self, session, event):
                return self

        Other.append = retry_on_stale_session(reload_of_method, **SOON)(Other.append)
        Other.bound = Store().append
        other = Other()
        assert await other.append("session", 1) is other
        assert await retry_with(other.append, deadline=5)("session", 1) is other
        assert await other.bound("session", 1) is True

    @pytest.mark.parametrize("name", ["of_class", "of_class_below"])
    async def test_of_a_class_can_be_changed_on_class_and_instance_alike(self, name):
        for owner in (Store, Store()):
            changed = retry_with(getattr(owner, name), deadline=5)
            assert changed.retrying.deadline == 5
            assert await changed("session", 1) is True

    async def test_abstract_is_abstract_whichever_decorator_is_above(self):
        class Above(ABC):
            @abstractmethod
            @retry_on_stale_session(reload_of_method, **SOON)
            async def append(self, session, event): ...

        class Below(ABC):
            @retry_on_stale_session(reload_of_method, **SOON)
            @abstractmethod
            async def append(self, session, event): ...

        for kind in (Above, Below):
            with pytest.raises(TypeError, match="abstract"):
                kind()

    async def test_may_override_a_decorated_one_and_call_it(self):
        class Child(Store):
            @retry_on_stale_session(reload_of_method, **SOON)
            async def append(self, session, event):
                return await super().append(session, event)

        assert await Child().append("session", 1) is True


class TestMocks:
    async def test_an_autospec_of_a_class_awaits_and_checks_its_arguments(self):
        mock = create_autospec(Store)
        instance = mock.return_value
        for one in (instance.append, instance.static, instance.of_class, instance.of_class_below):
            one.return_value = "mocked"
            assert await one("session", 1) == "mocked"
            one.assert_awaited_once_with("session", 1)
            with pytest.raises(TypeError):
                await one("session", nonsense=1)

    async def test_an_autospec_of_an_instance_and_of_a_function_do_too(self):
        mock = create_autospec(Store(), instance=True)
        assert isinstance(mock.append, AsyncMock) or inspect.iscoroutinefunction(mock.append)
        await mock.append("session", 1)
        function = create_autospec(append)
        await function("session", 1, author="me")
        with pytest.raises(TypeError):
            await function("session")

    async def test_patching_with_an_autospec(self):
        with patch.object(Store, "append", autospec=True) as mock:
            mock.return_value = "mocked"
            store = Store()
            assert await store.append("session", 1) == "mocked"
            mock.assert_awaited_once_with(store, "session", 1)
            with pytest.raises(TypeError):
                await store.append("session")
        assert await Store().append("session", 1) is True


class TestOtherCallables:
    class Appender:
        async def __call__(self, session: str, event: int) -> bool:
            """Store one event."""
            return True

    async def test_a_partial_and_an_object_become_functions_with_their_signature(self):
        policy = retry_on_stale_session(reload, **SOON)
        part = policy(functools.partial(append, author="me"))
        whole = policy(self.Appender())
        assert inspect.isfunction(part)
        assert inspect.isfunction(whole)
        assert str(inspect.signature(part)) == "(session: str, event: int, *, author: str = 'me') -> bool"
        assert str(inspect.signature(whole)) == "(session: str, event: int) -> bool"
        assert [await part("session", 1), await whole("session", 1)] == [True, True]
        assert (part.__qualname__, whole.__qualname__) == ("append", "TestOtherCallables.Appender")


def test_a_policy_of_functions_can_be_pickled_and_copied():
    policy = retry_on_stale_session(reload, deadline=5, on=(StaleSessionError, OSError), session="chat")
    for twin in (pickle.loads(pickle.dumps(policy)), copy.copy(policy), copy.deepcopy(policy)):
        assert (twin.refresh, twin.deadline, twin.session) == (reload, 5, "chat")
        assert twin.on.exception_types == (StaleSessionError, OSError)


class TestRetryWith:
    """The one way to change the policy of a decorated append."""

    async def test_makes_a_changed_append_and_leaves_the_original_alone(self):
        rejected = []

        @retry_on_stale_session(reload, **SOON)
        async def append(session, event):
            rejected.append(session)
            if len(rejected) % 2:
                raise StaleSessionError
            return "stored"

        once = retry_with(append, max_attempts=1)
        assert append.retrying.max_attempts is None
        assert (once.retrying.max_attempts, once.retrying.refresh) == (1, reload)
        with pytest.raises(StaleSessionError):
            await once("session", 1)
        rejected.clear()
        assert await append("session", 1) == "stored"

    async def test_keeps_a_bound_method_bound_and_an_unbound_one_unbound(self):
        store = Store()
        assert retry_with(store.append, max_attempts=1).__self__ is store
        assert await retry_with(store.append, max_attempts=1)("session", 1) is True
        assert await retry_with(Store.append, name="other")(store, "session", 1) is True
        assert await retry_with(store.static, max_attempts=2)("session", 1) is True

    async def test_may_change_a_changed_one_again(self):
        twice = retry_with(retry_with(append, deadline=5), max_attempts=2)
        assert (twice.retrying.deadline, twice.retrying.max_attempts) == (5, 2)

    def test_there_is_no_attribute_for_it(self):
        assert not hasattr(append, "retry_with")
        assert not hasattr(Store().append, "retry_with")

    def test_refuses_what_is_not_decorated_and_what_a_new_policy_refuses(self):
        with pytest.raises(TypeError, match=r"Appender\.__call__ is not decorated"):
            retry_with(TestOtherCallables.Appender().__call__, deadline=5)
        with pytest.raises(TypeError, match="unknown option 'max_attempt'; did you mean 'max_attempts'"):
            retry_with(append, max_attempt=2)
