"""Is a run better than its base that simply stops earlier? Runs beside the fronts of a base.

    >>> from evalkit.analysis.front import Curve
    >>> from evalkit.benchmark import Front
    >>> recall = Metric("recall", "100 * covered / objects", higher_is_better=True)
    >>> chair_s = Metric("chair_s", "100 * bad / responses", higher_is_better=False, role="rate")
    >>> names = ("covered", "objects", "bad", "responses")
    >>> empty, first, whole = [0, 2, 0, 1], [1, 2, 0, 1], [2, 2, 1, 1]  # one response cut after 0 and 1 sentences
    >>> curve = Curve("sentences", (0, 1, "all"), np.array([[empty, first, whole]] * 100, dtype=float))
    >>> ids = tuple(map(str, range(100)))
    >>> base = RunFront(
    ...     Front("recall", ("chair_s",)), (recall, chair_s), names, tuple((i, 0) for i in ids), ids, (curve,)
    ... )
    >>> said = [{"covered": 2, "objects": 2, "bad": int(n % 5 == 0), "responses": 1} for n in range(100)]
    >>> rows = [{"id": i, "sample": 0, "score": {"counts": counts}} for i, counts in zip(ids, said)]
    >>> (placed,) = place(base, "base", {"tuned": Run({"benchmark": "toy", "label": "tuned"}, rows)})
    >>> print(placed.headline.verdict, placed.sentence(), sep=": ")
    beyond: less hallucination than the base that simply stops earlier: -80.0 [-88.0, -72.0] chair_s at recall 100.0

Only items scored in both count, an item with several responses by their mean counts, and items that share an image are
resampled together, as in `evalkit.analysis.comparison`.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from evalkit.analysis.front import RunFront
from evalkit.metrics import Array, Metric
from evalkit.runs.run import Run
from evalkit.schema import Json
from evalkit.statistics.fronts import Path, Standing, positions
from evalkit.statistics.intervals import LEVEL, METHOD, RESAMPLES, Interval, Method, cluster_sums

PHRASES = {
    "beyond": "less hallucination than the base that simply stops earlier",
    "on": "no better than the base that simply stops earlier",
    "behind": "more hallucination than the base that simply stops earlier",
}
ANSWER_PHRASES = {
    "beyond": "better than the base with its answers shifted blindly",
    "on": "no better than the base with its answers shifted blindly",
    "behind": "worse than the base with its answers shifted blindly",
}


@dataclass(frozen=True)
class Placed:
    """A run beside one front of a base.

    base, other  names of the runs
    items        scored in both, or where images differ in any of them
    reach        of the base's whole responses in what is held equal
    standings    one per compared metric, the headline first
    """

    base: str
    other: str
    items: int
    at: Metric
    reach: float | None
    shifted: bool
    standings: tuple[Standing, ...]

    @property
    def headline(self) -> Standing:
        """In the first metric."""
        return self.standings[0]

    def sentence(self) -> str:
        """The headline in words, with its interval."""
        return described(self, self.headline)


def place(
    front: RunFront,
    base: str,
    others: Mapping[str, Run],
    level: float = LEVEL,
    resamples: int = RESAMPLES,
    method: Method = METHOD,
    seed: int = 0,
    shared_only: bool = True,
) -> list[Placed]:
    """Runs beside the front of a base.

    Args:
        front: of the base.
        base: its name.
        others: name -> run.
        shared_only: items scored in both. False: all items of each, paired where they are shared; an item that only one
            of them has adds to that one alone, in the resamples too. For runs over different images.
    Returns:
        One per run that shares scored items with the base, or with `shared_only=False` has any.
    """
    known = _by_item(front)
    placed = []
    for name, run in others.items():
        counts = run.item_counts(front.names)
        items = [item for item in known if item in counts or not shared_only]
        items += [] if shared_only else [item for item in counts if item not in known]
        if not items:
            continue
        clusters = [known[item][0] if item in known else item for item in items]
        nothing = np.zeros(len(front.names))
        other = cluster_sums(np.array([counts.get(item, nothing) for item in items]), clusters)
        paths = [
            Path(curve.name, _cluster_paths(_curve_counts(known, items, index, curve.counts.shape[1:]), clusters))
            for index, curve in enumerate(front.curves)
        ]
        (standings,) = positions(
            front.compared, front.at, front.names, paths, [other], len(items), level, resamples, method, seed
        )
        whole = dict(zip(front.names, _whole(front, paths).tolist(), strict=True))
        placed.append(
            Placed(
                base,
                name,
                len(items),
                front.at,
                front.at.value(whole),
                front.front.answers is not None,
                tuple(standings),
            )
        )
    return placed


def _whole(front: RunFront, paths: Sequence[Path]) -> Array:
    """Summed counts of the base's own responses: the last cut, or between the two constant answers."""
    sums: Array = paths[0].counts[:, 1 if front.front.answers else -1].sum(axis=0)
    return sums


