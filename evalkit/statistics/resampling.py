"""Sums of rows under bootstrap resamples: drawn once for all matrices with as many rows, added up in one product."""

import math
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from evalkit.metrics import Array

BLOCK = 2_000_000  # weights held at a time: 16 MB, so that a block stays near the cache
REMEMBERED = 12_000_000  # weights that are kept for one number of rows: 48 MB, of 1,200 rows in a run's resamples
COUNTED = 2**15  # draws that one call counts; a call for each resample costs more where rows are few
EXACT = 2**24  # whole numbers below it are exact in single precision
WHOLE = 2**53  # and in double precision
DISTINCT_SHARE = 16  # multinomial draws over distinct rows beat index draws below 1 distinct row in 16 (measured)


def resampled_sums(matrix: Array, resamples: int, rng: np.random.Generator) -> Array:
    """Column sums of bootstrap draws of the rows, shape (resamples, columns).

    Rows that are alike are drawn together: how often each distinct row comes up is multinomial, which is the same
    distribution and much less work. The rows' order does not matter.
    """
    distinct, multiplicity = distinct_rows(matrix)
    if _few(distinct, len(matrix)):
        return _multinomial_sums(distinct, multiplicity, resamples, rng)
    rows = np.repeat(distinct, multiplicity, axis=0)
    return weighted_sums(rows, _index_weights(len(rows), resamples, rng), resamples, len(rows))


def shared_resampled_sums(matrices: Sequence[Array], resamples: int, seed: int) -> list[Array]:
    """`resampled_sums` of every matrix, each as from a generator of its own with this seed.

    The draws of distinct rows depend on their number alone: matrices with as many rows share them, so that they are
    made once, and all columns are summed in one product. Those of few rows are remembered: the next call with as many
    rows, say for the truncation front of a run whose metrics were resampled just before, makes none.
    """
    sums: dict[int, Array] = {}
    alike: dict[int, list[tuple[int, Array]]] = {}
    for index, matrix in enumerate(matrices):
        distinct, multiplicity = distinct_rows(matrix)
        if _few(distinct, len(matrix)):
            sums[index] = _multinomial_sums(distinct, multiplicity, resamples, np.random.default_rng(seed))
        else:
            alike.setdefault(len(matrix), []).append((index, np.repeat(distinct, multiplicity, axis=0)))
    for rows, members in alike.items():
        sums |= products(members, _seeded_weights(rows, resamples, seed), resamples)
    return [sums[index] for index in range(len(matrices))]


def distinct_rows(matrix: Array) -> tuple[Array, NDArray[np.intp]]:
    """The distinct rows in ascending order, and how often each comes up: numpy's `unique` along axis 0.

    Rows of whole numbers are sorted by the few numbers that their columns spell, as many digits in each as a double
    holds: that takes a third of the time, a sixth where the columns are few.
    """
    low = matrix.min(axis=0, initial=0.0)
    widths = [width + 1 for width in (matrix.max(axis=0, initial=0.0) - low).tolist()]
    if len(matrix) and max(widths, default=WHOLE) < WHOLE and np.array_equal(matrix, np.rint(matrix)):
        keys = [
            (matrix[:, start:stop] - low[start:stop])
            @ np.array([math.prod(widths[column + 1 : stop]) for column in range(start, stop)])
            for start, stop in _spelled_together(widths)
        ]
        order = np.lexsort(keys[::-1])
        new = np.any([np.diff(key[order], prepend=-1.0) != 0 for key in keys], axis=0)
        starts = np.flatnonzero(new)
        return matrix[order[starts]], np.diff(starts, append=len(order))
    distinct, multiplicity = np.unique(matrix, axis=0, return_counts=True)
    return distinct, multiplicity


def _spelled_together(widths: Sequence[float]) -> Iterator[tuple[int, int]]:
    """Runs of columns that have less than WHOLE combinations of values each."""
    start, combinations = 0, 1.0
    for column, width in enumerate(widths):
        combinations *= width
        if combinations >= WHOLE:
            yield start, column
            start, combinations = column, width
    yield start, len(widths)


