"""What a store notes of one lease, and each step of the protocol as a change of that note.

Stores that can lock a row read it, apply a step, and write it back.
"""

from __future__ import annotations

from dataclasses import dataclass

from .errors import EndReason
from .leases import LeaseAnswer, LeaseNews


@dataclass
class Row:
    """One lease.

    Attributes:
        holder: the token that has it; it may have run out.
        arrived: when that token asked first.
        expires: when it runs out.
        request: the token that is next.
        request_arrived: when that one asked first.
        request_expires: when it counts as gone, because it no longer asks.
        stop: the holder that is asked to end. A token and not a flag, so that it never hits the next holder.
        reason: why it is asked to end.
    """

    holder: str | None = None
    arrived: float = 0.0
    expires: float = 0.0
    request: str | None = None
    request_arrived: float = 0.0
    request_expires: float = 0.0
    stop: str | None = None
    reason: EndReason | None = None

    def acquire(
        self, token: str, now: float, *, arrived: float | None, interrupts: bool, lasts: float, waits: float
    ) -> LeaseAnswer:
        arrived = now if arrived is None else arrived
        if self.holder == token:
            self.expires = now + lasts
            return LeaseAnswer(True, arrived)
        mine = arrived, token
        is_held = self.is_held(now)
        is_requested = self.is_requested(now) and self.request != token
        if interrupts and (
            mine < (self.arrived, self.holder or "") or (is_requested and mine < (self.request_arrived, self.request))
        ):
            return LeaseAnswer(False, arrived, is_superseded=True)
        if not is_held and (interrupts or not is_requested):
            self.holder, self.arrived, self.expires, self.stop = token, arrived, now + lasts, None
            if not is_requested:  # one that was passed over stays noted until it hears of it
                self.request = None
            return LeaseAnswer(True, arrived)
        if interrupts and is_held and self.stop != self.holder:
            self.stop, self.reason = self.holder, "newer"
        if interrupts or not is_requested:
            self.request, self.request_arrived, self.request_expires = token, arrived, now + waits
        return LeaseAnswer(False, arrived)

    def look(self, token: str, now: float) -> LeaseNews | None:
        if self.holder != token:
            return None
        return LeaseNews(self.reason if self.stop == token else None, self.is_requested(now))

    def release(self, token: str) -> bool:
        if self.request == token:
            self.request = None
        if self.holder != token:
            return False
        self.holder = None
        return True

    def is_held(self, now: float) -> bool:
        return self.holder is not None and self.expires > now

    def is_requested(self, now: float) -> bool:
        return self.request is not None and self.request_expires > now

    def is_empty(self, now: float) -> bool:
        return self.holder is None and not self.is_requested(now)
