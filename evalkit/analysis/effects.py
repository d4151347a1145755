"""What changed from one run to another in every metric, over all items that both scored and within their groups."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from evalkit.metrics import Array, Metric
from evalkit.runs.run import MAX_GROUPS
from evalkit.schema import Json
from evalkit.statistics.intervals import Interval, Method, cluster_numbers, evaluate, numbered_sums, value_of
from evalkit.statistics.paired import McNemar, mcnemar, paired_tests
from evalkit.statistics.power import Power, paired_power


@dataclass(frozen=True, slots=True)
class Effect:
    """What changed in one metric from the base run to the other.

    base, other  values over the items scored in both
    difference   other - base, in the metric's unit
    p, p_holm    approximate randomisation; p_holm is corrected over all metrics and pairs of one `compare`
    mcnemar      for metrics that are 0 or 100 on every item. It takes items for independent: where items share an image
                 `p` is the one to use
    better, worse, unchanged   items by their own value; None for a metric without a better direction, or one that no
                 item has by itself
    power        what a comparison of this size can see
    """

    metric: Metric
    base: float | None
    other: float | None
    difference: Interval
    p: float | None
    p_holm: float | None
    mcnemar: McNemar | None
    better: int | None
    worse: int | None
    unchanged: int | None
    power: Power

    def significant(self) -> bool:
        """Whether the corrected p-value lies below the comparison's alpha, 1 - its level."""
        return self.p_holm is not None and self.p_holm < self.power.alpha

    def improved(self) -> bool | None:
        """Whether the difference points in the better direction; None without a direction or a difference."""
        if self.metric.higher_is_better is None or not self.difference.value:
            return None
        return (self.difference.value > 0) == self.metric.higher_is_better

    def verdict(self) -> str:
        """In words: "better", "worse", "differs" (no direction), "no difference shown", "undefined"."""
        if self.difference.value is None:
            return "undefined"
        if not self.significant():
            return "no difference shown"
        improved = self.improved()
        return "differs" if improved is None else "better" if improved else "worse"


@dataclass(frozen=True, slots=True)
class Part:
    """Some of the items that two runs both scored: all of them, or those with one value of a group.

    rows      of these items among the shared ones
    numbers   of the items' clusters, see `cluster_numbers`
    """

    group: str | None
    value: str
    rows: slice | NDArray[np.intp]
    numbers: NDArray[np.intp]
    clusters: int


@dataclass(frozen=True, slots=True)
class Paired:
    """Counts of two runs on the same items, shape (items, counts), and summed per cluster, shape (clusters, counts)."""

    base: Array
    other: Array
    base_sums: Array
    other_sums: Array


@dataclass(frozen=True, slots=True)
class Frame:
    """Items of a base that other runs scored too.

    rows   of these items in the base's counts
    parts  all of the items first, then the values of their groups
    """

    items: list[str]
    rows: slice | NDArray[np.intp]
    parts: tuple[Part, ...]

    @classmethod
    def of(
        cls,
        items: list[str],
        rows: slice | NDArray[np.intp],
        clusters: Sequence[str],
        groups: Sequence[Mapping[str, Json]],
    ) -> "Frame":
        """From the cluster and, unless groups are left out, the groups of each item."""
        numbers, count = cluster_numbers(clusters)
        whole = Part(None, "", slice(None), numbers, count)
        return cls(items, rows, (whole, *_group_parts(numbers, groups)))

    def paired(self, base: Array, other: Array) -> list[Paired]:
        """The counts of each part.

        Args:
            base: of all items of the base, shape (items, counts).
            other: of the other run's, of this frame's items in their order.
        """
        ours = base[self.rows]
        return [
            Paired(
                ours[part.rows],
                other[part.rows],
                numbered_sums(ours[part.rows], part.numbers, part.clusters),
                numbered_sums(other[part.rows], part.numbers, part.clusters),
            )
            for part in self.parts
        ]


def _group_parts(numbers: NDArray[np.intp], groups: Sequence[Mapping[str, Json]]) -> Iterator[Part]:
    for name in dict.fromkeys(name for group in groups for name in group):
        rows_of: dict[str, list[int]] = {}
        for row, group in enumerate(groups):
            value = group.get(name)
            if value not in (None, ""):
                rows_of.setdefault(str(value), []).append(row)
        if 1 < len(rows_of) <= MAX_GROUPS:
            for value, rows in rows_of.items():
                yield Part(name, value, np.array(rows), *cluster_numbers(numbers[rows].tolist()))


def paired_effects(
    metrics: Sequence[Metric],
    names: Sequence[str],
    pairs: Sequence[Paired],
    level: float,
    resamples: int,
    method: Method,
    seed: int,
) -> Iterator[list[Effect]]:
    """Effects of every pair, one per metric, without a correction of their p-values.

    Args:
        names: of the counts, the columns of each pair.
    """
    sums = [(pair.base_sums, pair.other_sums) for pair in pairs]
    for pair, tests in zip(pairs, paired_tests(metrics, names, sums, level, resamples, method, seed), strict=True):
        yield [
            _effect(metric, names, pair, interval, p, 1 - level)
            for metric, interval, p in zip(metrics, tests.intervals, tests.p_values, strict=True)
        ]


def _effect(
    metric: Metric, names: Sequence[str], pair: Paired, interval: Interval, p: float | None, alpha: float
) -> Effect:
    base, other = evaluate(metric, names, pair.base), evaluate(metric, names, pair.other)
    better, worse, unchanged = _directions(metric, base, other)
    is_mean = _is_mean(base, value_of(metric, names, pair.base)) and _is_mean(
        other, value_of(metric, names, pair.other)
    )
    return Effect(
        metric,
        value_of(metric, names, pair.base_sums),
        value_of(metric, names, pair.other_sums),
        interval,
        p,
        None,
        mcnemar(base, other) if is_mean else None,
        better,
        worse,
        unchanged,
        paired_power(metric, names, pair.base_sums, pair.other_sums, len(pair.base), alpha),
    )


def _is_mean(each: Array, whole: float | None) -> bool:
    """Whether a metric is the mean of its items' values: only then is it a share of right items."""
    known = each[~np.isnan(each)]
    return whole is not None and known.size > 0 and abs(known.mean().item() - whole) <= 1e-9 * max(1.0, abs(whole))


def _directions(metric: Metric, base: Array, other: Array) -> tuple[int, int, int] | tuple[None, None, None]:
    """Items better, worse and unchanged; one without a value of its own in both runs is none of them.

    None where no item has a value of its own: a metric that only all items together define.
    """
    if metric.higher_is_better is None or np.isnan(base).all() or np.isnan(other).all():
        return None, None, None
    change = (other - base) if metric.higher_is_better else (base - other)
    return int(np.sum(change > 0)), int(np.sum(change < 0)), int(np.sum(change == 0))
