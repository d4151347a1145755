"""Cutting, masks and padding of token rows."""

import pytest
import torch

from aligners.rl.rollouts import cut_after_end, left_pad, non_pad_lengths

END, PAD = 2, 0


@pytest.mark.parametrize(
    ("row", "cut", "has_end", "length"),
    [
        ([5, 6, 2, 7, 8], [5, 6, 2, 0, 0], True, 3),
        ([5, 6, 7, 8, 9], [5, 6, 7, 8, 9], False, 5),
        ([5, 6, 0, 0, 0], [5, 6, 0, 0, 0], False, 2),  # stopped without an end token
        ([5, 0, 6, 2, 0], [5, 0, 6, 2, 0], True, 4),  # the pad id inside a response is content
        ([2, 2, 2, 2, 2], [2, 0, 0, 0, 0], True, 1),
        ([0, 0, 0, 0, 0], [0, 0, 0, 0, 0], False, 0),
    ],
)
def test_responses_end_with_their_first_end_token(row, cut, has_end, length):
    result = cut_after_end(torch.tensor([row]), END, PAD)
    assert result.ids.tolist() == [cut]
    assert result.has_end.tolist() == [has_end]
    assert result.mask.tolist() == [[i < length for i in range(len(row))]]


def test_an_end_token_that_is_also_the_padding_stays_in_the_mask():
    result = cut_after_end(torch.tensor([[5, 6, 2, 2, 2], [5, 6, 7, 8, 9]]), END, END)
    assert result.has_end.tolist() == [True, False]
    assert result.mask.sum(-1).tolist() == [3, 5]


@pytest.mark.parametrize(
    ("row", "cut", "has_end"),
    [
        ([5, 91, 6, 2], [5, 91, 0, 0], False),
        ([5, 97, 91, 2], [5, 97, 0, 0], False),  # the last listed id wins wherever it stands
        ([91, 5, 97, 2], [91, 5, 97, 0], False),
        ([5, 2, 91, 6], [5, 2, 91, 0], True),  # even behind the end token
    ],
)
def test_overriding_tokens_decide_the_cut(row, cut, has_end):
    result = cut_after_end(torch.tensor([row]), END, PAD, overriding_ids=(91, 97))
    assert result.ids.tolist() == [cut]
    assert result.has_end.tolist() == [has_end]


def test_left_padding_keeps_order_and_length():
    ids = torch.tensor([[0, 5, 0, 6], [7, 8, 9, 1]])
    assert left_pad(ids, PAD).tolist() == [[0, 0, 5, 6], [7, 8, 9, 1]]
    assert non_pad_lengths(ids, PAD).tolist() == [2, 4]
