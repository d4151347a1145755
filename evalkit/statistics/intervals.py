"""Bootstrap intervals for metrics over summed counts.

Samples are resampled, not mentions; samples that share a cluster (an image asked about several times, several
responses to one item) are resampled together. Every metric of a run is computed from the same resamples.

percentile  the middle 95 % of the resampled values
expanded    the same, of a little more than 95 %: with few clusters the resampled values lie too close together, and
            Student's t instead of the normal quantile, times sqrt(n / (n - 1)), makes up for it (Hesterberg 2015,
            arXiv:1411.5279). Equal to percentile for hundreds of clusters. The default
bca         bias-corrected and accelerated (Efron 1987), at the same expanded level. It needs a value inside the range
            of the resampled ones and a jackknife that varies; without, the limits are the expanded ones
exact       at 0 or 100 percent all resamples agree and the bootstrap interval has zero width: Clopper-Pearson's limit
            for the share of clusters that would have moved the value, e.g. [0, 3.8] for 0 % of 96 items

`Interval.method` says which one a pair of limits comes from. Coverage of the methods by simulation: docs/statistics.md.

    >>> accuracy = Metric("accuracy", "100 * correct / items", higher_is_better=True)
    >>> rows = [{"correct": 1, "items": 1}] * 60 + [{"correct": 0, "items": 1}] * 40
    >>> interval(accuracy, rows)
    Interval(value=60.0, low=50.0, high=70.0, method='expanded')
"""

import math
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import NormalDist
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from evalkit.errors import UsageError
from evalkit.metrics import Array, Metric, count_matrix
from evalkit.statistics.resampling import shared_resampled_sums

Method = Literal["expanded", "percentile", "bca"]
METHOD: Method = "expanded"
LEVEL = 0.95
RESAMPLES = 10_000
SAMPLE = 512  # values that say where the tails of all begin

_NORMAL = NormalDist()


@dataclass(frozen=True, slots=True)
class Interval:
    """A value with its limits, in the metric's unit.

    value   None where the metric is undefined (empty denominator)
    low     None, as `high`, with fewer than two clusters or where too many resamples are undefined
    method  "expanded" | "percentile" | "bca" | "exact", or None without limits
    """

    value: float | None
    low: float | None = None
    high: float | None = None
    method: str | None = None

    def as_dict(self) -> dict[str, Any]:
        """The fields as JSON, for `metrics.json`."""
        return asdict(self)

    def text(self, digits: int = 1) -> str:
        """As printed: "8.4 [7.1, 9.8]", "8.4" without limits, "-" where the value is undefined."""
        return " ".join(filter(None, (self.value_text(digits), self.limits_text(digits))))

    def value_text(self, digits: int = 1) -> str:
        """The value alone: "8.4"."""
        return "-" if self.value is None else f"{self.value:z.{digits}f}"  # z: a small loss is 0.0, not -0.0

    def limits_text(self, digits: int = 1) -> str:
        """The limits alone: "[7.1, 9.8]"; "" without."""
        if self.value is None or self.low is None or self.high is None:
            return ""
        return f"[{self.low:z.{digits}f}, {self.high:z.{digits}f}]"


def interval(
    metric: Metric,
    rows: Sequence[Mapping[str, float]],
    clusters: Sequence[Hashable] | None = None,
    level: float = LEVEL,
    resamples: int = RESAMPLES,
    method: Method = METHOD,
    seed: int = 0,
) -> Interval:
    """A metric with its bootstrap interval.

    Args:
        metric: formula over summed counts.
        rows: counts of each scored sample.
        clusters: what to resample, one per row; rows with the same cluster stay together. None: every row by itself.
        level: nominal coverage, 0.95 for 95 %.
        resamples: number of bootstrap draws.
        method: how limits are read off the resampled values.
        seed: of the draws; the same rows in any order give the same interval.
    """
    return intervals([metric], rows, clusters, level, resamples, method, seed)[metric.name]


def intervals(
    metrics: Sequence[Metric],
    rows: Sequence[Mapping[str, float]],
    clusters: Sequence[Hashable] | None = None,
    level: float = LEVEL,
    resamples: int = RESAMPLES,
    method: Method = METHOD,
    seed: int = 0,
) -> dict[str, Interval]:
    """All metrics of a run by name, from shared resamples; arguments as for `interval`."""
    if not 0 < level < 1 or resamples < 1:
        raise UsageError(f"level must lie in (0, 1) and resamples be at least 1; got {level}, {resamples}")
    names, matrix = cluster_counts(metrics, rows, clusters)
    (draws,) = drawn([matrix], resamples, seed)
    return {metric.name: limits(metric, names, matrix, draws, level, method) for metric in metrics}


