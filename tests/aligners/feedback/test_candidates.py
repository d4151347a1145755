"""Choosing among candidates."""

import math

import pytest

from aligners.best_of_n import best_of
from aligners.feedback.pairing import group_by


def test_the_first_of_the_best_wins():
    assert best_of([-1.0, 2.0, 2.0]) == 1
    assert best_of([-math.inf]) == 0


@pytest.mark.parametrize("rewards", [[], [1.0, math.nan]])
def test_nothing_or_nan_cannot_be_ranked(rewards):
    with pytest.raises(ValueError, match="best-of-N"):
        best_of(rewards)


def test_groups_keep_order():
    assert group_by("abcd", [2, 1, 2, 1]) == {2: ["a", "c"], 1: ["b", "d"]}
