"""A process that delivers messages to one session: `python -m adk.shop DATABASE TIMEOUT LOG SECONDS DELIVERIES`.

DELIVERIES is JSON, a list of [text, idempotency key]. Each call of the model, and each charge, is a line in the
file LOG. An answer that follows a response takes SECONDS. It says "begins" first, and at the end, as JSON, what each
delivery was answered with and which rules of form the requests broke.
"""

import asyncio
import json
import sys
from pathlib import Path

from google.adk.sessions import DatabaseSessionService

from stale_retry.adk import RetryingSessionService
from stale_retry.turns import TurnQueue, sql_lease

from .queues import counting_agent, deliver, queueing
from .talker import say


class Log(list):
    """Keeps what is noted in a file too."""

    def __init__(self, path, word):
        super().__init__()
        self.path = path
        self.word = word

    def append(self, item):
        super().append(item)
        with Path(self.path).open("a") as file:
            file.write(f"{self.word}\n")


async def main(database, timeout, log, seconds, deliveries):
    agent, llm = counting_agent(Log(log, "charge"))
    llm.requests = Log(log, "model")
    llm.fails = [asyncio.sleep(float(seconds))]
    service = DatabaseSessionService(database)
    leases = sql_lease(database, timeout=float(timeout), poll=0.05)
    runner = queueing(
        RetryingSessionService(service, observers=()), agent, TurnQueue(shared=leases, deadline=60, observers=())
    )
    say("begins")
    outcomes = await asyncio.gather(*(deliver(runner, text, key) for text, key in json.loads(deliveries)))
    say(json.dumps({"answers": outcomes, "refused": llm.refused}))
    await service.db_engine.dispose()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