def cluster_counts(
    metrics: Sequence[Metric], rows: Sequence[Mapping[str, float]], clusters: Sequence[Hashable] | None
) -> tuple[list[str], Array]:
    """Names of the counts that metrics are made of, and these per cluster, shape (clusters, counts)."""
    names = list(dict.fromkeys(name for metric in metrics for name in metric.counts))
    return names, cluster_sums(count_matrix(rows, names), clusters)


def drawn(matrices: Sequence[Array], resamples: int = RESAMPLES, seed: int = 0) -> list[Array | None]:
    """Resampled sums of counts per cluster, see `shared_resampled_sums`; None for a single cluster."""
    sums = iter(shared_resampled_sums([matrix for matrix in matrices if len(matrix) > 1], resamples, seed))
    return [next(sums) if len(matrix) > 1 else None for matrix in matrices]


def cluster_sums(matrix: Array, clusters: Sequence[Hashable] | None) -> Array:
    """Rows summed per cluster, shape (clusters, counts), in order of first appearance.

    Raises:
        UsageError: if there is not one cluster per row.
    """
    if clusters is None:
        return matrix
    if len(clusters) != len(matrix):
        raise UsageError(f"expected one cluster per row: {len(matrix)} rows, {len(clusters)} clusters")
    return numbered_sums(matrix, *cluster_numbers(clusters))


def cluster_numbers(clusters: Iterable[Hashable]) -> tuple[NDArray[np.intp], int]:
    """The number of each row's cluster, counted from 0 in order of first appearance, and how many there are."""
    index: dict[Hashable, int] = {}
    numbers = np.array([index.setdefault(cluster, len(index)) for cluster in clusters], dtype=np.intp)
    return numbers, len(index)


def numbered_sums(matrix: Array, numbers: NDArray[np.intp], clusters: int) -> Array:
    """`cluster_sums` of rows whose clusters are numbered."""
    if not matrix.shape[1]:
        return np.zeros((clusters, 0))
    return np.stack([np.bincount(numbers, column, minlength=clusters) for column in matrix.T], axis=1)


def evaluate(metric: Metric, names: Sequence[str], sums: Array) -> Array:
    """The metric of each row of a matrix of sums whose columns are `names`."""
    return metric.evaluate({name: sums[..., column] for column, name in enumerate(names) if name in metric.counts})


def jackknife(metric: Metric, names: Sequence[str], matrix: Array) -> Array:
    """The metric with each row left out in turn, shape (rows,)."""
    return evaluate(metric, names, matrix.sum(axis=0) - matrix)


def value_of(metric: Metric, names: Sequence[str], matrix: Array) -> float | None:
    """The metric over all rows; None where it is undefined."""
    value = evaluate(metric, names, matrix.sum(axis=0)).item()
    return None if np.isnan(value) else value


def limits(
    metric: Metric,
    names: Sequence[str],
    matrix: Array,
    draws: Array | None,
    level: float = LEVEL,
    method: Method = METHOD,
) -> Interval:
    """A metric with its interval, from resamples that were drawn before.

    Args:
        names: of the counts, the columns of `matrix` and `draws`.
        matrix: counts per cluster, shape (clusters, counts).
        draws: sums of the resamples, shape (resamples, counts); None for a single cluster, which has no interval.
    """
    value = value_of(metric, names, matrix)
    if value is None or draws is None:
        return Interval(value)
    values = evaluate(metric, names, draws)
    undefined = np.isnan(values)
    defined = values[~undefined] if undefined.any() else values
    if metric.unit == "percent" and value in (0.0, 100.0) and np.all(defined == value):
        informative = int(np.sum(~np.isnan(evaluate(metric, names, matrix))))
        if informative == 0:  # no row has a value of its own, so the metric is not a share of rows
            return Interval(value)
        return Interval(value, *exact_limits(value, informative, level), "exact")
    if len(defined) < level * len(values):  # the limits would describe the lucky resamples only
        return Interval(value)
    return read_limits(value, defined, lambda: jackknife(metric, names, matrix), len(matrix), level, method)


def read_limits(
    value: float, values: Array, left_out: Callable[[], Array], clusters: int, level: float, method: Method
) -> Interval:
    """The interval that a method reads off resampled values.

    Args:
        values: of the resamples, without nan.
        left_out: makes the jackknife values, called for "bca" alone.
        clusters: number of independent rows behind the values.
    """
    tail = (1 - level) / 2 if method == "percentile" else expanded_tail(level, clusters)
    shares = bca_quantiles(value, values, left_out(), tail) if method == "bca" else None
    used = "expanded" if method == "bca" and shares is None else method
    low, high = _quantiles(values, shares or (tail, 1 - tail))
    return Interval(value, low, high, used)


