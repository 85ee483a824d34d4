"""Whole turns at once: answered, refused by the model, mixed. Without the queue, and with it.

    python tests/benchmarks/turns.py                   # everything; a minute or two
    python tests/benchmarks/turns.py queue servers     # or some of: queue, at-once, double-texting, servers, ag-ui

The model is a local one that checks the form of each request by Gemini's rules and notes whose questions it is shown.
"queue" is the cost of the queue itself, without google-adk. "servers" starts three `adk api_server` processes on one
PostgreSQL; "ag-ui" needs ag-ui-adk, which is no dependency of this project. Exits with 1 if with the queue a turn is
not answered, is refused or sees another's open question, or if an uncontended turn takes more than 10 µs.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import logging
import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import textwrap
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

import httpx
from adk.conversation import answered, stored_texts
from google.adk.runners import Runner
from google.adk.sessions import BaseSessionService, DatabaseSessionService
from google.adk.version import __version__

from stale_retry.adk import QueueingRunner, RetryingSessionService, queue_all_runners
from stale_retry.lab.conversation import ASKED, Seen, ask, checking_agent
from stale_retry.turns import SessionBusyError, TurnInterruptedError, TurnQueue, redis_lease, sql_lease

USER = {"app_name": "app", "user_id": "user"}
Make = Callable[[BaseSessionService, Seen], Runner]


@contextlib.asynccontextmanager
async def sqlite() -> AsyncIterator[DatabaseSessionService]:
    with tempfile.TemporaryDirectory() as directory:
        # How long one waits for the file's lock is not what is measured.
        service = DatabaseSessionService(f"sqlite+aiosqlite:///{directory}/turns.db", connect_args={"timeout": 60})
        try:
            yield service
        finally:
            await service.db_engine.dispose()


def bare(service: BaseSessionService, seen: Seen) -> Runner:
    return Runner(app_name="app", agent=checking_agent(seen, seconds=0.02), session_service=service)


def wrapped(service: BaseSessionService, seen: Seen) -> Runner:
    return bare(RetryingSessionService(service, observers=()), seen)


def queued(
    service: BaseSessionService, seen: Seen, when_busy: Any = "enqueue", seconds: float = 0.02, **options: Any
) -> Runner:
    return QueueingRunner(
        **options,
        app_name="app",
        agent=checking_agent(seen, seconds=seconds),
        session_service=RetryingSessionService(service, observers=()),
        turns=TurnQueue(when_busy, observers=()),
    )


def somebody_elses(service: BaseSessionService, seen: Seen) -> Runner:
    """To be run with all runners queued."""
    return wrapped(service, seen)


def queueing_all(is_on: bool) -> contextlib.AbstractContextManager[object]:
    return queue_all_runners(TurnQueue(observers=())) if is_on else contextlib.nullcontext()


def row(*cells: object) -> None:
    print(f"| {' | '.join(str(cell) for cell in cells)} |", flush=True)


def head(title: str, *columns: str) -> None:
    print(f"\n{title}, google-adk {__version__}\n")
    row(*columns)
    row(*["---"] * len(columns))


async def at_once(count: int = 20) -> bool:
    columns = ("", "answered", "requests", "of a refused form", "show another's open question", "seconds")
    head(f"{count} turns with a tool at once on one session, SQLite file", *columns)
    good = True
    kinds: dict[str, Make] = {
        "bare": bare,
        "the wrapper alone": wrapped,
        "the wrapper and `QueueingRunner`": queued,
        "the wrapper and `queue_all_runners`": somebody_elses,
    }
    for name, make in kinds.items():
        async with sqlite() as service:
            seen = Seen()
            runner = make(service, seen)
            await service.create_session(**USER, session_id="session")
            began = time.perf_counter()
            questions = [f"question {number}" for number in range(count)]
            with queueing_all(make is somebody_elses):
                outcomes = await asyncio.gather(*(ask(runner, text) for text in questions), return_exceptions=True)
            took = time.perf_counter() - began
            done = answered(outcomes)
            row(name, len(done), seen.requests, len(seen.refused), seen.foreign, f"{took:.1f}")
            if make in (queued, somebody_elses):
                good = good and len(done) == count and not seen.refused and not seen.foreign
    return good


async def double_texting(sessions: int = 30, apart: float = 0.3) -> bool:
    columns = ("", "messages answered", "told that they are not", "requests of a refused form")
    columns += ("show another's open question", "seconds to the last answer, median")
    title = f"{sessions} users who send a second message after {apart} s, a model that takes 0.3 s and a tool"
    head(title, *columns)
    good = True
    modes: dict[str, Make] = {
        "let them mix (the wrapper alone)": lambda service, seen: Runner(
            app_name="app",
            agent=checking_agent(seen, seconds=0.3),
            session_service=RetryingSessionService(service, observers=()),
        ),
        **{
            mode: (lambda service, seen, mode=mode: queued(service, seen, mode, 0.3))
            for mode in ("enqueue", "reject", "interrupt")
        },
        "collect": lambda service, seen: queued(service, seen, seconds=0.3, collect=True),
    }
    for name, make in modes.items():
        async with sqlite() as service:
            seen, times = Seen(), []
            runner = make(service, seen)

            async def user(number: int, runner: Runner = runner, times: list[float] = times) -> list[str]:
                session = f"session {number}"
                began = time.perf_counter()
                first = asyncio.create_task(outcome(runner, f"question {number} a", session))
                await asyncio.sleep(apart)
                second = await asyncio.create_task(outcome(runner, f"question {number} b", session))
                both = [await first, second]
                times.append(time.perf_counter() - began)
                return both

            for number in range(sessions):
                await service.create_session(**USER, session_id=f"session {number}")
            outcomes = [each for pair in await asyncio.gather(*(user(n) for n in range(sessions))) for each in pair]
            done, told = outcomes.count("answered"), outcomes.count("told")
            row(name, done, told, len(seen.refused), seen.foreign, f"{statistics.median(times):.1f}")
            if name == "enqueue":
                good = good and done == 2 * sessions and not seen.refused and not seen.foreign
            good = good and ("mix" in name or not seen.refused)
    return good


async def outcome(runner: Runner, question: str, session: str) -> str:
    try:
        answers = await ask(runner, question, session_id=session)
        return {f"answer to {question}": "answered", "": "answered with another"}.get("".join(answers), "mixed")
    except (SessionBusyError, TurnInterruptedError):
        return "told"
    except ValueError as error:
        return type(error).__name__


AGENT = """
    import asyncio
    from google.adk.agents import Agent
    from google.adk.models import BaseLlm, LlmResponse
    from google.genai import types

    class Local(BaseLlm):
        model: str = "local"

        async def generate_content_async(self, llm_request, stream=False):
            await asyncio.sleep(0.05)
            last = llm_request.contents[-1].parts[0]
            if last.function_response:
                texts = [part.text for item in llm_request.contents for part in item.parts if part.text]
                asked = [text for text in texts if text.startswith("question")][-1]
                part = types.Part(text=f"answer to {asked}")
            else:
                part = types.Part(function_call=types.FunctionCall(name="look_up", args={}))
            yield LlmResponse(content=types.Content(role="model", parts=[part]))

    async def look_up() -> str:
        "Looks it up."
        await asyncio.sleep(SECONDS)
        return "found"

    root_agent = Agent(name="app", model=Local(), tools=[look_up])
