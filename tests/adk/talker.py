"""A process that takes turns of one session: `python -m adk.talker DATABASE LEASES TIMEOUT NAME COUNT SECONDS`.

It says "begins" first, "calls" when a turn calls its tool, which takes SECONDS, and at the end, as JSON, which of its
COUNT turns were answered, which requests the model would refuse, and how many showed another turn's open question.
"""

import asyncio
import json
import sys

from google.adk.sessions import DatabaseSessionService

from stale_retry.adk import QueueingRunner, RetryingSessionService
from stale_retry.turns import TurnQueue, sql_lease

from .conversation import Seen, ask, checking_agent


def say(what):
    sys.stdout.write(f"{what}\n")
    sys.stdout.flush()


async def main(database, leases, timeout, name, count, seconds):
    async def look_up() -> str:
        """Takes its time."""
        say("calls")
        await asyncio.sleep(float(seconds))
        return "found"

    seen = Seen()
    service = DatabaseSessionService(database)
    turns = TurnQueue(shared=sql_lease(leases, timeout=float(timeout), poll=0.05), deadline=60, observers=())
    runner = QueueingRunner(
        app_name="app",
        agent=checking_agent(seen, tools=[look_up]),
        session_service=RetryingSessionService(service, observers=()),
        turns=turns,
    )
    questions = [f"question {name}{number}" for number in range(int(count))]
    say("begins")
    outcomes = await asyncio.gather(*(ask(runner, question) for question in questions), return_exceptions=True)
    answered = [outcome == [f"answer to {question}"] for question, outcome in zip(questions, outcomes, strict=True)]
    say(json.dumps({"answered": answered, "refused": seen.refused, "foreign": seen.foreign}))
    await service.db_engine.dispose()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
