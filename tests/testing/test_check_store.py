"""`check_store` on stores in memory: a right one passes, and each wrong one fails exactly the checks that it has to."""

import asyncio
import dataclasses
import functools
import itertools
import re

import pytest
import trio
from tenacity import retry_if_result

from stale_retry import StaleSessionError, retry_on_stale_session, retry_transaction
from stale_retry.testing import Event, VersionedStore, check_store

from . import wrong_stores_page
from .wrong_stores import RIGHT, WRONG, MemoryStore

CHECKS = (
    "stored",
    "one winner",
    "first append",
    "nothing stored",
    "recognised",
    "still stale",
    "other sessions",
    "refresh newest",
    "no hidden events",
    "cancelled append",
    "cancelled refresh",
    "contended writers",
    "look-alikes",
    "lost answer",
    "gone",
    "several processes",
)


def checked(store, **changes):
    return asyncio.run(check_store(**{**store.mapping(), "seconds": store.seconds, **changes}))


def seen(report, check):
    return next(finding.seen for finding in report.findings if finding.check == check)


def test_a_right_store_passes_every_check_that_can_run_in_one_process():
    report = checked(RIGHT())
    assert report, report
    assert (report.failed, report.could_not_run, report.left_behind) == ((), ("several processes",), 0)
    assert tuple(finding.check for finding in report.findings) == CHECKS
    assert report.seconds < 2


def test_versioned_store_passes():
    store, numbers = VersionedStore(), itertools.count()

    async def create():
        session_id = f"session {next(numbers)}"
        store.open(session_id)
        return session_id

    async def load(session_id):
        return store.open(session_id)

    async def events(session_id):
        return store.events(session_id)

    async def delete(session_id):
        store.delete(session_id)

    report = asyncio.run(
        check_store(
            create=create,
            load=load,
            append=store.append,
            refresh=store.refresh,
            events=events,
            event=lambda n: Event("ok", n),
            identity=lambda event: event.id,
            seen=lambda session: session.events,
            delete=delete,
            find_stored=store.find_stored,
        )
    )
    assert (report.failed, report.could_not_run) == ((), ("several processes",)), report
    assert report.seconds < 2


@pytest.mark.parametrize("wrong", WRONG)
def test_a_wrong_store_fails_exactly_these_checks(wrong):
    report = checked(wrong())
    could_not_run = CHECKS[1:] if wrong.cannot_run == "all others" else wrong.cannot_run
    assert not report
    assert (report.failed, sorted(report.could_not_run)) == (wrong.fails, sorted(could_not_run)), report


@pytest.mark.parametrize("seed", range(5))
def test_a_race_is_found_with_every_seed(seed):
    (wrong,) = (wrong for wrong in WRONG if wrong.__name__ == "VersionAheadInRefresh")
    assert checked(wrong(), seed=seed).failed == ("no hidden events",)


def test_the_same_seed_gives_the_same_report():
    one, other = (checked(RIGHT(), seed=7) for _ in range(2))
    assert one.findings == other.findings


# A check that cannot run


def test_what_is_not_given_cannot_be_checked_and_is_not_passed():
    report = checked(RIGHT(), seen=None, delete=None, find_stored=None)
    assert report
    assert report.could_not_run == ("no hidden events", "lost answer", "gone", "several processes")
    for check, option in (("no hidden events", "seen="), ("lost answer", "find_stored="), ("gone", "delete=")):
        assert option in seen(report, check)


class Slow(MemoryStore):
    async def answer(self):
        await asyncio.sleep(0.02)


def test_a_store_that_is_too_slow_says_how_far_it_came():
    report = checked(Slow(), seconds=0.6)
    assert report
    assert "one winner" in report.could_not_run
    assert seen(report, "one winner").startswith("out of time after")
    assert "came to two appends, one after the other" in seen(report, "one winner")


def test_a_store_that_never_answers_ends_in_time():
    class Never(MemoryStore):
        async def append(self, session, event):
            await asyncio.Event().wait()

    report = checked(Never(), seconds=0.2)
    assert report.seconds < 1
    assert len(report.could_not_run) == len(CHECKS)


# How the store is described


class Answering(MemoryStore):
    """Answers False instead of raising."""

    async def append(self, session, event):
        try:
            await super().append(session, event)
        except StaleSessionError:
            return False


