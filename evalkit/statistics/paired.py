"""Paired statistics of two runs on the same items: counts in, differences and p-values out.

Rows of the two matrices belong together: row k of `base` and of `other` are the counts of the same cluster (an item, or
all items that share an image). Everything else is kept in pairs, so that what both runs find hard cancels.

bootstrap      the pairs are resampled; gives the interval of a difference
randomisation  under the hypothesis that the runs are alike, a pair may be swapped (Noreen 1989); gives the p-value,
               a mid-p: on yes/no items ties are many, and counting them whole makes the test reject too rarely
McNemar        exact and mid-p, for items that are right or wrong (McNemar 1947; Fagerland et al. 2013)
Holm           p-values of a family of tests, so that the chance of any false finding stays below the level (Holm 1979)
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import comb
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evalkit.metrics import Array, Metric
from evalkit.statistics.intervals import Interval, Method, evaluate, read_limits
from evalkit.statistics.resampling import (
    BLOCK,
    DISTINCT_SHARE,
    distinct_rows,
    products,
    shared_resampled_sums,
    weighted_sums,
)

HELD = 8_000_000  # sums of resamples held at a time: 64 MB


def difference(metric: Metric, names: Sequence[str], base: Array, other: Array) -> Array:
    """other - base of a metric, from sums whose last axis is `names`."""
    result: Array = evaluate(metric, names, other) - evaluate(metric, names, base)
    return result


def difference_intervals(
    metrics: Sequence[Metric],
    names: Sequence[str],
    base: Array,
    other: Array,
    level: float,
    resamples: int,
    method: Method,
    seed: int,
) -> list[Interval]:
    """Paired bootstrap of other - base for every metric, from shared resamples.

    Args:
        names: of the counts, the columns of `base` and `other`.
        base: counts per cluster, shape (clusters, counts).
        other: counts of the other run, same shape, same clusters.
    """
    (draws,) = shared_resampled_sums([np.hstack([base, other])], resamples, seed) if len(base) > 1 else (None,)
    return [_interval(metric, names, base, other, draws, level, method) for metric in metrics]


@dataclass(frozen=True, slots=True)
class PairedTests:
    """Intervals and p-values of the differences between two runs, one per metric."""

    intervals: list[Interval]
    p_values: list[float | None]


def paired_tests(
    metrics: Sequence[Metric],
    names: Sequence[str],
    pairs: Sequence[tuple[Array, Array]],
    level: float,
    resamples: int,
    method: Method,
    seed: int,
) -> Iterator[PairedTests]:
    """`difference_intervals` and `randomisation_p` of many pairs of runs; what they draw alike is drawn once.

    Args:
        pairs: (base, other), each as for `difference_intervals`; clusters may differ from pair to pair.
    """
    at_once = max(1, HELD // max(1, 2 * len(names) * resamples))
    for start in range(0, len(pairs), at_once):
        some = pairs[start : start + at_once]
        resampled = [index for index, (base, _) in enumerate(some) if len(base) > 1]
        draws = dict(
            zip(
                resampled,
                shared_resampled_sums([np.hstack(some[index]) for index in resampled], resamples, seed),
                strict=True,
            )
        )
        moves = _shared_swapped_moves([other - base for base, other in some], resamples, seed)
        for index, (base, other) in enumerate(some):
            yield PairedTests(
                [_interval(metric, names, base, other, draws.get(index), level, method) for metric in metrics],
                [_swapped_p(metric, names, base, other, moves[index]) for metric in metrics],
            )


def _defined(value: Array) -> float | None:
    return None if np.isnan(value) else value.item()


def _interval(
    metric: Metric, names: Sequence[str], base: Array, other: Array, draws: Array | None, level: float, method: Method
) -> Interval:
    value = _defined(difference(metric, names, base.sum(axis=0), other.sum(axis=0)))
    if draws is None:
        return Interval(value)
    values = difference(metric, names, draws[:, : len(names)], draws[:, len(names) :])
    defined = values[~np.isnan(values)]
    if value is None or len(defined) < level * len(values):
        return Interval(value)
    return read_limits(
        value, defined, lambda: left_out_differences(metric, names, base, other), len(base), level, method
    )


def left_out_differences(metric: Metric, names: Sequence[str], base: Array, other: Array) -> Array:
    """Jackknife: other - base with each cluster left out in turn, shape (clusters,)."""
    return difference(metric, names, base.sum(axis=0) - base, other.sum(axis=0) - other)


def randomisation_p(
    metrics: Sequence[Metric], names: Sequence[str], base: Array, other: Array, resamples: int, seed: int
) -> list[float | None]:
    """Two-sided p-value of other - base for every metric by approximate randomisation.

    Each cluster's counts are swapped between the runs with probability 1/2; p is the share of swaps whose difference is
    larger, plus half the share of those as large (the observed one among them). A swap that leaves the metric undefined
    counts as larger.
    """
    (moves,) = _shared_swapped_moves([other - base], resamples, seed)
    return [_swapped_p(metric, names, base, other, moves) for metric in metrics]


def _swapped_p(metric: Metric, names: Sequence[str], base: Array, other: Array, moves: Array) -> float | None:
    """The p-value of one metric from what swaps move over to the base, shape (resamples, columns)."""
    base_sums, other_sums, resamples = base.sum(axis=0), other.sum(axis=0), len(moves)
    value = _defined(difference(metric, names, base_sums, other_sums))
    if not value:
        return value if value is None else 1.0
    swapped = np.abs(difference(metric, names, base_sums + moves, other_sums - moves))
    slack = 1e-9 * max(1.0, abs(value))  # sums of fractions in another order
    smaller = np.sum(swapped < abs(value) - slack).item()
    equal = 1 + np.sum(np.abs(swapped - abs(value)) <= slack).item()
    return float((1 + resamples - smaller - equal / 2) / (1 + resamples))


def _shared_swapped_moves(moves: Sequence[Array], resamples: int, seed: int) -> list[Array]:
    """Sum of a random half of the rows of each matrix, shape (resamples, columns), each drawn with this seed.

    Rows that are alike are drawn together; matrices with as many rows share their draws. Rows that move nothing are
    left out where they are the most: the draws for the others are fewer, though hardly ever shared.
    """
    sums: dict[int, Array] = {}
    alike: dict[int, list[tuple[int, Array]]] = {}
    for index, matrix in enumerate(moves):
        distinct, multiplicity = distinct_rows(matrix)
        moving = np.any(distinct != 0, axis=1)
        moved = int(multiplicity[moving].sum())
        if not moved:
            sums[index] = np.zeros((resamples, matrix.shape[1]))
        elif moving.sum() * DISTINCT_SHARE <= moved:
            weights = _swapped_counts(multiplicity[moving], resamples, np.random.default_rng(seed))
            sums[index] = weighted_sums(distinct[moving], weights, resamples, moved)
        else:
            rows = np.repeat(distinct, multiplicity if 2 * moved > len(matrix) else multiplicity * moving, axis=0)
            alike.setdefault(len(rows), []).append((index, rows))
    for width, members in alike.items():
        sums |= products(members, _coin_weights(width, resamples, np.random.default_rng(seed)), resamples)
    return [sums[index] for index in range(len(moves))]


def _swapped_counts(
    multiplicity: NDArray[np.intp], resamples: int, rng: np.random.Generator
) -> Iterator[NDArray[np.uint32]]:
    """How many of the rows that are alike are swapped, in blocks of resamples: a coin for each row, eight to a byte."""
    lengths = -(-multiplicity // 8)
    ends = np.cumsum(lengths)
    used = np.full(ends[-1], 0xFF, dtype=np.uint8)
    used[ends - 1] >>= (-multiplicity % 8).astype(np.uint8)  # the last byte of a kind has coins that no row needs
    step = max(1, BLOCK // len(used))
    for start in range(0, resamples, step):
        size = min(step, resamples - start)
        coins = np.frombuffer(rng.bytes(size * len(used)), dtype=np.uint8).reshape(size, -1) & used
        yield np.add.reduceat(np.bitwise_count(coins), ends - lengths, axis=1, dtype=np.uint32)


def _coin_weights(width: int, resamples: int, rng: np.random.Generator) -> Iterator[NDArray[Any]]:
    """Which of so many rows are swapped, 0 or 1, in blocks of resamples."""
    step = max(1, BLOCK // width)
    for start in range(0, resamples, step):
        size = min(step, resamples - start)
        bits = np.frombuffer(rng.bytes(-(-size * width // 8)), dtype=np.uint8)
        yield np.unpackbits(bits, count=size * width).reshape(size, width)


@dataclass(frozen=True, slots=True)
class McNemar:
    """Items that only one of two runs has right.

    only_base, only_other  discordant items
    exact                  two-sided binomial p-value
    mid_p                  the same with half the weight of the observed table: less conservative, the recommended one
    """

    only_base: int
    only_other: int
    exact: float
    mid_p: float


def mcnemar(base: Array, other: Array) -> McNemar | None:
    """McNemar's test from per-item values of a metric that is 0 or 100; None where it is anything else.

    Args:
        base: value of each item in percent, nan where it has none, shape (items,).
        other: of the other run.
    """
    known = ~np.isnan(base)
    if not np.array_equal(known, ~np.isnan(other)) or not known.any():
        return None
    base, other = base[known], other[known]
    if not np.isin(base, (0.0, 100.0)).all() or not np.isin(other, (0.0, 100.0)).all():
        return None
    only_base, only_other = int(np.sum(base > other)), int(np.sum(base < other))
    exact, mid_p = discordant_p(only_base, only_other)
    return McNemar(only_base, only_other, exact, mid_p)


def discordant_p(first: int, second: int) -> tuple[float, float]:
    """Exact and mid-p two-sided p-values of McNemar's test.

    >>> discordant_p(1, 8)
    (0.0390625, 0.021484375)
    """
    total, fewer = first + second, min(first, second)
    if total == 0:
        return 1.0, 1.0
    ways = comb(total, fewer)  # integers of any size, so that 10,000 discordant items are exact too
    at_most = _up_to(total, fewer, ways)
    exact = min(1.0, 2 * at_most / 2**total)
    mid_p = 1.0 if first == second else (2 * at_most - ways) / 2**total
    return exact, mid_p


def _up_to(total: int, count: int, ways: int) -> int:
    """In how many ways at most `count` of `total` coins, no more than half, show heads; `ways`: in how many that many.

    Summed from whichever is nearer, none or half of them: up to half it is half of all ways.
    """
    half = total // 2
    if count <= half // 2:
        sum_ = term = 1
        for number in range(count):
            term = term * (total - number) // (number + 1)
            sum_ += term
        return sum_
    beyond, term = 0, ways
    for number in range(count, half):
        term = term * (total - number) // (number + 1)
        beyond += term
    middle = term if total % 2 == 0 else 0  # C(total, half) is counted in both halves
    return ((1 << total) + middle) // 2 - beyond


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """Holm's step-down adjustment; None stays None and is not counted.

    >>> holm([0.01, 0.04, None, 0.03])
    [0.03, 0.06, None, 0.06]
    """
    known = sorted((p, index) for index, p in enumerate(p_values) if p is not None)
    adjusted: list[float | None] = [None] * len(p_values)
    largest = 0.0
    for rank, (p, index) in enumerate(known):
        largest = max(largest, min(1.0, p * (len(known) - rank)))
        adjusted[index] = largest
    return adjusted