"""

SERVICES = """
    import os
    from stale_retry.adk import register_session_services
    from stale_retry.turns import TurnQueue, sql_lease

    leases = os.environ["LEASES"]
    turns = TurnQueue(shared=sql_lease(leases, timeout=3), longest=None) if leases else None
    register_session_services(turns=turns)
"""


class Server:
    """One `adk api_server` process."""

    def __init__(self, agents: Path, database: str, leases: str | None) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.url = f"http://127.0.0.1:{free.getsockname()[1]}"
        port = self.url.rpartition(":")[2]
        places = [str(agents), str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")]
        self.process = subprocess.Popen(
            [
                *(sys.executable, "-m", "google.adk.cli", "api_server", "--port", port),
                *("--session_service_uri", database, str(agents)),
            ],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(places), "LEASES": leases or ""},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    async def ready(self, client: httpx.AsyncClient) -> None:
        for _ in range(600):
            with contextlib.suppress(httpx.TransportError):
                if (await client.get(f"{self.url}/list-apps")).status_code == 200:
                    return
            await asyncio.sleep(0.1)
        raise TimeoutError("the server does not start")

    async def ask(self, client: httpx.AsyncClient, question: str, session: str) -> bool:
        message = {"role": "user", "parts": [{"text": question}]}
        body = {"app_name": "app", "user_id": "user", "session_id": session, "new_message": message}
        try:
            response = await client.post(f"{self.url}/run", json=body)
        except httpx.TransportError:
            return False
        return response.status_code == 200

    def stop(self) -> None:
        self.process.kill()
        self.process.wait()


async def servers(count: int = 3, turns: int = 30) -> bool:
    from faults.servers import Postgres

    postgres = Postgres()
    try:
        head(
            f"{count} `adk api_server` processes on one PostgreSQL, {turns} turns of one session over HTTP",
            *("", "answered", "stored whole, none between", "in the order sent, in each process", "seconds"),
        )
        plain = postgres.url.replace("postgresql:", "postgresql+asyncpg:")
        cases = {"bare": (plain, None), "the wrapper alone": (f"stale-retry+{plain}", None)}
        cases["`services.py` with a queue and `sql_lease`"] = (f"stale-retry+{plain}", postgres.url)
        good = True
        for number, (name, (database, leases)) in enumerate(cases.items()):
            good = await over_http(name, database, leases, count, turns, f"session-{number}") or leases is None
        return await killed(f"stale-retry+{plain}", postgres.url, count) and good
    finally:
        postgres.close()


@contextlib.asynccontextmanager
async def running(database: str, leases: str | None, count: int, seconds: float) -> AsyncIterator[Any]:
    with tempfile.TemporaryDirectory() as directory:
        agents = Path(directory)
        (agents / "app").mkdir()
        (agents / "app" / "__init__.py").write_text("from . import agent\n")
        (agents / "app" / "agent.py").write_text(textwrap.dedent(AGENT).replace("SECONDS", str(seconds)))
        (agents / "services.py").write_text(textwrap.dedent(SERVICES))
        started = [Server(agents, database, leases) for _ in range(count)]
        async with httpx.AsyncClient(timeout=120) as client:
            try:
                for server in started:
                    await server.ready(client)
                yield client, started
            finally:
                for server in started:
                    server.stop()


async def over_http(name: str, database: str, leases: str | None, count: int, turns: int, session: str) -> bool:
    async with running(database, leases, count, 0.05) as (client, started):
        for which, server in enumerate(started):  # each loads its agent with its first turn
            await client.post(f"{server.url}/apps/app/users/user/sessions/first-{which}-{session}", json={})
            await server.ask(client, "question", f"first-{which}-{session}")
        await client.post(f"{started[0].url}/apps/app/users/user/sessions/{session}", json={})
        began = time.perf_counter()
        asked = []
        for number in range(turns):
            server = started[number % count]
            asked.append(asyncio.create_task(server.ask(client, f"question {number}", session)))
            await asyncio.sleep(0.05)
        done = sum(await asyncio.gather(*asked))
        took = time.perf_counter() - began
        events = (await client.get(f"{started[0].url}/apps/app/users/user/sessions/{session}")).json()["events"]
    whole = whole_turns(events)
    order = [int(text.split()[1]) for text in texts_of(events) if text.startswith("question")]
    in_order = all(own == sorted(own) for own in ([n for n in order if n % count == which] for which in range(count)))
    row(name, f"{done} of {turns}", whole, "yes" if in_order else "no", f"{took:.1f}")
    return done == whole == turns and in_order


def texts_of(events: list[dict[str, Any]]) -> list[str]:
    return [part["text"] for event in events for part in event.get("content", {}).get("parts", []) if part.get("text")]


def whole_turns(events: list[dict[str, Any]]) -> int:
    """How many turns are stored as question, call, response and answer with nothing of another's in between."""
    invocations = [event["invocationId"] for event in events]
    return sum(
        invocations[place : place + 4] == [invocation] * 4 and invocations.count(invocation) == 4
        for place, invocation in enumerate(invocations)
        if place == 0 or invocations[place - 1] != invocation
    )


