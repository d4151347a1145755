"""Rows of a cache, repeated and grown; tokens that prompts begin with."""

import pytest
import torch
from torch import Tensor

from evalkit.engines.model.prefixes import row_cache
from evalkit.engines.model.prefixes.sharing import common_length

HEADS, SIZE = 2, 3


def numbered(*columns: int) -> Tensor:
    """(1, HEADS, columns, SIZE) with the same number all over a column."""
    return torch.tensor(columns, dtype=torch.float32)[None, None, :, None].expand(1, HEADS, -1, SIZE).clone()


def seen(part: Tensor) -> list[list[int]]:
    return [[int(number) for number in row] for row in part[:, 0, :, 0]]


def test_repeated_rows_grow_apart() -> None:
    pair = torch.cat([numbered(1, 2), numbered(3, 4)])
    cache = row_cache.repeated([(pair, pair)], 2)
    added = torch.cat([numbered(n) for n in (5, 6, 7, 8)])
    assert seen(cache.update(added, added, 0)[0]) == [[1, 2, 5], [1, 2, 6], [3, 4, 7], [3, 4, 8]]


def test_growth_beyond_the_spare_room_keeps_every_column() -> None:
    cache = row_cache.repeated([(numbered(0), numbered(0))], 1)
    for n in range(1, 2 * row_cache.SPARE + 3):
        keys, _ = cache.update(numbered(n), numbered(n), 0)
    assert seen(keys) == [list(range(2 * row_cache.SPARE + 3))]


@pytest.mark.parametrize(
    ("rows", "length"),
    [
        ([(1, 2, 3)], 3),
        ([(1, 2, 3), (1, 2, 4, 5)], 2),
        ([(1, 2), (1, 2, 3)], 2),
        ([(1, 2, 3), (1, 2, 3)], 3),
        ([(1, 9), (2, 9)], 0),
        ([(1, 2, 7), (1, 2, 8), (1, 3)], 1),
        ([(), (1,)], 0),
    ],
)
def test_common_length(rows: list[tuple[int, ...]], length: int) -> None:
    assert common_length(rows) == common_length(rows[::-1]) == length
