"""How many items a comparison needs, from what was seen of the paired differences.

The standard error of a paired difference falls with the square root of the number of clusters; it is taken from the
jackknife over clusters. A two-sided test at level alpha sees a true difference d with probability `power` when
d = (t(1 - alpha/2) + z(power)) * standard error, t of Student with clusters - 1 degrees of freedom. The approximation
agrees with simulation (docs/statistics.md).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from evalkit.metrics import Array, Metric
from evalkit.statistics.intervals import student_t
from evalkit.statistics.paired import left_out_differences

ALPHA = 0.05
POWER = 0.8
ROUNDING = 1e-9  # what sums of fractions leave of a standard error of 0


@dataclass(frozen=True, slots=True)
class Power:
    """What a paired comparison can see.

    metric          its name
    items           items compared now
    clusters        of them, what is independent
    standard_error  of the difference, in the metric's unit; None where it is undefined or nothing varied: ten pairs
                    without a difference do not show that there is none
    detectable      smallest true difference that `power` of such comparisons would find, in the metric's unit
    """

    metric: str
    items: int
    clusters: int
    standard_error: float | None
    detectable: float | None
    alpha: float = ALPHA
    power: float = POWER

    def items_for(self, difference: float) -> int | None:
        """Items needed to find a true difference of this size, in the metric's unit."""
        if self.detectable is None or difference == 0:
            return None
        clusters = self.clusters * (self.detectable / difference) ** 2
        return math.ceil(clusters * self.items / self.clusters)

    def chance(self, difference: float) -> float | None:
        """Probability that a comparison of this size finds a true difference, in either direction."""
        if self.standard_error is None:
            return None
        normal, shift = NormalDist(), abs(difference) / self.standard_error
        critical = student_t(1 - self.alpha / 2, self.clusters - 1)
        return normal.cdf(shift - critical) + normal.cdf(-shift - critical)


def paired_power(
    metric: Metric,
    names: Sequence[str],
    base: Array,
    other: Array,
    items: int,
    alpha: float = ALPHA,
    power: float = POWER,
) -> Power:
    """Power of a paired comparison from counts per cluster, shape (clusters, counts) each, columns `names`."""
    if len(base) < 2:
        return Power(metric.name, items, len(base), None, None, alpha, power)
    return power_of(metric.name, left_out_differences(metric, names, base, other), items, alpha, power)


def power_of(name: str, left_out: Array, items: int, alpha: float = ALPHA, power: float = POWER) -> Power:
    """Power of a comparison from its jackknife: the difference without each cluster in turn, shape (clusters,)."""
    clusters = len(left_out)
    if clusters < 2:
        return Power(name, items, clusters, None, None, alpha, power)
    squares = np.sum((left_out - left_out.mean()) ** 2).item()
    error = math.sqrt((clusters - 1) / clusters * squares)
    if not error > ROUNDING:  # nan too
        return Power(name, items, clusters, None, None, alpha, power)
    detectable = (student_t(1 - alpha / 2, clusters - 1) + NormalDist().inv_cdf(power)) * error
    return Power(name, items, clusters, error, detectable, alpha, power)
