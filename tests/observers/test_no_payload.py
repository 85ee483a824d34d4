"""However an append ends, nothing that we say quotes what was to be stored.

Session, state, event, arguments and the texts of all errors that are not ours carry a secret; then everything is
searched that reaches a log, a metric or a span, and everything that we raise, note or show of ourselves.
"""

import io
import json
import logging
import traceback
from contextlib import suppress

import anyio
import prometheus_client
import pytest
import structlog
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from stale_retry import InDoubtError, StaleSessionError, StaleSessionRetryError, linear, retry_on_stale_session
from stale_retry.observers.logging import log_event
from stale_retry.observers.opentelemetry import OpenTelemetryObserver
from stale_retry.observers.prometheus import PrometheusObserver
from stale_retry.testing import no_waiting

pytestmark = pytest.mark.anyio

SECRET = "the launch code is 0000"


class Session:
    id = state = SECRET

    def __init__(self):
        self.events = [SECRET]

    def __repr__(self):
        return f"Session({SECRET})"


class Store:
    def __init__(self, *outcomes):
        self.outcomes = list(outcomes)

    async def append(self, session, event, *, comment=SECRET):
        outcome = self.outcomes.pop(0)
        if outcome is not None:
            raise outcome()
        return event

    async def refresh(self, session):
        return Session()


class DuplicateEvent(Exception):
    """As a database's: it quotes the row."""


def stale():
    return StaleSessionError(f"cannot store {SECRET}")


def duplicate():
    return DuplicateEvent(f"({SECRET}) already exists")


def failing(*_):
    raise duplicate()


async def gone(session):
    return None


def broken_observer(event):
    raise RuntimeError("the observer is broken")


def broken_observer_that_says_why(event):
    raise RuntimeError("the observer is broken") from event.error


def adds_an_argument(conflict):
    conflict.arguments["priority"] = SECRET


ENDINGS = {
    "stored at once": ([None], {}),
    "recovered": ([stale, stale, None], {}),
    "settled": ([stale], {"on_conflict": lambda conflict: conflict.settle(SECRET)}),
    "attempts exhausted": ([stale, stale], {"max_attempts": 2}),
    "stopped": ([stale], {"stop": lambda retry_state: True}),
    "deadline": ([stale] * 9, {"deadline": 2.0}),
    "session gone": ([stale], {"refresh": gone}),
    "refresh failed": ([stale], {"refresh": failing}),
    "key raises": ([], {"key": failing}),
    "key is not hashable": ([], {"key": lambda session: [SECRET]}),
    "found": ([stale], {"find_stored": lambda session: SECRET}),
    "look failed": ([stale], {"find_stored": lambda session: failing()}),
    "in doubt": ([duplicate], {"in_doubt": DuplicateEvent, "find_stored": lambda session: None, "max_attempts": 1}),
    "aborted": ([stale], {"on_conflict": failing}),
    "hook answers nonsense": ([stale], {"on_conflict": lambda conflict: SECRET}),
    "hook adds an argument": ([stale], {"on_conflict": adds_an_argument}),
    "not stale": ([duplicate], {}),
    "not stale after a retry": ([stale, duplicate], {}),
    "reraised": ([stale, stale], {"max_attempts": 2, "reraise": True}),
    "refresh failed, reraised": ([stale], {"refresh": failing, "reraise": True}),
}


class Ear(logging.Handler):
    """Keeps all that a log record can show: the line, the traceback, every field."""

    def __init__(self, heard):
        super().__init__(logging.NOTSET)
        self.heard = heard
        self.setFormatter(logging.Formatter("%(name)s %(levelname)s %(message)s"))

    def emit(self, record):
        self.heard.append(self.format(record))
        self.heard.extend(f"{name}={value!r}" for name, value in vars(record).items() if name != "exc_info")


@pytest.fixture
def heard():
    """Everything logged, by any logger at any level, and everything counted or traced: see `observers`."""
    texts = []
    ear = Ear(texts)
    loggers = [logging.getLogger(), *map(logging.getLogger, logging.root.manager.loggerDict)]
    levels = [(logger, logger.level) for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.DEBUG)
    logging.getLogger().addHandler(ear)
    yield texts
    logging.getLogger().removeHandler(ear)
    for logger, level in levels:
        logger.setLevel(level)


