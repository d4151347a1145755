"""Choosing among candidates."""

import math

import pytest

from aligners.candidates import best_of, group_by, near_duplicate, without_near_duplicates


def test_the_first_of_the_best_wins():
    assert best_of([-1.0, 2.0, 2.0]) == 1
    assert best_of([-math.inf]) == 0


@pytest.mark.parametrize("rewards", [[], [1.0, math.nan]])
def test_nothing_or_nan_cannot_be_ranked(rewards):
    with pytest.raises(ValueError, match="best-of-N"):
        best_of(rewards)


def test_groups_keep_order():
    assert group_by("abcd", [2, 1, 2, 1]) == {2: ["a", "c"], 1: ["b", "d"]}


LONG = " ".join(f"w{i}" for i in range(300))


@pytest.mark.parametrize(
    ("first", "second", "same"),
    [
        (LONG, LONG, True),
        (LONG, f"{LONG} end", True),
        (LONG, LONG.replace("w150 ", "x "), True),  # 10 of 291 ten-grams differ on each side: 281 / 301
        ("a b c", "a b c", True),
        ("a b c", "a b d", False),
        ("", "", True),
    ],
)
def test_near_duplicates_share_nine_tenths_of_their_ngrams(first, second, same):
    assert near_duplicate(first, second) is same


def test_the_first_of_near_duplicates_stays():
    assert without_near_duplicates([LONG, "other", f"{LONG} end", "other"]) == [0, 1]
