"""A store of leases in memory, by the event loop's clock, that goes away on demand."""

from __future__ import annotations

import anyio

from stale_retry.turns import LeaseAnswer, LeaseNews


class Leases:
    """Enough of the protocol for turns that queue, interrupt and stop; the one that is next is not noted.

    Attributes:
        held: (token, when it runs out) of each name.
        asked: the token that asked for a name last, and was not given it.
        newest: (when it arrived, token) of the last one that interrupts, of each name.
        stops: why the token that holds a name is asked to end.
        calls: the names of the methods that were called.
        is_down: whether each call raises.
        hangs: whether each call takes for ever.
    """

    def __init__(self, timeout=30.0, poll=1.0):
        self.timeout, self.poll = timeout, poll
        self.held = {}
        self.asked = {}
        self.newest = {}
        self.stops = {}
        self.calls = []
        self.is_down = False
        self.hangs = False

    async def _called(self, what):
        self.calls.append(what)
        if self.hangs:
            await anyio.sleep_forever()
        await anyio.sleep(0.001)
        if self.is_down:
            raise ConnectionError("the store is down")

    def _expires(self):
        return anyio.current_time() + self.timeout

    async def acquire(self, name, token, *, arrived=None, interrupts=False):
        await self._called("acquire")
        arrived = anyio.current_time() if arrived is None else arrived
        if interrupts:
            self.newest[name] = max(self.newest.get(name, (0.0, "")), (arrived, token))
            if self.newest[name][1] != token:
                return LeaseAnswer(False, arrived, is_superseded=True)
        holder, expires = self.held.get(name, (token, 0.0))
        if holder != token and expires > anyio.current_time():
            self.asked[name] = token
            if interrupts:
                self.stops[holder] = "newer"
            return LeaseAnswer(False, arrived)
        self.held[name] = token, self._expires()
        return LeaseAnswer(True, arrived)

    async def look(self, held, *, renew):
        await self._called("renew" if renew else "look")
        news = {}
        for token, name in held.items():
            if self.held.get(name, (None, 0))[0] == token:
                news[token] = LeaseNews(self.stops.get(token), name in self.asked)
                if renew:
                    self.held[name] = token, self._expires()
        return news

    async def release(self, name, token):
        await self._called("release")
        if self.asked.get(name) == token:
            del self.asked[name]
        if self.held.get(name, (None, 0))[0] != token:
            return False
        del self.held[name]
        return True

    async def stop(self, name, token):
        await self._called("stop")
        holder = self.held.get(name, (None, 0))[0]
        if holder is None or token not in (None, holder):
            return False
        self.stops[holder] = "stopped"
        return True

    def take_away(self, name='"session"'):
        """Somebody else has it from now on."""
        self.held[name] = "somebody else", self._expires()