def test_a_store_that_answers_is_as_good_as_one_that_raises():
    report = checked(Answering(), on=retry_if_result(lambda stored: stored is False))
    assert (report.failed, report.could_not_run) == ((), ("several processes",)), report
    assert "answered False" in seen(report, "recognised")
    assert checked(Answering()).failed[:2] == ("one winner", "first append")


class Careful(MemoryStore):
    """Rejects an append while another one is under way, to whichever session, as a database at SERIALIZABLE may do."""

    busy = False

    async def append(self, session, event):
        if self.busy:
            raise StaleSessionError("could not serialize access")
        self.busy = True
        try:
            await super().append(session, event)
        finally:
            self.busy = False


def test_a_database_that_is_too_careful_is_right():
    report = checked(Careful())
    assert report, report
    assert "one of the two was rejected" in seen(report, "other sessions")


def test_parameters_may_have_any_names():
    store = RIGHT()

    async def add(conversation, message):
        await store.append(conversation, message)

    def find(message, conversation):
        return store.find_stored(conversation, message)

    report = checked(store, append=add, find_stored=find)
    assert (report.failed, report.could_not_run) == ((), ("several processes",)), report


def decorated_function():
    store = RIGHT()

    @retry_on_stale_session(store.refresh, session="conversation", find_stored=find_message, key=lambda it: it.id)
    async def append(conversation, message):
        await store.append(conversation, message)

    return store, append


def find_message(message, conversation):
    return RIGHT.find_stored(None, conversation, message)


def decorated_method():
    class Store(MemoryStore):
        append = retry_on_stale_session(MemoryStore.refresh, find_stored=MemoryStore.find_stored)(MemoryStore.append)

    store = Store()
    return store, store.append


@pytest.mark.parametrize("make", [decorated_function, decorated_method])
def test_a_decorated_append_brings_its_own_options(make):
    store, append = make()
    report = checked(store, append=append, refresh=None, find_stored=None)
    assert (report.failed, report.could_not_run) == ((), ("several processes",)), report


def test_a_decorated_append_is_checked_without_its_queue_which_would_hide_races():
    (wrong,) = (wrong for wrong in WRONG if wrong.__name__ == "CheckThenWrite")
    store = wrong()
    append = retry_on_stale_session(store.refresh, key=lambda session: session.id)(store.append)
    report = checked(store, append=append, refresh=None, find_stored=None)
    assert report.failed == wrong.fails


def test_hooks_that_do_not_fit_the_append_are_refused():
    with pytest.raises(TypeError, match="find_stored must name parameters of the append"):
        checked(RIGHT(), find_stored=lambda session, message: None)


@pytest.mark.parametrize("option", ["refresh", "on", "find_stored"])
def test_giving_what_a_decorated_append_brings_is_an_error(option):
    store, append = decorated_function()
    options = {"refresh": None, "find_stored": None, option: StaleSessionError}
    with pytest.raises(TypeError, match=f"leave out {option}$"):
        checked(store, append=append, **options)


@pytest.mark.parametrize(
    ("changes", "error", "says"),
    [
        ({"refresh": None}, TypeError, "needs refresh"),
        ({"events": None, "identity": None}, TypeError, "needs events, identity"),
        ({"load": "load"}, TypeError, "load must be a function"),
        ({"append": lambda session, event: None}, TypeError, "append must be an async function"),
        ({"writers": 1}, ValueError, "writers must be at least 2"),
        ({"seconds": 0}, ValueError, "seconds must be above zero"),
        ({"identity": lambda event: [event]}, TypeError, "identity must return a hashable value"),
    ],
)
def test_a_wrong_description_is_an_error_that_names_the_function(changes, error, says):
    with pytest.raises(error, match=says):
        checked(RIGHT(), **changes)


def test_a_transaction_is_no_append():
    @retry_transaction()
    async def withdraw(session, event): ...

    with pytest.raises(TypeError, match="retry_transaction"):
        checked(RIGHT(), append=withdraw)


def test_a_function_that_raises_is_a_failure_that_names_it():
    async def load(session_id):
        raise OSError("no such host")

    report = checked(RIGHT(), load=load)
    assert report.failed == ("stored",)
    assert seen(report, "stored") == "load raised OSError: no such host"


