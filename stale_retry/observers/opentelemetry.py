"""Metrics and span events for OpenTelemetry. Needs its API package alone; whatever SDK the application sets up."""

from __future__ import annotations

from collections.abc import Mapping

from ..events import RetryEvent
from . import _metrics

try:
    from opentelemetry import metrics, trace
except ModuleNotFoundError as _missing:
    raise ModuleNotFoundError(
        'OpenTelemetryObserver needs the OpenTelemetry API: pip install "stale-retry[opentelemetry]"',
        name=_missing.name,
    ) from _missing


class OpenTelemetryObserver:
    """An observer that counts retries and outcomes, and adds an event to the current span each time.

    Metrics, all with the attribute `stale_retry.name`:

    - `stale_retry.retries`, a counter in `{retry}`, by `error.type`;
    - `stale_retry.outcomes`, a counter in `{append}`, by `stale_retry.outcome` ("recovered" or "gave_up") and, for
      those that gave up, `stale_retry.reason` and `error.type`;
    - `stale_retry.attempts`, a histogram in `{attempt}`, and `stale_retry.duration`, a histogram in `s`, both by
      `stale_retry.outcome`.

    Span events are `stale_retry.retrying`, `stale_retry.recovered` and `stale_retry.gave_up`, on the span that is
    current in the append's task, with the event's fields. The span's status is left to the code that handles the error.

    An append that succeeds at once costs and counts nothing. Any number of observers share one set of instruments.

    Args:
        meter_provider: where the metrics go; the global one by default, also when that is set later.
    """

    def __init__(self, meter_provider: metrics.MeterProvider | None = None) -> None:
        meter = metrics.get_meter("stale_retry", meter_provider=meter_provider)
        self._retries = meter.create_counter("stale_retry.retries", "{retry}", _metrics.RETRIES)
        self._outcomes = meter.create_counter("stale_retry.outcomes", "{append}", _metrics.OUTCOMES)
        self._attempts = meter.create_histogram(
            "stale_retry.attempts",
            "{attempt}",
            _metrics.ATTEMPTS,
            explicit_bucket_boundaries_advisory=_metrics.ATTEMPT_BUCKETS,
        )
        self._duration = meter.create_histogram(
            "stale_retry.duration", "s", _metrics.DURATION, explicit_bucket_boundaries_advisory=_metrics.SECOND_BUCKETS
        )

    def __call__(self, event: RetryEvent) -> None:
        name = {"stale_retry.name": event.name}
        error = _present({"error.type": event.error_type})
        reason = _present({"stale_retry.reason": event.reason})
        if event.kind == "retrying":
            self._retries.add(1, {**name, **error})
        else:
            outcome = {**name, "stale_retry.outcome": event.kind}
            self._outcomes.add(1, {**outcome, **reason, **(error if event.kind == "gave_up" else {})})
            self._attempts.record(event.attempt, outcome)
            self._duration.record(event.elapsed, outcome)
        numbers = _present(
            {
                "stale_retry.attempt": event.attempt,
                "stale_retry.wait": event.wait,
                "stale_retry.elapsed": event.elapsed,
            }
        )
        trace.get_current_span().add_event(f"stale_retry.{event.kind}", {**name, **numbers, **reason, **error})


def _present(attributes: Mapping[str, str | float | None]) -> dict[str, str | float]:
    return {name: value for name, value in attributes.items() if value is not None}