async def killed(database: str, leases: str, count: int) -> bool:
    async with running(database, leases, count, 1.0) as (client, started):
        await client.post(f"{started[0].url}/apps/app/users/user/sessions/killed", json={})
        victim = asyncio.create_task(started[0].ask(client, "question 0", "killed"))
        await asyncio.sleep(0.7)
        others = [
            asyncio.create_task(started[1 + number % (count - 1)].ask(client, f"question {number + 1}", "killed"))
            for number in range(4)
        ]
        await asyncio.sleep(0.2)
        started[0].process.send_signal(signal.SIGKILL)
        at = time.perf_counter()
        first, _ = await asyncio.wait(others, return_when=asyncio.FIRST_COMPLETED)
        took = time.perf_counter() - at
        done = sum(await asyncio.gather(*others))
        await victim
    print("\nA server killed in mid-turn, leases of 3 s:", end=" ")
    print(f"{done} of 4 waiting turns answered, the first {took:.1f} s later")
    return done == 4 and bool(first) and took < 3 + 3


async def ag_ui(runs: int = 9) -> bool:
    try:
        from ag_ui.core import RunAgentInput, UserMessage
        from ag_ui_adk import ADKAgent
    except ModuleNotFoundError:
        print("\nag-ui-adk is not installed; left out")
        return True
    from google.adk.tools import ToolContext

    async def look_up(tool_context: ToolContext) -> str:
        """Counts."""
        count = tool_context.state.get("count", 0)
        await asyncio.sleep(0.1)
        tool_context.state["count"] = count + 1
        return "counted"

    head(f"ag-ui-adk, {runs} runs at once on one thread, whose tool counts a state key", "", "ended well", "count")
    good = True
    for name, wrap, queues in (
        ("bare", False, False),
        ("the wrapper alone", True, False),
        ("the wrapper and `queue_all_runners`", True, True),
    ):
        async with sqlite() as database:
            service = RetryingSessionService(database, observers=()) if wrap else database
            answering = checking_agent(Seen(), tools=[look_up], seconds=0.02)
            agent = ADKAgent(adk_agent=answering, app_name="app", user_id="user", session_service=service)

            async def run(number: int, agent: Any = agent) -> bool:
                ASKED.set(f"question {number}")
                message = UserMessage(id=f"message {number}", role="user", content=f"question {number}")
                asked = RunAgentInput(
                    thread_id="thread",
                    run_id=f"run {number}",
                    messages=[message],
                    state={},
                    tools=[],
                    context=[],
                    forwarded_props={},
                )
                kinds = [event.type.value async for event in agent.run(asked)]
                return kinds[-1] == "RUN_FINISHED"

            await run(100)  # makes the session
            with queueing_all(queues):
                outcomes = await asyncio.gather(*(run(number) for number in range(runs)), return_exceptions=True)
            ended = sum(outcome is True for outcome in outcomes)
            listed = await database.list_sessions(app_name="app", user_id="user")
            which = {"app_name": "app", "user_id": "user", "session_id": listed.sessions[0].id}
            session = await database.get_session(**which)
            assert session is not None
            count = session.state.get("count", 0) - 1
            row(name, f"{ended} of {runs}", count)
            good = good and (not queues or ended == count == runs)
            assert stored_texts(session)
    return good


