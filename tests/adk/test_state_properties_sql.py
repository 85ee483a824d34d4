"""The same properties of state on databases, which are dear: one for all examples."""

import asyncio
import itertools

import pytest
from google.adk.sessions import DatabaseSessionService
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stale_retry.testing import no_waiting

from .releases import DATABASE_LOCKS
from .test_state_properties import ANY_VALUES, COUNTS, FATES, WRITERS, count, play

pytestmark = pytest.mark.skipif(not DATABASE_LOCKS, reason="this release lets overlapping stale appends pass")

few = settings(max_examples=6, deadline=None, suppress_health_check=list(HealthCheck))

# Few keys, so that few examples meet many conflicts.
KEYS = st.sampled_from(["a", "user:a", "app:a"])
STEPS = st.one_of(
    st.tuples(WRITERS, st.just("write"), KEYS, ANY_VALUES),
    st.tuples(WRITERS, st.just("append at once"), KEYS, ANY_VALUES),
    st.tuples(WRITERS, st.just("append"), FATES, st.none()),
    st.tuples(WRITERS, st.just("load"), st.none(), st.none()),
    st.tuples(st.none(), st.just("bare write"), KEYS, ANY_VALUES),
)


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request, tmp_path):
    if request.param == "postgresql":
        return request.getfixturevalue("new_postgresql_database")()
    return f"sqlite+aiosqlite:///{tmp_path}/chat.db"


class Anew(DatabaseSessionService):
    """With an application, and so state of the application and its users, of its own."""

    numbers = itertools.count()

    def __init__(self, url):
        super().__init__(url)
        self.app = {"app_name": f"app{next(self.numbers)}"}

    async def create_session(self, **key):
        return await super().create_session(**{**key, **self.app})

    async def get_session(self, **key):
        return await super().get_session(**{**key, **self.app})


def run(property, url, steps):
    async def example():
        service = Anew(url)
        try:
            await property(service, steps)
        finally:
            await service.db_engine.dispose()

    with no_waiting():
        asyncio.run(example())


def test_no_write_is_lost_that_is_not_raised(url):
    @few
    @given(st.lists(STEPS, min_size=10, max_size=25))
    def holds(steps):
        run(play, url, steps)

    holds()


def test_a_counter_that_is_merged_counts_every_increment(url):
    @few
    @given(st.lists(COUNTS, max_size=20))
    def holds(steps):
        run(count, url, steps)

    holds()
