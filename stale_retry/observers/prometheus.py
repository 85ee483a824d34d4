"""Native Prometheus metrics: the same that the OpenTelemetry observer records."""

from __future__ import annotations

from threading import Lock
from typing import NamedTuple
from weakref import WeakKeyDictionary

from ..events import RetryEvent
from . import _metrics

try:
    from prometheus_client import REGISTRY, CollectorRegistry, Counter, Histogram
except ModuleNotFoundError as _missing:
    raise ModuleNotFoundError(
        'PrometheusObserver needs prometheus-client: pip install "stale-retry[prometheus]"', name=_missing.name
    ) from _missing


class _Metrics(NamedTuple):
    retries: Counter
    outcomes: Counter
    attempts: Histogram
    duration: Histogram


_registered: WeakKeyDictionary[CollectorRegistry, _Metrics] = WeakKeyDictionary()
_registering = Lock()


class PrometheusObserver:
    """An observer that counts retries and outcomes.

    - `stale_retry_retries_total` by `name` and `error_type`;
    - `stale_retry_outcomes_total` by `name`, `outcome` ("recovered" or "gave_up"), `reason` and `error_type`, the last
      two empty for those that recovered;
    - `stale_retry_attempts` and `stale_retry_duration_seconds`, histograms by `name` and `outcome`.

    An append that succeeds at once costs and counts nothing. Any number of observers may be made for one registry:
    they share its metrics.

    Args:
        registry: where the metrics are registered; the default registry of prometheus-client by default.

    Raises:
        ValueError: the registry already has a metric of one of these names that is not ours.
    """

    def __init__(self, registry: CollectorRegistry = REGISTRY) -> None:
        with _registering:
            metrics = _registered.get(registry)
            if metrics is None:
                metrics = _registered[registry] = _register(registry)
        self._metrics = metrics

    def __call__(self, event: RetryEvent) -> None:
        metrics = self._metrics
        if event.kind == "retrying":
            metrics.retries.labels(event.name, event.error_type or "").inc()
            return
        error = event.error_type if event.kind == "gave_up" else None
        metrics.outcomes.labels(event.name, event.kind, event.reason or "", error or "").inc()
        metrics.attempts.labels(event.name, event.kind).observe(event.attempt)
        metrics.duration.labels(event.name, event.kind).observe(event.elapsed)


def _register(registry: CollectorRegistry) -> _Metrics:
    ended = ("name", "outcome")
    return _Metrics(
        Counter("stale_retry_retries", _metrics.RETRIES, ("name", "error_type"), registry=registry),
        Counter("stale_retry_outcomes", _metrics.OUTCOMES, (*ended, "reason", "error_type"), registry=registry),
        Histogram(
            "stale_retry_attempts", _metrics.ATTEMPTS, ended, registry=registry, buckets=_metrics.ATTEMPT_BUCKETS
        ),
        Histogram(
            "stale_retry_duration_seconds",
            _metrics.DURATION,
            ended,
            registry=registry,
            buckets=_metrics.SECOND_BUCKETS,
        ),
    )
