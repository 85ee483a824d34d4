"""A store of leases in memory, by the event loop's clock, that goes away on demand."""

from __future__ import annotations

import anyio


class Leases:
    def __init__(self, timeout=30.0, poll=1.0):
        self.timeout, self.poll = timeout, poll
        self.held = {}
        self.calls = []
        self.is_down = False
        self.hangs = False

    async def _asked(self, what):
        self.calls.append(what)
        if self.hangs:
            await anyio.sleep_forever()
        await anyio.sleep(0.001)
        if self.is_down:
            raise ConnectionError("the store is down")

    async def acquire(self, name, token):
        await self._asked("acquire")
        holder, expires = self.held.get(name, (token, 0.0))
        if holder != token and expires > anyio.current_time():
            return False
        self.held[name] = token, anyio.current_time() + self.timeout
        return True

    async def renew(self, name, token):
        await self._asked("renew")
        if self.held.get(name, (None, 0))[0] != token:
            return False
        self.held[name] = token, anyio.current_time() + self.timeout
        return True

    async def release(self, name, token):
        await self._asked("release")
        if self.held.get(name, (None, 0))[0] != token:
            return False
        del self.held[name]
        return True

    def take_away(self, name='"session"'):
        """Somebody else has it from now on."""
        self.held[name] = "somebody else", anyio.current_time() + self.timeout
