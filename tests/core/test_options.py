"""Every option is checked once, at decoration; a wrong one is refused with its name and its rule."""

import functools
import math
from datetime import timedelta
from unittest import mock

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tenacity import retry_if_exception_type, stop_after_attempt, stop_never, wait_fixed, wait_none

from stale_retry import (
    StaleSessionError,
    StaleSessionRetrying,
    additive_jitter,
    constant,
    exponential,
    linear,
    proportional_jitter,
    retry_if_stale_session,
    retry_on_stale_session,
)


def refresh(session):
    return session


async def async_function(*_):
    raise AssertionError("never called")


def refused(error, *words, **options):
    with pytest.raises(error) as caught:
        retry_on_stale_session(**{"refresh": refresh, **options})
    for word in words:
        assert word in str(caught.value)


class TestRefresh:
    def test_is_required(self):
        with pytest.raises(TypeError, match="refresh"):
            retry_on_stale_session()

    def test_is_the_only_option_by_position(self):
        with pytest.raises(TypeError, match="takes its options by name"):
            retry_on_stale_session(refresh, "session")

    @pytest.mark.parametrize("value", [None, "refresh", 1])
    def test_must_be_callable(self, value):
        refused(TypeError, "refresh must be a function that reloads the session", repr(value), refresh=value)

    def test_must_take_the_leading_arguments(self):
        retrying = retry_on_stale_session(lambda: None)
        with pytest.raises(TypeError) as caught:

            @retrying
            async def append(store, session, event): ...

        assert "refresh must take the leading arguments" in str(caught.value)
        assert "refresh(store, session)" in str(caught.value)
        assert "<lambda>() cannot" in str(caught.value)

    def test_must_not_need_more_than_the_leading_arguments(self):
        def reload(session, event): ...

        with pytest.raises(TypeError, match=r"reload\(session, event\) also needs 'event'; if it is the append, give"):
            retry_on_stale_session(reload)

    def test_must_not_need_keywords(self):
        def reload(session, *, replica): ...

        with pytest.raises(TypeError, match="also needs 'replica'"):
            retry_on_stale_session(reload)

    def test_must_take_the_instance_of_a_decorated_method(self):
        with pytest.raises(TypeError, match=r"refresh\(self, session\)"):

            class Store:
                @retry_on_stale_session(refresh)
                async def append(self, session, event): ...


class TestSession:
    def test_must_be_a_string(self):
        refused(TypeError, "session must be a string, got 1", session=1)

    def test_must_not_be_empty(self):
        refused(ValueError, "session must not be empty", session="")

    def test_must_name_a_parameter(self):
        with pytest.raises(
            ValueError,
            match=r"session must name a parameter of the append.* has no 'session'; give session='handle', or",
        ):

            @retry_on_stale_session(refresh)
            async def append(handle, event): ...

    def test_a_name_that_is_close_is_suggested(self):
        with pytest.raises(ValueError, match=r"has no 'sesion'; did you mean 'session'\?"):

            @retry_on_stale_session(refresh, session="sesion")
            async def append(session, event): ...

    @pytest.mark.parametrize("variadic", ["args", "kwargs"])
    def test_must_not_name_a_variadic_parameter(self, variadic):
        with pytest.raises(ValueError, match=f"has no '{variadic}'"):

            @retry_on_stale_session(refresh, session=variadic)
            async def append(*args, **kwargs): ...


class TestTheAppend:
    def refused(self, append):
        with pytest.raises(TypeError, match=r"an append must be a coroutine function \(async def"):
            retry_on_stale_session(refresh)(append)

    def test_must_not_be_a_plain_function(self):
        self.refused(lambda session: None)

    def test_must_not_be_a_generator(self):
        def append(session):
            yield

        self.refused(append)

    def test_must_not_be_an_async_generator(self):
        async def append(session):
            yield

        self.refused(append)

    def test_must_not_be_a_plain_object(self):
        with pytest.raises(TypeError, match="was used as a bare decorator"):
            retry_on_stale_session(refresh)(object())

    def test_must_not_be_a_class(self):
        class Append:
            def __init__(self, session): ...

        self.refused(Append)

    def test_must_not_be_a_mock_that_is_not_async(self):
        # A mock has every attribute, so to look for those of a partial would never end.
        self.refused(mock.MagicMock())

    @pytest.mark.anyio
    async def test_may_be_a_mock_that_is_async(self):
        class Store:
            async def append(self, session, event): ...

        store = mock.create_autospec(Store, instance=True)
        store.append.side_effect = [StaleSessionError, "stored"]
        retrying = retry_on_stale_session(refresh, backoff=constant(0))
        assert await retrying.call(store.append, "session", "event") == "stored"


