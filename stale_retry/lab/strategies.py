"""The strategies that the demo and the simulation compare."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

from .._types import OptionsButRefresh
from ..backoff import CLASSIC_SCHEDULE, additive_jitter, constant
from ..gates.local import local_gate


@dataclass(frozen=True, eq=False)
class Strategy:
    """How a writer deals with a rejected append.

    Attributes:
        name: for machines.
        title: for readers.
        options: what `retry_on_stale_session` is given; None does not retry at all.
        integrated: through the store's own integration, where it has one, with that one's defaults.
    """

    name: str
    title: str
    options: OptionsButRefresh | None = None
    integrated: bool = False


NONE = Strategy("none", "no retry")
IMMEDIATE = Strategy(
    "immediate", "3 immediate retries", {"backoff": constant(0), "jitter": None, "max_attempts": 4, "deadline": 90}
)
# client-go's retry.DefaultRetry: 5 steps of 10 ms, factor 1, jitter 0.1, which it adds.
CLIENT_GO = Strategy(
    "client-go",
    "client-go's default",
    {"backoff": constant(0.01), "jitter": additive_jitter(0.001), "max_attempts": 5, "deadline": 90},
)
CLASSIC = Strategy("classic", "classic schedule", cast("OptionsButRefresh", CLASSIC_SCHEDULE))
ADDITIVE = Strategy("additive", "ours, jitter added", {"jitter": additive_jitter(1.0)})
OURS = Strategy("ours", "our defaults", {}, integrated=True)
QUEUE = Strategy("queue", "ours, in a queue", {"gate": local_gate(lambda session: session.id)})