async def queue_itself() -> bool:
    """What an uncontended turn costs, and the one question a second for 200 running turns."""
    from faults.servers import Postgres, Redis

    turns, times = TurnQueue(), []
    for _ in range(50):
        began = time.perf_counter()
        for _ in range(1000):
            async with turns("session"):
                pass
        times.append(time.perf_counter() - began)
    best = min(times) * 1000
    median = 1000 * statistics.median(times)
    print(f"\nAn uncontended turn, no lease: {best:.1f} µs (median {median:.1f})")
    head("One question for 200 running turns, ms", "", "look", "renew", "acquire and release")
    postgres, redis = Postgres(), Redis()
    try:
        for name, lease in (
            ("PostgreSQL, asyncpg", sql_lease(postgres.url)),
            ("PostgreSQL, psycopg", sql_lease(postgres.url.replace("postgresql:", "postgresql+psycopg:"))),
            ("Redis", redis_lease(redis.url)),
        ):
            held = {f"token {number}": f"session {number}" for number in range(200)}
            began = time.perf_counter()
            for token, session in held.items():
                await lease.acquire(session, token)
            took = time.perf_counter() - began
            looks = [await timed(lease.look(held, renew=False)) for _ in range(20)]
            renewals = [await timed(lease.look(held, renew=True)) for _ in range(20)]
            began = time.perf_counter()
            for token, session in held.items():
                await lease.release(session, token)
            own = (took + time.perf_counter() - began) * 1000 / len(held)
            row(name, *(f"{1000 * statistics.median(some):.2f}" for some in (looks, renewals)), f"{own:.2f}")
            await lease.aclose()
    finally:
        postgres.close()
        redis.close()
    return best <= 10


async def timed(work: Any) -> float:
    began = time.perf_counter()
    await work
    return time.perf_counter() - began


PARTS = {
    "queue": queue_itself,
    "at-once": at_once,
    "double-texting": double_texting,
    "servers": servers,
    "ag-ui": ag_ui,
}


async def main(parts: list[str]) -> bool:
    return all([await PARTS[part]() for part in parts])


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", choices=[*PARTS, []], default=list(PARTS))
    logging.disable()
    with contextlib.suppress(KeyboardInterrupt):
        sys.exit(0 if asyncio.run(main(parser.parse_args().parts)) else 1)