def _quantiles(values: Array, shares: tuple[float, float]) -> list[float]:
    """Two quantiles, bit by bit those of np.quantile, which takes more than twice as long."""
    last = len(values) - 1
    quantiles = []
    for place in (share * last for share in shares):
        low = min(int(place), last)
        below, above = _neighbours(values, low)
        part = place - low
        quantiles.append(below + (above - below) * part if part < 0.5 else above - (above - below) * (1 - part))
    return quantiles


def _neighbours(values: Array, low: int) -> tuple[float, float]:
    """The values at a place and behind it in ascending order; the last one has none behind it but itself."""
    count = len(values)
    high, largest = min(low + 1, count - 1), low > count // 2
    part = _end(values, count - low if largest else high + 1, largest)
    before = count - len(part) if largest else 0
    ordered = np.partition(part, sorted({low - before, high - before}))
    return ordered[low - before].item(), ordered[high - before].item()


def _end(values: Array, needed: int, largest: bool) -> Array:
    """The `needed` smallest or largest values, and a few more: all beyond one that a small sample names.

    So few only if the values are in random order, as resamples are; if they turn out too few, these are all values.
    """
    if len(values) < 8 * SAMPLE or needed > len(values) // 16:
        return values
    sample = np.sort(values[:SAMPLE])
    rank = needed * SAMPLE // len(values) + SAMPLE // 32
    few: Array = values[values >= sample[-1 - rank]] if largest else values[values <= sample[rank]]
    return few if len(few) >= needed else values


def expanded_tail(level: float, clusters: int) -> float:
    """Share to leave out at each end so that few clusters give a wide enough interval (Hesterberg 2015).

    >>> round(expanded_tail(0.95, 16), 4), round(expanded_tail(0.95, 1000), 4)
    (0.0139, 0.0248)
    """
    t = student_t((1 + level) / 2, clusters - 1)
    return math.erfc(math.sqrt(clusters / (clusters - 1) / 2) * t) / 2  # the normal cdf would round 1e-72 to 0


def student_t(share: float, degrees: int) -> float:
    """Quantile of Student's t; closed forms for 1 and 2 degrees of freedom, above them Hill's expansion (0.5 % at 3).

    >>> round(student_t(0.975, 15), 3)
    2.131
    """
    if degrees == 1:
        return math.tan(math.pi * (share - 0.5))
    if degrees == 2:
        return (2 * share - 1) / math.sqrt(2 * share * (1 - share))
    z = _NORMAL.inv_cdf(share)
    terms = (
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
        (79 * z**9 + 776 * z**7 + 1482 * z**5 - 1920 * z**3 - 945 * z) / 92160,
    )
    quantile: float = z + sum(term / degrees**power for power, term in enumerate(terms, 1))
    return quantile


def exact_limits(value: float, clusters: int, level: float) -> tuple[float, float]:
    """Clopper-Pearson limits, in percent, of a share seen in none (value 0) or all (value 100) of the clusters."""
    room: float = 100 * (1 - ((1 - level) / 2) ** (1 / clusters))
    return (0.0, room) if value == 0 else (100 - room, 100.0)


def bca_quantiles(value: float, values: Array, left_out: Array, tail: float) -> tuple[float, float] | None:
    """Which quantiles of the resampled values are the BCa limits (Efron and Tibshirani 1993, section 14.3).

    Args:
        value: the metric of the data.
        values: of the resamples, without nan.
        left_out: of the jackknife.
        tail: share to leave out at each end, 0.025 for 95 %.
    Returns:
        Two shares, or None where BCa does not exist: the value lies outside the resampled ones, a jackknife value is
        undefined, or the jackknife does not vary.
    """
    below = (np.mean(values < value) + np.mean(values <= value)).item() / 2
    if not 0 < below < 1 or np.any(np.isnan(left_out)):
        return None
    influence = np.mean(left_out) - left_out
    squares = np.sum(influence**2).item()
    if squares == 0:
        return None
    bias = _NORMAL.inv_cdf(below)
    acceleration = np.sum(influence**3).item() / (6 * squares**1.5)

    def quantile(z: float) -> float:
        shifted = bias + z
        return _NORMAL.cdf(bias + shifted / (1 - acceleration * shifted))

    z = _NORMAL.inv_cdf(tail)
    return quantile(z), quantile(-z)  # not of 1 - tail: two clusters leave a tail of 1e-72, and 1 - 1e-72 is 1
