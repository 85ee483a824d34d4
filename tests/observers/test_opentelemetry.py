"""The OpenTelemetry observer, on the real SDK."""

import subprocess
import sys

import pytest
from opentelemetry import trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode

from stale_retry import AttemptsExhaustedError, RetryEvent, SessionRefreshError, linear, retry_on_stale_session
from stale_retry.observers.opentelemetry import OpenTelemetryObserver
from stale_retry.testing import Faults, VersionedStore, no_waiting

STALE = "stale_retry.StaleSessionError"


class Metrics:
    """A meter provider, and what it has measured."""

    def __init__(self):
        self._reader = InMemoryMetricReader()
        self.provider = MeterProvider([self._reader])

    def read(self):
        """Every metric by its name."""
        data = self._reader.get_metrics_data()
        if data is None:
            return {}
        (scope,) = data.resource_metrics[0].scope_metrics
        assert scope.scope.name == "stale_retry"
        return {metric.name: metric for metric in scope.metrics}

    def counts(self, name):
        """A counter's or histogram's points: sorted attributes to value, or to (count, sum)."""
        return {
            tuple(sorted(point.attributes.items())): (
                point.value if hasattr(point, "value") else (point.count, point.sum)
            )
            for point in self.read()[name].data.data_points
        }


@pytest.fixture
def metrics():
    return Metrics()


@pytest.fixture
def spans():
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    exporter.tracer = provider.get_tracer("test")
    return exporter


async def append_through(store, observers, **options):
    retrying = retry_on_stale_session(
        store.refresh, backoff=linear(10), jitter=None, name="append_event", observers=observers, **options
    )
    with no_waiting():
        await retrying.call(store.append, store.open(), "event")


def attributes(**pairs):
    named = {("error.type" if key == "error" else f"stale_retry.{key}"): value for key, value in pairs.items()}
    return tuple(sorted(named.items()))


@pytest.mark.anyio
async def test_retries_and_outcomes_are_counted(metrics):
    observer = OpenTelemetryObserver(metrics.provider)
    await append_through(VersionedStore(Faults(stale=2)), observer)
    await append_through(VersionedStore(Faults(stale=1)), observer)
    with pytest.raises(AttemptsExhaustedError):
        await append_through(VersionedStore(Faults(stale=9)), observer, max_attempts=4)
    with pytest.raises(SessionRefreshError):
        await append_through(VersionedStore(Faults(stale=1, refresh=1)), observer)

    assert metrics.counts("stale_retry.retries") == {attributes(name="append_event", error=STALE): 2 + 1 + 3 + 1}
    assert metrics.counts("stale_retry.outcomes") == {
        attributes(name="append_event", outcome="recovered"): 2,
        attributes(name="append_event", outcome="gave_up", reason="max_attempts", error=STALE): 1,
        attributes(name="append_event", outcome="gave_up", reason="refresh_failed", error="ConnectionError"): 1,
    }


@pytest.mark.anyio
async def test_attempts_and_seconds_to_the_outcome_are_distributions(metrics):
    observer = OpenTelemetryObserver(metrics.provider)
    await append_through(VersionedStore(Faults(stale=2)), observer)
    await append_through(VersionedStore(Faults(stale=1)), observer)
    with pytest.raises(AttemptsExhaustedError):
        await append_through(VersionedStore(Faults(stale=9)), observer, max_attempts=4)

    recovered = attributes(name="append_event", outcome="recovered")
    gave_up = attributes(name="append_event", outcome="gave_up")
    assert metrics.counts("stale_retry.attempts") == {recovered: (2, 3 + 2), gave_up: (1, 4)}
    seconds = {key: (count, round(total, -1)) for key, (count, total) in metrics.counts("stale_retry.duration").items()}
    assert seconds == {recovered: (2, 30 + 10), gave_up: (1, 60)}


@pytest.mark.anyio
async def test_units_are_those_of_the_semantic_conventions(metrics):
    await append_through(VersionedStore(Faults(stale=1)), OpenTelemetryObserver(metrics.provider))
    assert {name: metric.unit for name, metric in metrics.read().items()} == {
        "stale_retry.retries": "{retry}",
        "stale_retry.outcomes": "{append}",
        "stale_retry.attempts": "{attempt}",
        "stale_retry.duration": "s",
    }
    assert all(metric.description for metric in metrics.read().values())