class Everyone:
    """All the observers there are."""

    def __init__(self):
        self.reader, self.exporter = InMemoryMetricReader(), InMemorySpanExporter()
        self.meters, self.tracers = MeterProvider([self.reader]), TracerProvider()
        self.tracers.add_span_processor(SimpleSpanProcessor(self.exporter))
        self.registry = prometheus_client.CollectorRegistry()
        self.structured = io.StringIO()
        log = structlog.wrap_logger(
            structlog.PrintLogger(self.structured), processors=[structlog.processors.JSONRenderer()]
        )
        self.observers = [
            log_event,
            OpenTelemetryObserver(self.meters),
            PrometheusObserver(self.registry),
            lambda event: log.msg(event.kind, name=event.name, error=event.error_type),
            broken_observer,
            broken_observer_that_says_why,
        ]

    def said(self):
        spans = [json.loads(span.to_json()) for span in self.exporter.get_finished_spans()]
        return [
            self.reader.get_metrics_data().to_json() if self.reader.get_metrics_data() else "",
            json.dumps(spans),
            prometheus_client.generate_latest(self.registry).decode(),
            self.structured.getvalue(),
        ]


async def decorated(policy, store):
    await policy(store.append)(Session(), SECRET)


async def block(policy, store):
    async for attempt in policy.attempts(Session()):
        assert SECRET not in repr(attempt)
        with attempt:
            await store.append(attempt.session, SECRET)


async def inside_a_handler(policy, store):
    """What the caller is handling already is as private as what it appends."""
    try:
        raise duplicate()
    except DuplicateEvent:
        await decorated(policy, store)


@pytest.mark.parametrize("way", [decorated, block, inside_a_handler], ids=lambda way: way.__name__)
@pytest.mark.parametrize("ending", ENDINGS)
async def test_nothing_we_say_quotes_a_payload(heard, ending, way):
    outcomes, options = ENDINGS[ending]
    store, everyone = Store(*outcomes), Everyone()
    shown = []

    def show(conflict):
        shown.append(repr(conflict).replace(repr(conflict.error), "the store's error"))
        shown.append(repr(conflict.settle(SECRET)))

    hooks = [show, *([options["on_conflict"]] if "on_conflict" in options else [])]
    policy = retry_on_stale_session(
        **{
            "refresh": store.refresh,
            "backoff": linear(0.5),
            "jitter": None,
            "name": "append_event",
            "observers": everyone.observers,
            **options,
            "on_conflict": hooks,
        }
    )
    raised = None
    with no_waiting(), everyone.tracers.get_tracer("test").start_as_current_span("turn", record_exception=False):
        try:
            await way(policy, store)
        except Exception as error:
            raised = error
    shown += [repr(policy), repr(policy(store.append)), *what_is_ours(raised)]

    everything = [*heard, *everyone.said(), *shown]
    assert not [text for text in everything if SECRET in text]
    if ending not in ("stored at once", "not stale", "key raises", "key is not hashable"):
        assert any("append_event: StaleSessionError, attempt" in text or "gave up" in text for text in heard)
        assert any("the observer is broken" in text for text in heard)


def what_is_ours(error):
    """Of a chain of errors, the texts and notes that we wrote."""
    while error is not None:
        yield from getattr(error, "__notes__", ())
        if isinstance(error, (StaleSessionRetryError, InDoubtError, TypeError)):
            yield from (str(error), repr(error), *traceback.format_exception_only(error))
        error = error.__cause__ or error.__context__


async def test_a_call_that_is_cancelled_quotes_no_payload(heard):
    store, everyone = Store(stale), Everyone()
    with anyio.CancelScope() as scope:
        policy = retry_on_stale_session(
            store.refresh, observers=[*everyone.observers, lambda event: scope.cancel()], name="append_event"
        )
        await decorated(policy, store)
    assert scope.cancelled_caught
    assert any("append_event: StaleSessionError" in text for text in heard)
    assert not [text for text in (*heard, *everyone.said()) if SECRET in text]


async def test_what_an_observer_raises_is_logged_with_its_own_reasons(heard):
    """Only the append's errors are cut from what is logged."""

    def broken(event):
        try:
            raise LookupError("no such thing")
        except LookupError as error:
            raise RuntimeError("the observer is broken") from error

    store = Store(stale, None)
    with no_waiting(), suppress(DuplicateEvent):
        await inside_a_handler(retry_on_stale_session(store.refresh, observers=broken), store)
    assert any("no such thing" in text and "the observer is broken" in text for text in heard)