class TestMaxAttempts:
    @pytest.mark.parametrize("value", [0, -1])
    def test_must_be_at_least_one(self, value):
        refused(ValueError, "max_attempts must be at least 1", f"got {value}", max_attempts=value)

    @pytest.mark.parametrize("value", [1.0, "3", True, math.nan])
    def test_must_be_a_whole_number(self, value):
        refused(TypeError, "max_attempts must be a whole number or None", f"got {value!r}", max_attempts=value)


@pytest.mark.parametrize("option", ["deadline", "attempt_timeout"])
class TestSeconds:
    @pytest.mark.parametrize("value", [0, 0.0, -1, math.nan, -math.inf, timedelta(0), timedelta(seconds=-1)])
    def test_must_be_above_zero(self, option, value):
        refused(ValueError, f"{option} must be above zero, or None for no limit", **{option: value})

    @pytest.mark.parametrize("value", ["90", True, 1j, [1]])
    def test_must_be_a_number_or_a_timedelta(self, option, value):
        refused(TypeError, f"{option} must be seconds, a timedelta or None, got {value!r}", **{option: value})

    @given(seconds=st.floats(1e-6, 1e9))
    def test_a_timedelta_is_so_many_seconds(self, option, seconds):
        delta = timedelta(seconds=seconds)
        assert getattr(retry_on_stale_session(refresh, **{option: delta}), option) == delta.total_seconds()

    def test_infinity_is_no_limit(self, option):
        policy = retry_on_stale_session(refresh, max_attempts=2, **{option: math.inf})
        assert getattr(policy, option) is None


class TestBothLimitsOff:
    @pytest.mark.parametrize("deadline", [None, math.inf])
    def test_would_retry_for_ever(self, deadline):
        refused(
            ValueError,
            "max_attempts",
            "deadline",
            "stop",
            "max_attempts, deadline and stop are all None",
            deadline=deadline,
        )

    @pytest.mark.parametrize("limit", [{"max_attempts": 2}, {"stop": stop_after_attempt(9)}, {"stop": stop_never}])
    def test_any_other_limit_will_do(self, limit):
        assert retry_on_stale_session(refresh, deadline=None, **limit).deadline is None


class TestBackoff:
    @pytest.mark.parametrize("value", [None, 1.0, "linear", [1, 2], wait_fixed, lambda: 1])
    def test_must_be_a_wait_strategy(self, value):
        refused(TypeError, "backoff must be a tenacity wait strategy", "function of the retry state", backoff=value)

    @pytest.mark.parametrize("value", [linear, exponential, constant])
    def test_must_not_be_the_maker_of_one(self, value):
        refused(TypeError, "backoff must be a tenacity wait strategy", f"{value.__name__} itself", backoff=value)

    @pytest.mark.parametrize("value", [wait_none(), linear(1), lambda state: 1])
    def test_may_be_a_strategy_or_a_function(self, value):
        assert retry_on_stale_session(refresh, backoff=value).backoff is value

    @pytest.mark.parametrize(
        ("maker", "name"),
        [
            (linear, "step"),
            (lambda value: linear(1, max=value), "max"),
            (exponential, "initial"),
            (lambda value: exponential(1, max=value), "max"),
            (lambda value: exponential(1, factor=value), "factor"),
            (constant, "delay"),
            (additive_jitter, "spread"),
            (proportional_jitter, "fraction"),
        ],
    )
    class TestNumbers:
        @pytest.mark.parametrize("value", [-1, -0.001, math.nan, math.inf, -math.inf])
        def test_must_be_finite_and_not_negative(self, maker, name, value):
            with pytest.raises(ValueError, match=f"^{name} must be finite and not negative, got {value!r}"):
                maker(value)

        @pytest.mark.parametrize("value", ["1", True, 1j, timedelta(seconds=1)])
        def test_must_be_numbers_and_no_timedelta(self, maker, name, value):
            with pytest.raises(TypeError, match=f"^{name} must be a number"):
                maker(value)

    def test_a_factor_below_one_is_refused(self):
        with pytest.raises(ValueError, match=r"factor must be at least 1, got 0\.5"):
            exponential(1, factor=0.5)

    def test_a_fraction_above_one_is_refused(self):
        with pytest.raises(ValueError, match=r"fraction must be within \[0, 1\], got 1\.5"):
            proportional_jitter(1.5)


class TestStop:
    @pytest.mark.parametrize("value", [3, "stop", stop_after_attempt, lambda: True])
    def test_must_be_a_stop_strategy(self, value):
        refused(TypeError, "stop must be a tenacity stop strategy", "function of the retry state", stop=value)


