"""Bars that say at a glance what the numbers say."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stale_retry.lab.tables import Mark, Paper

GOOD, BAD = Mark("█", "#", "green"), Mark("·", ".", "red")


def bar(good, bad, width):
    return Paper().bar([(good, GOOD), (bad, BAD)], width).plain


@pytest.mark.parametrize(
    ("good", "bad", "drawn"), [(3, 2, "███··"), (6, 4, "██████····"), (60, 40, "██████····"), (999, 1, "█████████·")]
)
def test_a_bar_has_a_sign_for_each_as_long_as_they_fit_and_then_keeps_the_proportions(good, bad, drawn):
    assert bar(good, bad, 10) == drawn


@given(st.integers(0, 10_000), st.integers(0, 10_000), st.integers(2, 40))
def test_nothing_that_happened_is_left_out_of_a_bar_however_seldom_it_was(good, bad, width):
    drawn = bar(good, bad, width)
    assert len(drawn) == min(width, good + bad)
    assert ("█" in drawn, "·" in drawn) == (good > 0, bad > 0)
