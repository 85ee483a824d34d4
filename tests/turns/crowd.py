"""Turns that note what happens to them."""

from __future__ import annotations

from contextlib import contextmanager

import anyio

from stale_retry.turns import TurnError


class Crowd:
    """What happened, in order, and whether two ever ran at once.

    Attributes:
        log: (name, what), where what is "began", "ended", or the name of the error it was left with.
    """

    def __init__(self, turns):
        self.turns = turns
        self.log = []
        self.running = []

    @contextmanager
    def runs(self, name):
        assert not self.running, f"{name} runs at the same time as {self.running}"
        self.running.append(name)
        self.log.append((name, "began"))
        try:
            yield
        finally:
            self.running.remove(name)

    async def turn(self, name, seconds=1.0, key="session"):
        try:
            async with self.turns(key):
                with self.runs(name):
                    await anyio.sleep(seconds)
        except TurnError as error:
            self.log.append((name, type(error).__name__))
            return error
        except BaseException as error:
            self.log.append((name, type(error).__name__))
            raise
        self.log.append((name, "ended"))
        return None

    @property
    def began(self):
        return [name for name, what in self.log if what == "began"]

    @property
    def ended(self):
        return [name for name, what in self.log if what == "ended"]

    def errors(self):
        return {name: what for name, what in self.log if what not in ("began", "ended")}


async def in_order(tasks, *calls, apart=0.01):
    """Start them one after the other."""
    for call in calls:
        tasks.start_soon(*call)
        await anyio.sleep(apart)