@pytest.mark.parametrize(
    ("function", "check"),
    [("seen", "stored"), ("refresh", "refresh newest"), ("find_stored", "look-alikes"), ("delete", "gone")],
)
def test_each_function_that_raises_is_named_by_the_check_that_needs_it_first(function, check):
    def broken(session, event=None):
        raise KeyError("nothing")

    report = checked(RIGHT(), **{function: broken})
    assert report.failed[0] == check
    assert seen(report, check) == f"{function} raised KeyError: 'nothing'"


def test_a_store_that_breaks_under_way_is_a_failure():
    class Full(MemoryStore):
        appends = 0

        async def append(self, session, event):
            self.appends += 1
            if self.appends > 10:
                raise OSError("disk full")
            await super().append(session, event)

    report = checked(Full())
    assert seen(report, "gone") == "append through a session just loaded raised OSError: disk full"


def test_a_refresh_that_raises_for_a_deleted_session_tells_its_writer():
    class Strict(MemoryStore):
        async def refresh(self, session):
            if (fresh := await super().refresh(session)) is None:
                raise LookupError(session.id)
            return fresh

    report = checked(Strict())
    assert report, report
    assert "its refresh raises" in seen(report, "gone")


def test_an_append_may_be_a_partial():
    store = RIGHT()

    async def add(store, session, event):
        await store.append(session, event)

    assert checked(store, append=functools.partial(add, store)), "a partial is an async function"


def test_it_needs_asyncio():
    async def check():
        await check_store(**RIGHT().mapping())

    with pytest.raises(RuntimeError, match="check_store needs asyncio"):
        trio.run(check)


# Cleaning up


def test_sessions_are_deleted():
    store = RIGHT()
    assert checked(store).left_behind == 0
    assert store.rows == {}


def test_sessions_that_stay_are_counted():
    store = RIGHT()
    report = checked(store, delete=None)
    assert report.left_behind == len(store.rows) > 0
    assert f"{len(store.rows)} sessions left in the store" in str(report)


def test_a_session_that_cannot_be_deleted_is_told():
    store = RIGHT()
    delete, deleted = store.delete, []

    async def delete_once(session_id):
        deleted.append(session_id)
        if len(deleted) > 1:
            raise OSError("read only")
        await delete(session_id)

    report = checked(store, delete=delete_once)
    assert report
    assert report.left_behind == len(store.rows) > 0


def test_cleaning_up_takes_no_longer_than_that(monkeypatch):
    monkeypatch.setattr("stale_retry.testing._check_store._EXTRA_SECONDS", 0.01)
    store = RIGHT()

    async def delete(session_id):
        await asyncio.Event().wait()

    assert checked(store, delete=delete, seconds=0.3).left_behind == len(store.rows) > 0


# The report


def test_a_report_says_what_failed_what_it_means_and_what_to_do():
    (wrong,) = (wrong for wrong in WRONG if wrong.__name__ == "CheckThenWrite")
    text = str(checked(wrong()))
    assert "FAILED        one winner          8 of 8 appends from one version were accepted (all at once)" in text
    for label in ("should be", "means", "do"):
        assert f"\n                {label} " in text
    assert "passed        stored              3 of 3 events read back in order" in text
    assert "could not run several processes" in text
    assert text.splitlines()[-1].startswith("11 passed, 3 failed, 2 could not run (")
    assert max(map(len, text.splitlines())) <= 112


def test_a_report_as_plain_values_has_everything():
    report = checked(RIGHT())
    plain = report.as_dict()
    assert plain["passed"] is True
    assert plain["findings"] == [dataclasses.asdict(finding) for finding in report.findings]


# The documentation


def test_the_page_has_every_wrong_store_and_what_it_fails():
    assert wrong_stores_page.PAGE.read_text(encoding="utf-8") == wrong_stores_page.page()


def test_the_page_lists_every_check_with_its_promise():
    page = (wrong_stores_page.PAGE.parents[1] / "how-to" / "check-your-store.md").read_text(encoding="utf-8")
    listed = re.findall(r"^\| ([a-z-]+(?: [a-z-]+)*) \| (.+) \|$", page, re.MULTILINE)
    report = checked(RIGHT(), seconds=0.001)
    assert listed[1:] == [(finding.check, finding.promise) for finding in report.findings]
