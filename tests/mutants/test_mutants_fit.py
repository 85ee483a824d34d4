"""Mutants are keyed to the source: one that fits no more guards nothing."""

import pytest

from .__main__ import MUTANTS
from .workshop import ROOT


@pytest.mark.parametrize("mutant", MUTANTS, ids=str)
def test_the_code_is_what_the_mutant_was_made_for(mutant):
    assert mutant.fits(ROOT / "stale_retry")
