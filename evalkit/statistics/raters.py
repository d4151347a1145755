"""Agreement of people who labelled the same units: Cohen's kappa for two, Krippendorff's alpha for any number.

    kappa   Cohen 1960: 1 - observed / expected disagreement of two raters, each with rates of his or her own
    alpha   Krippendorff 2011 (Computing Krippendorff's Alpha-Reliability), nominal: for any number of raters, each of
            whom may have left units out; expected disagreement by the labels of all of them together

1 is perfect, 0 is what chance reaches. Intervals: bootstrap over clusters (images), units of one image together.
Both statistics are functions of a table summed over units, so that a draw costs one product.
"""

from collections.abc import Callable, Hashable, Mapping, Sequence

import numpy as np

from evalkit.errors import DataError
from evalkit.metrics import Array, divide
from evalkit.statistics.intervals import LEVEL, RESAMPLES, Interval, cluster_sums, read_limits
from evalkit.statistics.resampling import shared_resampled_sums

Labels = Sequence[Hashable | None]  # of one rater, one per unit; None where the unit was not labelled


def cohen(
    first: Labels,
    second: Labels,
    clusters: Sequence[Hashable] | None = None,
    *,
    resamples: int = RESAMPLES,
    level: float = LEVEL,
    seed: int = 0,
) -> Interval:
    """Cohen's kappa of two raters over the units that both labelled.

    >>> cohen(["yes", "yes", "no", "no"], ["yes", "no", "no", "no"]).value
    0.5
    """
    categories = _categories([first, second])
    tables = np.zeros((len(first), len(categories), len(categories)))
    for unit, (own, other) in enumerate(zip(first, second, strict=True)):
        if own is not None and other is not None:
            tables[unit, categories[own], categories[other]] = 1
    return _interval(_kappa, tables, clusters, resamples, level, seed)


def krippendorff(
    ratings: Sequence[Labels],
    clusters: Sequence[Hashable] | None = None,
    *,
    resamples: int = RESAMPLES,
    level: float = LEVEL,
    seed: int = 0,
) -> Interval:
    """Krippendorff's alpha for nominal labels.

    Args:
        ratings: one row per rater, one label per unit; units with fewer than two labels say nothing.
        clusters: what to resample, one per unit; None: every unit by itself.
    """
    categories = _categories(ratings)
    units = len(ratings[0]) if ratings else 0
    counts = np.zeros((units, len(categories)))
    for labels in ratings:
        if len(labels) != units:
            raise DataError(f"every rater needs one label or None for each of {units} units, got {len(labels)}")
        for unit, label in enumerate(labels):
            if label is not None:
                counts[unit, categories[label]] += 1
    labels_of_units = counts.sum(axis=1)
    pairs = counts[:, :, None] * counts[:, None, :] - counts[:, :, None] * np.eye(len(categories))
    tables = pairs * np.where(labels_of_units > 1, 1 / np.maximum(labels_of_units - 1, 1), 0)[:, None, None]
    return _interval(_alpha, tables, clusters, resamples, level, seed)


def _categories(ratings: Sequence[Labels]) -> Mapping[Hashable, int]:
    seen = {label for labels in ratings for label in labels if label is not None}
    return {label: place for place, label in enumerate(sorted(seen, key=str))}


def _kappa(tables: Array) -> Array:
    """Shape (..., labels, labels) -> (...); nan where both raters use one and the same label throughout."""
    total = tables.sum((-2, -1))
    observed = total - np.trace(tables, axis1=-2, axis2=-1)
    both = (tables.sum(-1) * tables.sum(-2)).sum(-1)
    return 1.0 - divide(observed, divide(total**2 - both, total))


def _alpha(tables: Array) -> Array:
    """Shape (..., labels, labels) -> (...); nan where only one label occurs."""
    per_label = tables.sum(-1)
    total = per_label.sum(-1)
    observed = total - np.trace(tables, axis1=-2, axis2=-1)
    expected = divide(total**2 - (per_label**2).sum(-1), total - 1)
    return 1.0 - divide(observed, expected)


def _interval(
    statistic: Callable[[Array], Array],
    tables: Array,
    clusters: Sequence[Hashable] | None,
    resamples: int,
    level: float,
    seed: int,
) -> Interval:
    shape = tables.shape[1:]
    used = tables.sum((1, 2)) > 0
    if not used.any():
        return Interval(None)
    kept = None if clusters is None else [cluster for cluster, use in zip(clusters, used, strict=True) if use]
    matrix = cluster_sums(tables[used].reshape(int(used.sum()), -1), kept)
    value = float(statistic(matrix.sum(axis=0).reshape(shape)))
    if np.isnan(value):
        return Interval(None)
    if len(matrix) < 2:
        return Interval(value)
    (sums,) = shared_resampled_sums([matrix], resamples, seed)
    draws = statistic(sums.reshape(-1, *shape))
    defined = draws[~np.isnan(draws)]
    if len(defined) < level * len(draws) or np.all(defined == defined[0]):
        return Interval(value)
    return read_limits(value, defined, lambda: np.empty(0), len(matrix), level, "expanded")
