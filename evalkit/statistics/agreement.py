"""How well a judge agrees with stored reference verdicts of the same responses.

    observed         verdicts that are equal, in %
    kappa            Cohen 1960: agreement beyond what two raters with these rates reach by chance; 1 perfect, 0 chance
    weighted_kappa   Cohen 1968, quadratic weights: a rating of 5 for a 6 counts little, a 0 for a 6 much
    rate_difference  judge's minus reference's share of flagged responses, in percentage points: its bias

Intervals: paired bootstrap over responses (draws from the table of pairs), percentile limits at an expanded level. If
all draws agree (no disagreement) the bootstrap interval has zero width: `observed` has Clopper-Pearson's limits, the
rest none.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from evalkit.errors import DataError
from evalkit.metrics import Array, divide
from evalkit.statistics.intervals import LEVEL, RESAMPLES, Interval, exact_limits, expanded_tail

Key = tuple[str, int]  # item id, sample


@dataclass(frozen=True, slots=True)
class Agreement:
    """Agreement over the responses that both have rated.

    n               how many those are
    only_judge      rated by the judge alone; `only_reference` by the reference alone (a reply that could not be read)
    labels          verdicts in order; `confusion[i][j]` responses have reference label i and the judge's label j
    """

    n: int
    only_judge: int
    only_reference: int
    observed: Interval
    kappa: Interval
    weighted_kappa: Interval
    rate_judge: float | None
    rate_reference: float | None
    rate_difference: Interval
    labels: tuple[float, ...]
    confusion: tuple[tuple[int, ...], ...]

    def as_dict(self) -> dict[str, Any]:
        """The fields as JSON."""
        return asdict(self)

    def __str__(self) -> str:
        def rate(value: float | None) -> str:
            return "-" if value is None else f"{value:.1f} %"

        return "\n".join(
            [
                f"n                {self.n} rated by both; {self.only_judge} by the judge alone, "
                f"{self.only_reference} by the reference alone",
                f"observed         {self.observed.text()} %",
                f"kappa            {self.kappa.text(2)}",
                f"weighted kappa   {self.weighted_kappa.text(2)}",
                f"rate             judge {rate(self.rate_judge)}, reference {rate(self.rate_reference)}",
                f"rate difference  {self.rate_difference.text()} points",
            ]
        )


def agreement(
    judge: Mapping[Key, float],
    reference: Mapping[Key, float],
    is_flagged: Callable[[float], bool],
    *,
    resamples: int = RESAMPLES,
    level: float = LEVEL,
    seed: int = 0,
) -> Agreement:
    """Compare verdicts joined by item and sample.

    Args:
        judge: label per response; ordered numbers, e.g. ratings 0 to 6, or 0 and 1.
        reference: the same from humans or an earlier judge.
        is_flagged: whether a label says that the response hallucinates.
    Raises:
        DataError: if the two have no response in common.
    """
    both = [key for key in reference if key in judge]
    if not both:
        raise DataError(f"no response is rated by both: {len(judge)} by the judge, {len(reference)} by the reference")
    labels = sorted({judge[key] for key in both} | {reference[key] for key in both})
    place = {label: index for index, label in enumerate(labels)}
    table = np.zeros((len(labels), len(labels)))
    for key in both:
        table[place[reference[key]], place[judge[key]]] += 1
    draws = _draws(table, resamples, seed)
    flagged = np.array([is_flagged(label) for label in labels], dtype=float)
    values = np.array(labels, dtype=float)
    weights = (values[:, None] - values[None, :]) ** 2

    def interval(statistic: Callable[[Array], Array]) -> Interval:
        return _interval(statistic, table, draws, level)

    return Agreement(
        n=len(both),
        only_judge=len(judge.keys() - reference.keys()),
        only_reference=len(reference.keys() - judge.keys()),
        observed=_exact(interval(_observed), len(both), level),
        kappa=interval(lambda tables: cohen_kappa(tables, 1.0 - np.eye(len(labels)))),
        weighted_kappa=interval(lambda tables: cohen_kappa(tables, weights)),
        rate_judge=float(100 * (table.sum(0) @ flagged) / len(both)),
        rate_reference=float(100 * (table.sum(1) @ flagged) / len(both)),
        rate_difference=interval(
            lambda tables: 100 * ((tables.sum(-2) - tables.sum(-1)) @ flagged) / tables.sum((-2, -1))
        ),
        labels=tuple(labels),
        confusion=tuple(tuple(int(count) for count in line) for line in table),
    )


def cohen_kappa(tables: Array, disagreement: Array) -> Array:
    """1 - observed / expected disagreement; nan where both raters always give one and the same label.

    Args:
        tables: counts of (reference, judge) pairs, shape (..., labels, labels).
        disagreement: weight of each pair, 0 on the diagonal, shape (labels, labels).
    Returns:
        Shape (...).
    """
    observed = (tables * disagreement).sum((-2, -1))
    expected = np.einsum("...i,ij,...j->...", tables.sum(-1), disagreement, tables.sum(-2)) / tables.sum((-2, -1))
    return 1.0 - divide(observed, expected)


def _observed(tables: Array) -> Array:
    shares: Array = 100 * np.trace(tables, axis1=-2, axis2=-1) / tables.sum((-2, -1))
    return shares


def _exact(share: Interval, n: int, level: float) -> Interval:
    """Limits for a share of 0 or 100 %."""
    if share.low is None and n > 1 and share.value in (0.0, 100.0):
        return Interval(share.value, *exact_limits(share.value, n, level), "exact")
    return share


def _draws(table: Array, resamples: int, seed: int) -> Array:
    """Bootstrap tables, shape (resamples, labels, labels)."""
    total = int(table.sum())
    drawn = np.random.default_rng(seed).multinomial(total, table.ravel() / total, size=resamples)
    return drawn.reshape(resamples, *table.shape).astype(float)


def _interval(statistic: Callable[[Array], Array], table: Array, draws: Array, level: float) -> Interval:
    value = float(statistic(table))
    if math.isnan(value):
        return Interval(None)
    n = int(table.sum())
    values = statistic(draws)
    values = values[~np.isnan(values)]
    if n < 2 or len(values) < level * len(draws) or np.all(values == values[0]):
        return Interval(value)
    tail = expanded_tail(level, n)
    low, high = np.quantile(values, (tail, 1 - tail))
    return Interval(value, float(low), float(high), "expanded")
