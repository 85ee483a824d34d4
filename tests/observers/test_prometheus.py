"""The Prometheus observer, by scraping a real registry."""

import gc
import threading
import weakref

import prometheus_client
import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.parser import text_string_to_metric_families

from stale_retry import AttemptsExhaustedError, SessionRefreshError, linear, retry_on_stale_session
from stale_retry.observers.prometheus import PrometheusObserver
from stale_retry.testing import Faults, VersionedStore, no_waiting

STALE = "stale_retry.StaleSessionError"


@pytest.fixture
def registry():
    return CollectorRegistry()


def scrape(registry):
    """Sample name to labels to value, as a Prometheus server would read it."""
    samples = {}
    for family in text_string_to_metric_families(prometheus_client.generate_latest(registry).decode()):
        for sample in family.samples:
            if sample.name.startswith("stale_retry") and not sample.name.endswith("_created"):
                samples.setdefault(sample.name, {})[tuple(sorted(sample.labels.items()))] = sample.value
    return samples


def labels(**pairs):
    return tuple(sorted(pairs.items()))


async def append_through(store, observers, **options):
    retrying = retry_on_stale_session(
        store.refresh, backoff=linear(10), jitter=None, name="append_event", observers=observers, **options
    )
    with no_waiting():
        await retrying.call(store.append, store.open(), "event")


@pytest.mark.anyio
async def test_a_scrape_shows_retries_and_outcomes(registry):
    observer = PrometheusObserver(registry=registry)
    await append_through(VersionedStore(Faults(stale=2)), observer)
    await append_through(VersionedStore(Faults(stale=1)), observer)
    with pytest.raises(AttemptsExhaustedError):
        await append_through(VersionedStore(Faults(stale=9)), observer, max_attempts=4)
    with pytest.raises(SessionRefreshError):
        await append_through(VersionedStore(Faults(stale=1, refresh=1)), observer)

    samples = scrape(registry)
    assert samples["stale_retry_retries_total"] == {labels(name="append_event", error_type=STALE): 7}
    assert samples["stale_retry_outcomes_total"] == {
        labels(name="append_event", outcome="recovered", reason="", error_type=""): 2,
        labels(name="append_event", outcome="gave_up", reason="max_attempts", error_type=STALE): 1,
        labels(name="append_event", outcome="gave_up", reason="refresh_failed", error_type="ConnectionError"): 1,
    }


@pytest.mark.anyio
async def test_a_scrape_shows_attempts_and_seconds_to_the_outcome(registry):
    observer = PrometheusObserver(registry=registry)
    await append_through(VersionedStore(Faults(stale=2)), observer)
    with pytest.raises(AttemptsExhaustedError):
        await append_through(VersionedStore(Faults(stale=9)), observer, max_attempts=4)

    recovered = labels(name="append_event", outcome="recovered")
    gave_up = labels(name="append_event", outcome="gave_up")
    samples = scrape(registry)
    assert samples["stale_retry_attempts_count"] == {recovered: 1, gave_up: 1}
    assert samples["stale_retry_attempts_sum"] == {recovered: 3, gave_up: 4}
    seconds = {key: round(total, -1) for key, total in samples["stale_retry_duration_seconds_sum"].items()}
    assert seconds == {recovered: 30, gave_up: 60}
    buckets = samples["stale_retry_attempts_bucket"]
    assert [buckets[labels(name="append_event", outcome="recovered", le=le)] for le in ("2.0", "3.0")] == [0, 1]
    buckets = samples["stale_retry_duration_seconds_bucket"]
    assert [buckets[labels(name="append_event", outcome="recovered", le=le)] for le in ("10.0", "60.0")] == [0, 1]


@pytest.mark.anyio
async def test_an_append_that_is_stored_at_once_counts_nothing(registry):
    await append_through(VersionedStore(), PrometheusObserver(registry=registry))
    assert scrape(registry) == {}


@pytest.mark.anyio
async def test_two_observers_of_one_registry_share_its_metrics(registry):
    for _ in range(2):
        await append_through(VersionedStore(Faults(stale=1)), PrometheusObserver(registry=registry))
    assert scrape(registry)["stale_retry_retries_total"] == {labels(name="append_event", error_type=STALE): 2}


@pytest.mark.anyio
async def test_observers_of_two_registries_are_apart(registry):
    other = CollectorRegistry()
    PrometheusObserver(registry=other)
    await append_through(VersionedStore(Faults(stale=1)), PrometheusObserver(registry=registry))
    assert scrape(other) == {}


def test_observers_may_be_made_in_several_threads_at_once(registry):
    start, failed = threading.Barrier(8), []

    def make():
        start.wait()
        try:
            PrometheusObserver(registry=registry)
        except ValueError as error:
            failed.append(error)

    threads = [threading.Thread(target=make) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []


def test_the_default_registry_is_the_one_of_prometheus_client():
    PrometheusObserver()
    names = {metric.name for metric in prometheus_client.REGISTRY.collect()}
    assert {"stale_retry_retries", "stale_retry_outcomes"} <= names


def test_a_foreign_metric_of_the_same_name_is_an_error(registry):
    prometheus_client.Counter("stale_retry_retries", "Somebody else's.", registry=registry)
    with pytest.raises(ValueError, match="stale_retry_retries"):
        PrometheusObserver(registry=registry)


def test_a_registry_is_freed_with_its_observers():
    registry = CollectorRegistry()
    PrometheusObserver(registry=registry)
    gone = weakref.ref(registry)
    del registry
    gc.collect()
    assert gone() is None
