"""The default observer: readable lines on the standard library's logger."""

from __future__ import annotations

import logging

from ..events import RetryEvent

logger: logging.Logger = logging.getLogger("stale_retry")

_LEVELS = {"retrying": logging.WARNING, "recovered": logging.INFO, "gave_up": logging.ERROR}


def log_event(event: RetryEvent) -> None:
    """Log to `logging.getLogger("stale_retry")`: WARNING when retrying, INFO when recovered, ERROR when giving up.

    The event's fields are also in the record, each under its name with the prefix `stale_retry.`, for structured
    handlers; `stale_retry.error` is the `error_type`.
    """
    level = _LEVELS[event.kind]
    if not logger.isEnabledFor(level):
        return
    kind = "an error" if event.error is None else type(event.error).__name__
    what = f"{kind}, may be stored" if event.in_doubt else kind
    if event.kind == "retrying":
        message = "%s: %s, attempt %d in %.2f s (%.2f s so far)"
        values: tuple[object, ...] = (event.name, what, event.attempt + 1, event.wait, event.elapsed)
    elif event.kind == "recovered":
        message = "%s: stored after %s, attempt %d, %.2f s"
        values = (event.name, kind, event.attempt, event.elapsed)
    else:
        message = "%s: gave up after attempt %d and %.2f s: %s (%s)"
        values = (event.name, event.attempt, event.elapsed, event.reason, what)
    fields = {
        "stale_retry.kind": event.kind,
        "stale_retry.name": event.name,
        "stale_retry.attempt": event.attempt,
        "stale_retry.wait": event.wait,
        "stale_retry.elapsed": event.elapsed,
        "stale_retry.error": event.error_type,
        "stale_retry.reason": event.reason,
    }
    logger.log(level, message, *values, extra=fields)
