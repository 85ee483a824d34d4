"""`adk api_server` as a process of its own."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import httpx

import stale_retry

STARTS_WITHIN = 60.0
AGENT = """
    import asyncio
    import os

    from google.adk.agents import Agent
    from google.adk.models import BaseLlm, LlmResponse
    from google.genai import types


    def note(word):
        with open(os.environ["LOG"], "a") as log:
            log.write(word + "\\n")


    class LocalLlm(BaseLlm):
        model: str = "local"

        async def generate_content_async(self, llm_request, stream=False):
            note("model")
            last = llm_request.contents[-1].parts[-1]
            await asyncio.sleep(0.02)
            if (last.text or "").startswith("book"):
                part = types.Part(function_call=types.FunctionCall(name="book", args={}))
            elif last.function_response:
                await asyncio.sleep(float(os.environ["SECONDS"]))
                part = types.Part(text="booked")
            else:
                part = types.Part(text="pong")
            yield LlmResponse(content=types.Content(role="model", parts=[part]))


    async def book() -> str:
        "Charges."
        note("charge")
        return "done"


    root_agent = Agent(name="demo", model=LocalLlm(), tools=[book])
"""


def write_agents(directory, services):
    """The folder of agents, with its `services.py`."""
    agents = directory / "agents"
    (agents / "demo").mkdir(parents=True)
    (agents / "services.py").write_text(services)
    (agents / "demo" / "__init__.py").write_text("from . import agent\n")
    (agents / "demo" / "agent.py").write_text(textwrap.dedent(AGENT))
    return agents


class Server:
    """Started at once; `ready` waits for it."""

    def __init__(self, agents, uri, name="server", seconds=0.0):
        with socket.socket() as listening:
            listening.bind(("127.0.0.1", 0))
            port = listening.getsockname()[1]
        self.address = f"http://127.0.0.1:{port}"
        self.printed = agents.parent / f"{name}.log"
        self.log = agents.parent / "noted"
        self.log.touch()
        # The package is found as it is found here, installed or not.
        package = str(Path(stale_retry.__file__).parents[1])
        environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join([package, os.environ.get("PYTHONPATH", "")]),
            "LOG": str(self.log),
            "SECONDS": str(seconds),
        }
        command = [sys.executable, "-m", "google.adk.cli", "api_server", "--host", "127.0.0.1", "--port", str(port)]
        with self.printed.open("w") as output:
            self.process = subprocess.Popen(
                [*command, "--session_service_uri", uri, str(agents)], stdout=output, stderr=output, env=environment
            )

    def ready(self):
        """Whether it serves, or has ended without serving."""
        until = time.monotonic() + STARTS_WITHIN
        while time.monotonic() < until:
            with contextlib.suppress(httpx.TransportError):
                if httpx.get(f"{self.address}/list-apps").json() == ["demo"]:
                    return True
            if self.process.poll() is not None:
                return False
            time.sleep(0.1)
        raise AssertionError(self.printed.read_text())

    def noted(self):
        """What all servers of these agents did."""
        return self.log.read_text().split()

    def kill(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def stop(self):
        if self.process.poll() is None:
            self.process.terminate()
            self.process.wait(10)


@contextlib.contextmanager
def api_server(agents, uri):
    """Its address."""
    server = Server(agents, uri)
    try:
        assert server.ready(), server.printed.read_text()
        yield server.address
    finally:
        server.stop()


def message(text, key=None):
    body = {"appName": "demo", "userId": "user", "sessionId": "session"}
    if key is not None:
        body["customMetadata"] = {"idempotency_key": key}
    return {**body, "newMessage": {"role": "user", "parts": [{"text": text}]}}


def last_text(response):
    return json.loads(response.text)[-1]["content"]["parts"][0]["text"]
