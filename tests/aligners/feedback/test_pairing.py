"""Dropping pairs until both sides are equally long."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aligners.feedback.pairing import balance_lengths, balance_pairs
from aligners.preference.pairs import Pair

PAIR = Pair("1", "a.png", "What?", "A cät.", "A dog.")


def test_short_chosen_texts_are_dropped_until_means_agree():
    balance = balance_lengths([5, 11, 20], [10, 10, 20], [False, False, False])
    assert balance.kept == [1, 2]
    assert (balance.ratio, balance.mean_chosen, balance.mean_rejected) == (0.0, 15.5, 15.0)


@pytest.mark.parametrize(
    ("chosen", "rejected", "identical"),
    [([], [], []), ([3], [3], [True]), ([3], [0], [False]), ([0], [5], [False])],
)
def test_nothing_left_is_told_as_absent_numbers(chosen, rejected, identical):
    balance = balance_lengths(chosen, rejected, identical)
    assert balance.kept == []
    assert balance.ratio is balance.mean_chosen is balance.mean_rejected is balance.relative_gap is None


lengths = st.lists(st.tuples(st.integers(1, 30), st.integers(1, 30)), min_size=1, max_size=20)


@given(lengths, st.randoms(use_true_random=False))
def test_order_does_not_change_what_is_kept(rows, chance: random.Random):
    def kept(order):
        chosen, rejected = zip(*(rows[i] for i in order), strict=True)
        return sorted(order[i] for i in balance_lengths(chosen, rejected, [False] * len(rows)).kept)

    order = list(range(len(rows)))
    shuffled = order.copy()
    chance.shuffle(shuffled)
    assert kept(order) == kept(shuffled)


@given(lengths)
def test_pairs_with_a_longer_chosen_text_always_stay(rows):
    kept = balance_lengths(*zip(*rows, strict=True), [False] * len(rows)).kept
    assert {i for i, (chosen, rejected) in enumerate(rows) if chosen >= rejected} <= set(kept)


def test_texts_are_measured_in_words_and_identical_ones_go():
    same = Pair("2", None, "p", "same words", " same words")
    kept, balance = balance_pairs([PAIR, same])
    assert kept == [PAIR]
    assert balance.mean_chosen == 2