def products(members: Sequence[tuple[int, Array]], weights: Iterable[NDArray[Any]], resamples: int) -> dict[int, Array]:
    """Key -> `weighted_sums` of its matrix, all under the same weights, in one product."""
    columns = np.hstack([matrix for _, matrix in members])
    together = weighted_sums(columns, weights, resamples, len(columns))
    ends = np.cumsum([matrix.shape[1] for _, matrix in members]).tolist()
    return {key: together[:, end - matrix.shape[1] : end] for (key, matrix), end in zip(members, ends, strict=True)}


def weighted_sums(matrix: Array, weights: Iterable[NDArray[Any]], resamples: int, drawn: int) -> Array:
    """Sums of the rows under blocks of weights, shape (resamples, columns); column by column in memory.

    Whole numbers are summed in single precision where no sum can pass the last whole number that it holds exactly.
    Columns that are alike, as those of a front's cuts often are, are summed once.

    Args:
        matrix: shape (rows, columns).
        weights: whole numbers from 0, blocks of shape (some resamples, rows) that make `resamples` together.
        drawn: what the weights of one resample add up to at most.
    """
    exact = np.abs(matrix).max(initial=0.0) * drawn < EXACT and np.array_equal(matrix, np.rint(matrix))
    dtype: type[Any] = np.float32 if exact else np.float64
    order: Literal["K", "C"] = "K" if exact else "C"  # rounding depends on it
    columns: NDArray[Any] = np.ascontiguousarray(matrix.T, dtype=dtype)
    index: dict[bytes, int] = {}
    alike = [index.setdefault(column.tobytes(), len(index)) for column in columns]
    distinct = columns[[alike.index(number) for number in range(len(index))]]
    sums = np.empty((len(columns), resamples))
    start = 0
    for block in weights:
        of_distinct = distinct @ block.astype(dtype, order=order, copy=False).T
        for column, number in enumerate(alike):
            sums[column, start : start + len(block)] = of_distinct[number]
        start += len(block)
    return sums.T


def _few(distinct: Array, rows: int) -> bool:
    return len(distinct) * DISTINCT_SHARE <= rows


def _blocks(resamples: int, width: int) -> Iterator[int]:
    """Sizes of blocks of resamples that keep at most BLOCK weights in memory."""
    size = max(1, BLOCK // max(1, width))
    while resamples > 0:
        yield min(size, resamples)
        resamples -= size


def _multinomial_sums(
    distinct: Array, multiplicity: NDArray[np.intp], resamples: int, rng: np.random.Generator
) -> Array:
    rows = int(multiplicity.sum())
    weights = (rng.multinomial(rows, multiplicity / rows, size=size) for size in _blocks(resamples, len(multiplicity)))
    return weighted_sums(distinct, weights, resamples, rows)


def _seeded_weights(rows: int, resamples: int, seed: int) -> Iterable[NDArray[Any]]:
    """`_index_weights` from a generator with this seed."""
    if rows * resamples <= REMEMBERED:
        return _remembered_weights(rows, resamples, seed)
    return _index_weights(rows, resamples, np.random.default_rng(seed))


@lru_cache(maxsize=1)
def _remembered_weights(rows: int, resamples: int, seed: int) -> tuple[NDArray[np.float32], ...]:
    weights = _index_weights(rows, resamples, np.random.default_rng(seed))
    return tuple(block.astype(np.float32, order="F") for block in weights)  # as `weighted_sums` reads them


def _index_weights(rows: int, resamples: int, rng: np.random.Generator) -> Iterator[NDArray[np.uint8]]:
    """How often each of so many rows is drawn, in blocks of resamples.

    A byte holds it: of up to 255 rows none can come up 256 times, and of more one does in 1 of 10**500 resamples.
    """
    dtype = np.uint16 if rows <= 2**16 else np.uint32
    at_once = max(1, COUNTED // rows)
    offsets = rows * np.arange(at_once)[:, None]
    for size in _blocks(resamples, rows):
        drawn = rng.integers(0, rows, size=(size, rows), dtype=dtype)
        weights = np.empty((size, rows), dtype=np.uint8)
        for start in range(0, size, at_once):
            some = drawn[start : start + at_once]
            keys = (some + offsets[: len(some)]).ravel()
            weights[start : start + at_once] = np.bincount(keys, minlength=some.size).reshape(some.shape)
        yield weights