class TestOn:
    @pytest.mark.parametrize(
        "value", [None, "stale", 1, int, (), (ValueError, int), (ValueError, "x"), retry_if_stale_session, lambda: 1]
    )
    def test_must_be_types_a_predicate_or_a_strategy(self, value):
        refused(TypeError, "on must be exception types, a function of the error", "retry strategy", on=value)

    @pytest.mark.parametrize("value", [ValueError, (ValueError, KeyError)])
    def test_types_become_a_strategy(self, value):
        assert isinstance(retry_on_stale_session(refresh, on=value).on, retry_if_exception_type)

    def test_a_strategy_is_taken_as_it_is(self):
        strategy = retry_if_stale_session()
        assert retry_on_stale_session(refresh, on=strategy).on is strategy

    def test_a_mock_is_a_predicate(self):
        assert retry_on_stale_session(refresh, on=mock.MagicMock()).on is not None


class TestHooks:
    @pytest.mark.parametrize("option", ["jitter"])
    @pytest.mark.parametrize("value", [1, "x", object()])
    def test_must_be_functions_or_none(self, option, value):
        refused(TypeError, f"{option} must be a function of the", "or None", f"got {value!r}", **{option: value})

    @pytest.mark.parametrize("option", ["on_conflict", "observers"])
    @pytest.mark.parametrize("value", [1, "x", object(), [1], [print, "x"]])
    def test_must_be_a_function_or_several(self, option, value):
        refused(TypeError, f"{option} must be a function of the", **{option: value})

    @pytest.mark.parametrize("option", ["jitter", "key", "observers"])
    @pytest.mark.parametrize("value", [async_function, functools.partial(async_function, 1), mock.AsyncMock()])
    def test_nobody_awaits_these_so_they_must_not_be_async(self, option, value):
        refused(TypeError, f"{option} must be a function", "must not be async", **{option: value})

    def test_not_one_of_several_observers_may_be_async(self):
        refused(TypeError, "observers", "must not be async", observers=[print, async_function])

    @pytest.mark.parametrize("option", ["on_conflict", "observers"])
    def test_one_several_or_none_come_as_a_tuple(self, option):
        for value, expected in [
            (print, (print,)),
            ([print, len], (print, len)),
            (iter([len]), (len,)),
            ((), ()),
        ]:
            assert getattr(retry_on_stale_session(refresh, **{option: value}), option) == expected

    def test_conflict_hooks_may_be_async(self):
        assert retry_on_stale_session(refresh, on_conflict=async_function).on_conflict == (async_function,)


class TestReraiseAndName:
    @pytest.mark.parametrize("value", [None, 1, "yes"])
    def test_reraise_must_be_a_flag(self, value):
        refused(TypeError, "reraise must be True or False", repr(value), reraise=value)

    def test_name_must_be_a_string(self):
        refused(TypeError, "name must be a string, got 1", name=1)

    def test_name_must_not_be_empty(self):
        refused(ValueError, "name must not be empty", name="")


class TestUnknownOptions:
    def test_one_that_is_close_is_suggested(self):
        refused(TypeError, "unknown option 'max_attempt'; did you mean 'max_attempts'?", max_attempt=3)

    def test_otherwise_all_are_listed(self):
        refused(TypeError, "unknown option 'zzz'; there are ", "session", "on_conflict", "refresh", zzz=3)


class TestReplace:
    def test_changes_what_it_is_told_and_nothing_else(self):
        policy = retry_on_stale_session(refresh, name="append", deadline=timedelta(seconds=5), on=KeyError)
        changed = policy.replace(max_attempts=3)
        assert isinstance(changed, StaleSessionRetrying)
        assert policy.max_attempts is None
        assert changed.max_attempts == 3
        for option in ("refresh", "session", "on", "backoff", "jitter", "deadline", "key", "observers", "name"):
            assert getattr(changed, option) == getattr(policy, option)

    def test_keeps_that_nobody_observes(self):
        assert retry_on_stale_session(refresh, observers=()).replace(name="x").observers == ()

    def test_refuses_what_a_new_policy_refuses(self):
        policy = retry_on_stale_session(refresh)
        with pytest.raises(ValueError, match="max_attempts, deadline and stop are all None"):
            policy.replace(deadline=None)
        with pytest.raises(TypeError, match="did you mean 'deadline'"):
            policy.replace(deadlin=3)

    def test_the_policy_shows_its_options(self):
        shown = repr(retry_on_stale_session(refresh, deadline=7, name="append"))
        assert shown.startswith("StaleSessionRetrying(")
        assert "deadline=7.0" in shown
        assert "name='append'" in shown
