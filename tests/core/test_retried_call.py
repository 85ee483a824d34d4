"""The retried call is the caller's call: nothing but the session, and what a hook changed, is ever replaced."""

import functools
import itertools

import anyio
import pytest
import tenacity

from stale_retry import StaleSessionError, retry_on_stale_session

from .ways import SOON

pytestmark = pytest.mark.anyio

retrying = retry_on_stale_session(lambda session: "fresh", **SOON)


def recording(append):
    """A wrapper as tracing has it: it sees the call as it is made, and fails the first one."""
    calls = []

    @functools.wraps(append)
    async def traced(*args, **kwargs):
        await anyio.lowlevel.checkpoint()
        calls.append((args, kwargs))
        if len(calls) == 1:
            raise StaleSessionError
        return await append(*args, **kwargs)

    traced.calls = calls
    return traced


class TestEveryShapeIsRepeatedAsItCame:
    @pytest.mark.parametrize("keywords", list(itertools.product([False, True], repeat=3)))
    async def test_by_position_and_by_keyword(self, keywords):
        async def append(session, event, author=None):
            return session, event, author

        given = {"session": "stale", "event": "e", "author": "a"}
        split = keywords.index(True) if True in keywords else 3
        args, kwargs = list(given.values())[:split], dict(list(given.items())[split:])
        traced = recording(append)
        assert await retrying(traced)(*args, **kwargs) == ("fresh", "e", "a")
        replaced = [["fresh", *args[1:]], kwargs] if split else [args, {**kwargs, "session": "fresh"}]
        assert traced.calls == [(tuple(args), kwargs), (tuple(replaced[0]), replaced[1])]

    async def test_defaults_stay_unsaid(self):
        async def append(session, event, *, author="nobody", **more):
            return session

        traced = recording(append)
        await retrying(traced)("stale", event="e")
        assert traced.calls == [(("stale",), {"event": "e"}), (("fresh",), {"event": "e"})]

    async def test_a_session_that_was_left_to_its_default_is_said_the_second_time_only(self):
        async def append(store, session="stale", *, event):
            return session

        refresh = retry_on_stale_session(lambda store, session: "fresh", **SOON)
        traced = recording(append)
        assert await refresh(traced)("s", event="e") == "fresh"
        assert traced.calls == [(("s",), {"event": "e"}), (("s",), {"event": "e", "session": "fresh"})]

    async def test_a_wrapper_that_takes_less_than_it_shows_serves_every_attempt(self):
        calls = []

        async def append(session, event, author="nobody"):
            return session, event

        @functools.wraps(append)
        async def narrow(session, event):
            calls.append(session)
            if session == "stale":
                raise StaleSessionError
            return await append(session, event)

        assert await retrying(narrow)("stale", "e") == ("fresh", "e")
        assert calls == ["stale", "fresh"]

    async def test_a_wrapper_that_reads_the_session_by_keyword_serves_every_attempt(self):
        async def append(self, *, session, event):
            return session

        @functools.wraps(append)
        async def tracing(*args, **kwargs):
            if kwargs["session"] == "stale":
                raise StaleSessionError
            return await append(*args, **kwargs)

        policy = retry_on_stale_session(lambda self, session: "fresh", **SOON)
        assert await policy(tracing)("service", session="stale", event="e") == "fresh"

    async def test_what_a_conflict_hook_changes_is_changed_where_the_caller_put_it(self):
        async def append(session, event, /, *rest, author, **more):
            return session

        def rebase(conflict):
            conflict.arguments["event"] = "rebased"
            conflict.arguments["author"] = "hook"
            conflict.arguments["more"]["extra"] = 2

        traced = recording(append)
        await retrying.replace(on_conflict=rebase)(traced)("stale", "e", author="a", extra=1)
        assert traced.calls[1] == (("fresh", "rebased"), {"author": "hook", "extra": 2})

    async def test_a_hook_may_change_what_was_left_to_its_default(self):
        async def append(session, event, author="nobody", /):
            return author

        def rebase(conflict):
            conflict.arguments["author"] = "hook"

        assert await retrying.replace(on_conflict=rebase)(recording(append))("stale", "e") == "hook"

    async def test_a_hook_may_change_the_session_of_a_coming_call_and_its_variadic_arguments(self):
        async def append(session, event, *rest):
            return session, rest

        def rebase(conflict):
            conflict.arguments["session"] = "rebased"
            conflict.arguments["rest"] = (1, 2)

        assert await retrying.replace(on_conflict=rebase)(recording(append))("stale", "e", 0) == ("rebased", (1, 2))

    async def test_an_argument_that_a_hook_invents_is_refused(self):
        def rebase(conflict):
            conflict.arguments["autor"] = "hook"

        async def append(session, event):
            raise StaleSessionError

        with pytest.raises(TypeError, match=r"conflict.arguments has no 'autor'; there are session, event"):
            await retrying.replace(on_conflict=rebase).call(append, "stale", "e")


class TestAWrongCall:
    @pytest.mark.parametrize("on", [StaleSessionError, Exception])
    @pytest.mark.parametrize("arguments", [(), ("session",), ("session", "event", "more")])
    async def test_raises_the_functions_own_type_error_and_is_not_made_again(self, on, arguments):
        async def append(session, event):
            return session

        with pytest.raises(TypeError, match=r"append\(\)") as caught:
            await retrying.replace(on=on, max_attempts=3)(append)(*arguments)
        assert (caught.value.__cause__, caught.value.__context__) == (None, None)

    async def test_a_type_error_of_the_store_itself_is_judged_like_any_other(self):
        async def append(session, event):
            if session == "stale":
                raise TypeError
            return session

        assert await retrying.replace(on=TypeError)(append)("stale", "e") == "fresh"


OPTIONS = [
    {},
    {"key": str},
    {"attempt_timeout": 5},
    {"key": str, "attempt_timeout": 5},
    {"on": tenacity.retry_if_result(bool)},
]


@pytest.mark.parametrize("options", OPTIONS)
async def test_whatever_else_is_asked_for_a_wrong_call_raises_the_functions_own_type_error(options):
    async def append(session, event):
        return session

    with pytest.raises(TypeError, match=r"append\(\) missing 2 required"):
        await retrying.replace(**options)(append)()


@pytest.mark.parametrize("options", OPTIONS[:4])
async def test_a_session_left_to_its_default_is_what_key_and_refresh_get(options):
    async def append(store, session="stale", *, event):
        if session == "stale":
            raise StaleSessionError
        return session

    policy = retry_on_stale_session(lambda store, session: f"{session}, refreshed", **SOON, **options)
    assert await policy(append)("store", event="event") == "stale, refreshed"
