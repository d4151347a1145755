"""Is a run better than its base merely cut short? The difference at equal recall, with a paired bootstrap interval.

The counts of a base are known at several cuts of the same responses: after 0, 1, 2, ... sentences, and whole. Its
*front* is the line through these points, recall on one axis and a rate of hallucination on the other. Between two cuts
the summed counts are mixed, share by share: what is expected if some responses end at the one cut and the others at
the next. A run is compared with the front at its own recall, and nothing else about its length matters.

    recall of the base after cut k = 60, 70;  of the run 65  ->  half of the counts of each cut  ->  a rate to subtract

Recall of the run and recall of every cut vary with the items that were drawn. So each resample draws clusters with the
counts of all cuts *and* of the run, and finds its own place on its own front: the interpolated point is resampled with
everything else. How often the verdicts are right: docs/statistics.md, by simulation.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from evalkit.metrics import Array, Metric
from evalkit.statistics.intervals import Interval, Method, evaluate, read_limits
from evalkit.statistics.power import Power, power_of
from evalkit.statistics.resampling import shared_resampled_sums

SLACK = 1e-9  # recalls that differ by less are equal: sums of fractions in another order


@dataclass(frozen=True)
class Path:
    """The counts of a base at ever later cuts, the whole responses last.

    name    what is counted, e.g. "sentences"
    counts  per cluster, cut and count, shape (clusters, cuts, counts)
    """

    name: str
    counts: Array


@dataclass(frozen=True, slots=True)
class Position:
    """A run beside one front of its base, in one metric.

    level       recall (or whatever is held equal) of the run
    base        the metric of the base there; of its whole responses if it never gets so far
    other       the metric of the run
    difference  other - base
    reached     whether the base ever gets to that recall
    power       what such a comparison can see
    """

    metric: Metric
    path: str
    level: float | None
    base: float | None
    other: float | None
    difference: Interval
    reached: bool
    power: Power

    @property
    def side(self) -> int:
        """1 where the interval lies on the better side of 0, -1 on the worse, else 0."""
        low, high = self.difference.low, self.difference.high
        if low is None or high is None or low <= 0 <= high:
            return 0
        return 1 if (low > 0) == bool(self.metric.higher_is_better) else -1


Verdict = Literal["beyond", "on", "behind", "outside", "undefined"]


@dataclass(frozen=True)
class Standing:
    """A run beside all fronts of its base, in one metric; the first front is the one whose figures are quoted."""

    positions: tuple[Position, ...]

    @property
    def verdict(self) -> Verdict:
        """Which side of the front the run lies on.

        beyond     better than every front of the base, by intervals without 0: no way of stopping earlier explains it
        behind     worse than the first front, by an interval without 0
        outside    its recall is higher than the base ever reaches: there is nothing to compare it with
        undefined  the metric or its interval has no value
        on         anything else
        """
        first = self.positions[0]
        if first.level is None or first.difference.value is None or first.difference.low is None:
            return "undefined"
        if not all(position.reached for position in self.positions):
            return "outside"
        sides = [position.side for position in self.positions]
        if all(side == 1 for side in sides):
            return "beyond"
        return "behind" if sides[0] == -1 else "on"


def mixed_at(levels: Array, sums: Array, target: Array) -> tuple[Array, Array, NDArray[np.bool_]]:
    """Counts of a base at a wanted recall: mixed from the first cut that reaches it and the cut before.

    >>> levels, sums = np.array([[0.0, 60.0, 70.0, 70.0]]), np.array([[[0.0], [4.0], [10.0], [12.0]]])
    >>> [part.tolist() for part in mixed_at(levels, sums, np.array([65.0]))]
    [[[7.0]], [[7.0]], [True]]
    >>> [part.tolist() for part in mixed_at(levels, sums, np.array([70.0]))]
    [[[10.0]], [[12.0]], [True]]

    Args:
        levels: recall after every cut, shape (draws, cuts).
        sums: counts after every cut, shape (draws, cuts, counts).
        target: recall that is wanted, shape (draws,); nan gives nan.
    Returns:
        Counts at the first and at the last cut with that recall, shape (draws, counts) each: they differ only where
        later cuts add nothing to it, and the front is upright. And whether the recall is reached; if not, the counts of
        the last cut.
    """
    enough = levels >= target[:, None] - SLACK
    reached: NDArray[np.bool_] = np.asarray(np.any(enough, axis=1), dtype=bool)
    end = levels.shape[1] - 1
    after = np.where(reached, enough.argmax(axis=1), end)
    equal = np.abs(levels - target[:, None]) <= SLACK
    last = np.where(reached & equal.any(axis=1), end - equal[:, ::-1].argmax(axis=1), after)
    before = np.maximum(after - 1, 0)
    rows = np.arange(len(levels))
    low, high = levels[rows, before], levels[rows, after]
    step = high - low
    inside = reached & (after > 0) & (step > 0)
    share = np.where(inside, np.clip((target - low) / np.where(step > 0, step, 1.0), 0.0, 1.0), 1.0)
    share = np.where(np.isnan(target), np.nan, share)[:, None]
    first: Array = share * sums[rows, after] + (1 - share) * sums[rows, before]
    final: Array = np.where((last > after)[:, None], sums[rows, last], first)
    return first, final, reached


def positions(
    metrics: Sequence[Metric],
    at: Metric,
    names: Sequence[str],
    paths: Sequence[Path],
    others: Sequence[Array],
    items: int,
    level: float,
    resamples: int,
    method: Method,
    seed: int,
) -> list[list[Standing]]:
    """Runs beside all fronts of one base, from shared resamples.

    Args:
        metrics: what is compared.
        at: what is held equal.
        names: of the counts, the last axis of all arrays.
        paths: of the base.
        others: counts of each run, shape (clusters, counts), the same clusters as in the paths.
        items: behind the clusters, for `power`.
    Returns:
        For every run its standing in each metric.
    """
    parts = [path.counts for path in paths] + list(others)
    whole = [part.sum(axis=0)[None] for part in parts]
    draws = _draws(parts, resamples, seed) if len(parts[0]) > 1 else None
    left_out = [sums - part for sums, part in zip(whole, parts, strict=True)]
    runs = []
    for run in range(len(paths), len(parts)):
        table: list[list[Position]] = [[] for _ in metrics]
        for index, path in enumerate(paths):
            point = _Differences(at, names, whole[index], whole[run])
            drawn = None if draws is None else _Differences(at, names, draws[index], draws[run])
            jackknife = _Differences(at, names, left_out[index], left_out[run])
            for row, metric in zip(table, metrics, strict=True):
                values = None if drawn is None else drawn.of(metric)
                row.append(
                    Position(
                        metric,
                        path.name,
                        _number(point.target),
                        _number(point.base(metric)),
                        _number(point.other(metric)),
                        _interval(point.of(metric), values, jackknife.of(metric), level, method),
                        bool(point.reached[0]),
                        power_of(metric.name, jackknife.of(metric), items, 1 - level),
                    )
                )
        runs.append([Standing(tuple(row)) for row in table])
    return runs


def _draws(parts: Sequence[Array], resamples: int, seed: int) -> list[Array]:
    """Resampled sums of arrays over the same clusters: shape (resamples, *rest) of (clusters, *rest)."""
    flat = [part.reshape(len(part), -1) for part in parts]
    (sums,) = shared_resampled_sums([np.hstack(flat)], resamples, seed)
    pieces = np.split(sums, np.cumsum([part.shape[1] for part in flat])[:-1], axis=1)
    return [piece.reshape(resamples, *part.shape[1:]) for piece, part in zip(pieces, parts, strict=True)]


class _Differences:
    """Run minus base at the run's own recall, for many sets of sums at once."""

    def __init__(self, at: Metric, names: Sequence[str], path: Array, run: Array) -> None:
        self._names, self._run = names, run
        self.target = evaluate(at, names, run)
        self._first, self._last, self.reached = mixed_at(evaluate(at, names, path), path, self.target)

    def base(self, metric: Metric) -> Array:
        """The metric of the base; on an upright piece of the front the value next to the run's."""
        ends = [evaluate(metric, self._names, counts) for counts in (self._first, self._last)]
        nearest: Array = np.clip(self.other(metric), np.minimum(*ends), np.maximum(*ends))
        return nearest

    def other(self, metric: Metric) -> Array:
        return evaluate(metric, self._names, self._run)

    def of(self, metric: Metric) -> Array:
        difference: Array = self.other(metric) - self.base(metric)
        return difference


def _number(values: Array) -> float | None:
    return None if np.isnan(values[0]) else float(values[0])


def _interval(point: Array, values: Array | None, left_out: Array, level: float, method: Method) -> Interval:
    value = _number(point)
    if value is None or values is None:
        return Interval(value)
    defined = values[~np.isnan(values)]
    if len(defined) < level * len(values):
        return Interval(value)
    return read_limits(value, defined, lambda: left_out, len(left_out), level, method)