@pytest.mark.anyio
async def test_the_buckets_tell_a_quick_recovery_from_a_slow_one(metrics):
    await append_through(VersionedStore(Faults(stale=1)), OpenTelemetryObserver(metrics.provider))
    bounds = {
        name: metrics.read()[name].data.data_points[0].explicit_bounds
        for name in ("stale_retry.attempts", "stale_retry.duration")
    }
    assert bounds["stale_retry.attempts"][:4] == (1, 2, 3, 4)
    assert bounds["stale_retry.duration"][0] < 0.05
    assert bounds["stale_retry.duration"][-1] == 90.0


@pytest.mark.anyio
async def test_an_append_that_is_stored_at_once_measures_nothing(metrics):
    await append_through(VersionedStore(), OpenTelemetryObserver(metrics.provider))
    assert metrics.read() == {}


@pytest.mark.anyio
async def test_two_observers_of_one_provider_count_into_the_same_metrics(metrics, caplog):
    for _ in range(2):
        await append_through(VersionedStore(Faults(stale=1)), OpenTelemetryObserver(metrics.provider))
    assert metrics.counts("stale_retry.retries") == {attributes(name="append_event", error=STALE): 2}
    assert [record for record in caplog.records if record.name.startswith("opentelemetry")] == []


@pytest.mark.anyio
async def test_the_current_span_tells_the_story(metrics, spans):
    with spans.tracer.start_as_current_span("turn"):
        await append_through(VersionedStore(Faults(stale=1)), OpenTelemetryObserver(metrics.provider))
    (turn,) = spans.get_finished_spans()
    assert [event.name for event in turn.events] == ["stale_retry.retrying", "stale_retry.recovered"]
    retrying, recovered = ({**event.attributes} for event in turn.events)
    assert [round(event.pop("stale_retry.elapsed"), -1) for event in (retrying, recovered)] == [0, 10]
    assert retrying == {
        "stale_retry.name": "append_event",
        "stale_retry.attempt": 1,
        "stale_retry.wait": 10,
        "error.type": STALE,
    }
    assert recovered == {"stale_retry.name": "append_event", "stale_retry.attempt": 2, "error.type": STALE}


@pytest.mark.anyio
async def test_giving_up_is_an_event_with_its_reason_and_leaves_the_status_to_the_caller(metrics, spans):
    with spans.tracer.start_as_current_span("turn"), pytest.raises(AttemptsExhaustedError):
        await append_through(VersionedStore(Faults(stale=9)), OpenTelemetryObserver(metrics.provider), max_attempts=1)
    (turn,) = spans.get_finished_spans()
    (gave_up,) = turn.events
    assert gave_up.name == "stale_retry.gave_up"
    assert gave_up.attributes["stale_retry.reason"] == "max_attempts"
    assert turn.status.status_code is StatusCode.UNSET


def test_without_a_span_nothing_is_lost_but_the_span_event(metrics):
    assert trace.get_current_span() is trace.INVALID_SPAN
    OpenTelemetryObserver(metrics.provider)(RetryEvent("recovered", "append_event", 2, None, 0.5, None))
    assert metrics.counts("stale_retry.outcomes") == {attributes(name="append_event", outcome="recovered"): 1}


def test_an_observer_made_before_the_provider_is_set_measures_all_the_same():
    program = """
from stale_retry import RetryEvent
from stale_retry.observers.opentelemetry import OpenTelemetryObserver
observer = OpenTelemetryObserver()
observer(RetryEvent("recovered", "early", 2, None, 0.5, None))

from opentelemetry.metrics import set_meter_provider
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
reader = InMemoryMetricReader()
set_meter_provider(MeterProvider([reader]))
observer(RetryEvent("recovered", "late", 2, None, 0.5, None))
print(reader.get_metrics_data().to_json())
"""
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert '"late"' in run.stdout
    assert '"early"' not in run.stdout
