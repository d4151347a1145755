"""Rows that look into one pool end in one column and keep their prefix where another has its tail."""

import torch
from torch import Tensor

from evalkit.engines.model.prefixes import pool, row_cache
from evalkit.engines.model.prefixes.pool import Pool

HEADS, SIZE = 2, 3


def numbered(*columns: int) -> Tensor:
    """(1, HEADS, columns, SIZE) with the same number all over a column."""
    return torch.tensor(columns, dtype=torch.float32)[None, None, :, None].expand(1, HEADS, -1, SIZE).clone()


def seen(part: Tensor) -> list[list[int]]:
    return [[int(number) for number in row] for row in part[:, 0, :, 0]]


def pooled(*prefixes: Tensor, room: int = 0) -> Pool:
    """Each prefix in full, keys and values alike, in one layer."""
    return Pool([[(part, part)] for part in prefixes], [part.shape[2] for part in prefixes], room)


def test_rows_end_in_the_same_column_and_prefixes_stay_where_other_rows_have_tails() -> None:
    held = pooled(numbered(1, 2, 3, 4), numbered(5, 6))
    cache = held.rows([0, 1, 1], [4, 2, 2], [1, 3, 1])
    assert cache.get_seq_length() == 2  # of five columns, three are still to come for the row with the longest tail
    added = torch.cat([numbered(-1, -1, 11), numbered(21, 22, 23), numbered(-1, -1, 31)])
    keys, values = cache.update(added, added, 0)
    assert seen(keys) == seen(values) == [[1, 2, 3, 4, 11], [5, 6, 21, 22, 23], [5, 5, 5, 6, 31]]  # first two: nothing
    more = torch.cat([numbered(12), numbered(24), numbered(32)])
    keys, _ = cache.update(more, more, 0)
    assert seen(keys) == [[1, 2, 3, 4, 11, 12], [5, 6, 21, 22, 23, 24], [5, 5, 5, 6, 31, 32]]
    assert cache.get_mask_sizes(1, 0) == (7, 0)


def test_every_layer_has_its_own_keys_and_values() -> None:
    layers = [(numbered(1, 2), numbered(3, 4)), (numbered(5, 6), numbered(7, 8))]
    cache = Pool([layers], [2], 0).rows([0, 0], [2, 2], [1, 1])
    for step, width in ((9, 3), (10, 4)):
        added = torch.cat([numbered(step), numbered(-step)])
        for number in (0, 1):
            keys, values = cache.update(added, 10 * added, number)
            assert keys.shape == values.shape == (2, HEADS, width, SIZE)
    assert (seen(keys), seen(values)) == ([[5, 6, 9, 10], [5, 6, -9, -10]], [[7, 8, 90, 100], [7, 8, -90, -100]])


def test_prefix_is_used_as_far_as_asked_for_and_lies_in_the_pool_from_then_on() -> None:
    layers: row_cache.Layers = [(numbered(1, 2, 3, 4), numbered(1, 2, 3, 4))]
    held = Pool([layers], [2], 1)
    assert seen(held.rows([0], [2], [1]).update(numbered(9), numbered(9), 0)[0]) == [[1, 2, 9]]
    assert seen(layers[0][0]) == [[1, 2]]
    assert layers[0][0].data_ptr() == held.layers[0][0].data_ptr()


def test_rows_asked_for_later_begin_with_the_same_prefixes() -> None:
    held = pooled(numbered(1, 2), numbered(3), room=4)
    held.rows([0, 1], [2, 1], [1, 1]).update(torch.cat([numbered(7), numbered(8)]), torch.ones(2, HEADS, 1, SIZE), 0)
    keys, _ = held.rows([1, 0], [1, 2], [2, 2]).update(*[torch.cat([numbered(4, 5), numbered(6, 7)])] * 2, 0)
    assert seen(keys) == [[3, 3, 4, 5], [1, 2, 6, 7]]


def test_growth_beyond_the_room_keeps_every_column() -> None:
    held = pooled(numbered(0))
    cache = held.rows([0, 0], [1, 1], [1, 1])
    for n in range(1, 3 * pool.STEPS):
        keys, _ = cache.update(*[torch.cat([numbered(n), numbered(-n)])] * 2, 0)
    assert seen(keys) == [list(range(3 * pool.STEPS)), [-n for n in range(3 * pool.STEPS)]]


def test_some_rows_are_taken_out() -> None:
    held = pooled(numbered(1), numbered(2))
    cache = held.rows([0, 1, 0], [1, 1, 1], [1, 1, 1])
    cache.update(*[torch.cat([numbered(3), numbered(4), numbered(5)])] * 2, 0)
    keys, values = cache.layers[0].columns(torch.tensor([1, 2]))
    assert seen(keys) == seen(values) == [[2, 4], [1, 5]]
