"""The OpenTelemetry observer inside google-adk's own spans: a real runner's turn that loses a race."""

import json
import subprocess
import sys

import pytest

# A program of its own, because an application's tracer provider can be set only once.
PROGRAM = """
import asyncio, json, sys

from opentelemetry import metrics, trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

exporter, reader = InMemorySpanExporter(), InMemoryMetricReader()
tracers = TracerProvider()
tracers.add_span_processor(SimpleSpanProcessor(exporter))
trace.set_tracer_provider(tracers)
metrics.set_meter_provider(MeterProvider([reader]))

from google.adk.agents import Agent
from google.adk.events import Event
from google.adk.models import BaseLlm, LlmResponse
from google.adk.runners import Runner
from google.adk.sessions import DatabaseSessionService
from google.genai import types

from stale_retry.adk import RetryingSessionService
from stale_retry.observers.opentelemetry import OpenTelemetryObserver

KEY = {"app_name": "app", "user_id": "user", "session_id": "session"}


def content(role, text):
    return types.Content(role=role, parts=[types.Part(text=text)])


class Overtaken(BaseLlm):
    '''While it thinks, somebody else appends to the session.'''

    model: str = "local"

    async def generate_content_async(self, llm_request, stream=False):
        theirs = await database.get_session(**KEY)
        await database.append_event(theirs, Event(author="user", content=content("user", "theirs")))
        yield LlmResponse(content=content("model", "pong"))


async def turn(path):
    global database
    database = DatabaseSessionService(f"sqlite+aiosqlite:///{path}")
    await database.create_session(**KEY)
    service = RetryingSessionService(database, observers=OpenTelemetryObserver())
    runner = Runner(app_name="app", agent=Agent(name="agent", model=Overtaken()), session_service=service)
    async for _ in runner.run_async(user_id="user", session_id="session", new_message=content("user", "ping")):
        pass
    stored = await database.get_session(**KEY)
    await database.close()
    return [event.content.parts[0].text for event in stored.events]


stored = asyncio.run(turn(sys.argv[1]))
spans = [
    {
        "name": span.name,
        "trace": span.context.trace_id,
        "events": [[event.name, dict(event.attributes)] for event in span.events if "stale" in event.name],
    }
    for span in exporter.get_finished_spans()
]
measured = {
    metric.name: [[dict(point.attributes), getattr(point, "value", None)] for point in metric.data.data_points]
    for resource in reader.get_metrics_data().resource_metrics
    for scope in resource.scope_metrics
    if scope.scope.name == "stale_retry"
    for metric in scope.metrics
}
print(json.dumps({"stored": stored, "spans": spans, "measured": measured}))
"""


@pytest.fixture(scope="module")
def told(tmp_path_factory):
    command = [sys.executable, "-c", PROGRAM, str(tmp_path_factory.mktemp("adk") / "chat.db")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_the_turn_was_overtaken_and_nothing_is_lost(told):
    assert told["stored"] == ["ping", "theirs", "pong"]


def test_the_retry_is_told_on_a_span_of_the_turn(told):
    (agent,) = [span for span in told["spans"] if span["name"] == "invoke_agent agent"]
    (told_on,) = [span for span in told["spans"] if span["events"]]
    assert told_on["trace"] == agent["trace"]
    assert [name for name, _ in told_on["events"]] == ["stale_retry.retrying", "stale_retry.recovered"]
    assert told_on["events"][1][1]["stale_retry.attempt"] == 2


def test_the_retry_is_counted_under_the_name_of_the_service(told):
    (((attributes, retries),), ((outcome, recovered),)) = (
        told["measured"]["stale_retry.retries"],
        told["measured"]["stale_retry.outcomes"],
    )
    assert attributes["stale_retry.name"] == "DatabaseSessionService.append_event"
    assert attributes["error.type"].endswith("Error")
    assert outcome["stale_retry.outcome"] == "recovered"
    assert (retries, recovered) == (1, 1)