def _by_item(front: RunFront) -> dict[str, tuple[str, list[Array]]]:
    """Item id -> cluster and, per curve, the mean counts of its responses, shape (cuts, counts)."""
    rows: dict[str, list[int]] = defaultdict(list)
    for index, (item, _) in enumerate(front.keys):
        rows[item].append(index)
    return {
        item: (front.clusters[indices[0]], [curve.counts[indices].mean(axis=0) for curve in front.curves])
        for item, indices in rows.items()
    }


def _curve_counts(
    known: Mapping[str, tuple[str, list[Array]]], items: Sequence[str], index: int, shape: tuple[int, ...]
) -> Array:
    """Counts of a curve for some items, shape (items, cuts, counts); zeros for an item that the base does not have."""
    return np.array([known[item][1][index] if item in known else np.zeros(shape) for item in items])


def _cluster_paths(counts: Array, clusters: Sequence[str]) -> Array:
    """Counts per item, cut and count, summed per cluster."""
    items, cuts, names = counts.shape
    return cluster_sums(counts.reshape(items, -1), clusters).reshape(-1, cuts, names)


def described(placed: Placed, standing: Standing) -> str:
    """A standing in words: "less hallucination than the base that simply stops earlier: -3.1 [-4.9, -1.4] chair_s"."""
    first, verdict = standing.positions[0], standing.verdict
    phrases = ANSWER_PHRASES if placed.shifted else PHRASES
    metric, at = first.metric.name, placed.at.name
    if verdict == "undefined":
        return f"{metric}: no comparison with the base cut short is defined"
    value = f"{signed(first.difference)} {metric} at {at} {first.level:.1f}"
    if verdict == "outside":
        return (
            f"{at} is higher than the base ever reaches ({first.level:.1f} against {placed.reach:.1f}); "
            f"{signed(first.difference)} {metric} against the whole responses of the base"
        )
    if verdict == "on" and first.side == 1:
        rest = next(position for position in standing.positions if position.side != 1)
        return f"{phrases['on']}: {value} by {first.path}, but {signed(rest.difference)} by {rest.path}"
    return f"{phrases[verdict]}: {value}"


def signed(difference: Interval) -> str:
    """A difference with its sign and interval: "+1.2 [-0.3, 2.7]"."""
    text = difference.text()
    return f"+{text}" if difference.value is not None and difference.value > 0 else text


def placed_json(placed: Placed) -> dict[str, Json]:
    """For front.json and for reports."""
    return {
        "base": placed.base,
        "other": placed.other,
        "items": placed.items,
        "at": placed.at.name,
        "reach": placed.reach,
        "verdict": placed.headline.verdict,
        "sentence": placed.sentence(),
        "metrics": [
            {
                "metric": standing.positions[0].metric.name,
                "verdict": standing.verdict,
                "level": standing.positions[0].level,
                "other": standing.positions[0].other,
                "fronts": [
                    {"name": p.path, "base": p.base, "difference": p.difference.as_dict(), "reached": p.reached}
                    for p in standing.positions
                ],
            }
            for standing in placed.standings
        ],
    }
