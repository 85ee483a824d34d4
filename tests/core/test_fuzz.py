"""Random worlds: see `fuzz.py` for what must hold in each, and for the command that plays more of them."""

from collections import Counter

import pytest

from .fuzz import play
from .virtual import LONG

CHUNK = 50
SEEDS = {"asyncio": 20_000 if LONG else 300, "trio": 5_000 if LONG else 100}


@pytest.mark.parametrize(
    ("backend", "first"), [(backend, first) for backend, seeds in SEEDS.items() for first in range(0, seeds, CHUNK)]
)
def test_each_call_is_stored_once_or_tells_what_is_known_and_leaves_nothing_behind(backend, first):
    ended = Counter()
    for seed in range(first, first + CHUNK):
        ended += play(seed, backend)
    assert set(ended) == {"returned", "cancelled", "raised", "gave up", "in doubt"}, "a way to end was never seen"
