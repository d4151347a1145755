"""Paired comparison of runs on the same items: the effect with its interval first, the p-value second.

Unlike is not compared with unlike: runs whose signatures differ in a protocol field are refused and the field is named.
Only items scored in both runs count. An item with several responses enters with their mean counts, so that it weighs
the same in both runs however many of its responses were scored. Items that share an image stay together.

    >>> from evalkit.runs import Run
    >>> def run(label, answers):
    ...     metric = Metric("accuracy", "100 * correct / items", higher_is_better=True).as_dict()
    ...     rows = [
    ...         {"id": str(i), "sample": 0, "groups": {}, "cluster": "", "question": "?", "prompt": "?",
    ...          "response": {"text": "x", "failure": None, "finish": "stop", "tokens": 1},
    ...          "score": {"counts": {"correct": int(a), "items": 1}, "failure": None}}
    ...         for i, a in enumerate(answers)
    ...     ]
    ...     return Run({"benchmark": "toy", "label": label, "metrics": [metric]}, rows)
    >>> (effect,) = compare(run("before", "0011" * 25), run("after", "0111" * 25)).pairs[0].effects
    >>> effect.difference.text(), effect.p_holm < 0.001, effect.better, effect.worse
    ('25.0 [17.0, 34.0]', True, 25, 0)

Which runs may stand side by side, and under which names.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from evalkit.analysis.front_file import read_fronts
from evalkit.analysis.leakage import MAY_DIFFER, Leakage, check_roles, leakage_interval
from evalkit.analysis.standing import Placed, place
from evalkit.errors import UsageError
from evalkit.metrics import Array, Metric
from evalkit.runs.run import MAX_GROUPS, Run, RunSummary, cluster_of, load_run
from evalkit.runs.signature import Difference, differences
from evalkit.statistics.intervals import LEVEL, METHOD, RESAMPLES, Interval, Method, cluster_sums, evaluate, value_of
from evalkit.statistics.paired import McNemar, difference_intervals, holm, mcnemar, randomisation_p
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


@dataclass(frozen=True)
class Pair:
    """Two runs compared.

    items        scored in both; n_base, n_other: scored items of each; total: items of either
    effects      one per metric
    groups       group name -> value -> effects over its items; p_holm within the group name
    fronts       the other run beside the base's own fronts (`evalkit.analysis.standing`), if they are stored
    differing    protocol fields that differ, if the comparison was forced
    warnings     plain sentences: degenerate runs, a rate that improved while a quality fell
    """

    base: str
    other: str
    items: int
    n_base: int
    n_other: int
    total: int
    effects: tuple[Effect, ...]
    groups: dict[str, dict[str, tuple[Effect, ...]]]
    differing: tuple[Difference, ...]
    warnings: tuple[str, ...]
    fronts: tuple[Placed, ...] = ()


@dataclass(frozen=True)
class Comparison:
    """All pairs of one call; `tests` p-values were corrected together. `leakage` only beside a text-only run."""

    benchmark: str
    signature: str
    pairs: tuple[Pair, ...]
    tests: int
    level: float
    resamples: int
    seed: int
    leakage: tuple[Leakage, ...] = ()


def compare(
    *runs: Run | Path | str,
    against: Literal["base", "all"] = "base",
    metrics: Sequence[str] | None = None,
    force: bool = False,
    allow: Sequence[str] = (),
    level: float = LEVEL,
    resamples: int = RESAMPLES,
    method: Method = METHOD,
    seed: int = 0,
    groups: bool = True,
) -> Comparison:
    """Compare runs with the first one, or each with each.

    Args:
        runs: two or more, loaded or as folders.
        against: "base" compares every run with the first, "all" every two.
        metrics: names of the metrics to compare, None for all but the alternative readings (`Metric.detail`): each
            test that is made costs all others power.
        force: compare runs whose protocols differ; the result lists the fields.
        allow: protocol fields that may differ because they are what is compared, e.g. ("T", "beams").
        method: of the intervals.
        groups: also compare within the items' groups.
    Raises:
        UsageError: if the runs cannot be compared; the message names the field that differs.
    """
    loaded = [run if isinstance(run, Run) else load_run(run) for run in runs]
    if len(loaded) < 2:
        raise UsageError(f"compare needs at least two runs, got {len(loaded)}")
    labels = distinct_labels(loaded)
    chosen = _chosen_metrics(loaded, metrics)
    indices = list(combinations(range(len(loaded)), 2))
    if against == "base":
        indices = [(0, other) for other in range(1, len(loaded))]
    pairs = []
    for first, second in indices:
        differing = check_alike(loaded[first], loaded[second], labels[first], labels[second], force, allow)
        settings = _Settings(chosen, level, resamples, method, seed, groups)
        pairs.append(_pair(loaded[first], loaded[second], (labels[first], labels[second]), differing, settings))
    effects = _holm([effect for pair in pairs for effect in pair.effects])
    corrected = []
    for pair in pairs:
        own, effects = effects[: len(pair.effects)], effects[len(pair.effects) :]
        warnings = (*pair.warnings, *_fallen_quality(own, pair.fronts))
        corrected.append(replace(pair, effects=tuple(own), warnings=warnings))
    tests = sum(effect.p is not None for pair in corrected for effect in pair.effects)
    return Comparison(loaded[0].benchmark, str(loaded[0].signature), tuple(corrected), tests, level, resamples, seed)


def compare_with_text_only(
    blind: Path, seeing: Path, text_only: Path, allow: Sequence[str] = (), **settings: Any
) -> Comparison:
    """The comparison of a model without images with itself and with its language model; gain and leakage come with it.

    Args:
        allow, settings: as of `compare`; what tells a run without images may differ.
    Raises:
        UsageError: if the runs are not what they are given as, or cannot be compared.
    """
    runs = [load_run(path) for path in (blind, seeing, text_only)]
    check_roles(*runs)
    comparison = compare(*runs, allow=(*allow, *MAY_DIFFER), **settings)
    seen, text = comparison.pairs
    leakage = tuple(
        Leakage(ours.metric.name, seen.other, text.other, ours.difference, leakage_interval(theirs.difference))
        for ours, theirs in zip(seen.effects, text.effects, strict=True)
        if ours.metric.higher_is_better
    )
    return replace(comparison, leakage=leakage)


@dataclass(frozen=True, slots=True)
class _Settings:
    metrics: list[Metric]
    level: float
    resamples: int
    method: Method
    seed: int
    groups: bool


def _chosen_metrics(runs: Sequence[Run], names: Sequence[str] | None) -> list[Metric]:
    shared = [m for m in runs[0].metrics if all(m.name in {o.name for o in run.metrics} for run in runs[1:])]
    unknown = set(names or ()) - {metric.name for metric in shared}
    if unknown or not shared:
        known = ", ".join(metric.name for metric in shared) or "none"
        raise UsageError(f"no such metric in all runs: {', '.join(sorted(unknown)) or 'none shared'}; shared: {known}")
    return [metric for metric in shared if (metric.name in names if names else not metric.detail)]


@dataclass(frozen=True, slots=True)
class _Items:
    """Counts of the items that two runs both scored, row by row the same item."""

    names: list[str]
    base: Array
    other: Array
    clusters: NDArray[np.str_]
    groups: list[dict[str, str]]

    def only(self, chosen: NDArray[np.bool_]) -> "_Items":
        groups = [group for group, keep in zip(self.groups, chosen, strict=True) if keep]
        return _Items(self.names, self.base[chosen], self.other[chosen], self.clusters[chosen], groups)


def _pair(
    base: Run, other: Run, labels: tuple[str, str], differing: tuple[Difference, ...], settings: _Settings
) -> Pair:
    names = list(dict.fromkeys(name for metric in settings.metrics for name in metric.counts))
    ours, theirs = base.item_counts(names), other.item_counts(names)
    shared = [item for item in ours if item in theirs]
    if not shared:
        raise UsageError(f"{labels[0]} and {labels[1]} share no scored item")
    rows = {row["id"]: row for row in base.scored}
    items = _Items(
        names,
        np.array([ours[item] for item in shared]).reshape(len(shared), len(names)),
        np.array([theirs[item] for item in shared]).reshape(len(shared), len(names)),
        np.array([cluster_of(rows[item]) for item in shared]),
        [dict(rows[item].get("groups") or {}) for item in shared],
    )
    total = len({row["id"] for run in (base, other) for row in run.rows})
    warnings = tuple(
        f"{label}: {flag['text']}"
        for label, run in zip(labels, (base, other), strict=True)
        for flag in run.checks["flags"]
    )
    effects = tuple(_effects(items, settings))
    groups = _groups(items, settings) if settings.groups else {}
    placed = tuple(
        placed
        for front in read_fronts(base)
        for placed in place(
            front, labels[0], {labels[1]: other}, settings.level, settings.resamples, settings.method, settings.seed
        )
    )
    return Pair(*labels, len(shared), len(ours), len(theirs), total, effects, groups, differing, warnings, placed)


def _groups(items: _Items, settings: _Settings) -> dict[str, dict[str, tuple[Effect, ...]]]:
    tables: dict[str, dict[str, tuple[Effect, ...]]] = {}
    for name in dict.fromkeys(name for group in items.groups for name in group):
        values = np.array([group.get(name, "") for group in items.groups])
        distinct = [str(value) for value in dict.fromkeys(values.tolist()) if value != ""]
        if not 1 < len(distinct) <= MAX_GROUPS:
            continue
        effects = [_effects(items.only(values == value), settings) for value in distinct]
        corrected = _holm([effect for own in effects for effect in own])
        tables[name] = {
            value: tuple(corrected[start : start + len(settings.metrics)])
            for value, start in zip(distinct, range(0, len(corrected), len(settings.metrics)), strict=True)
        }
    return tables


def _effects(items: _Items, settings: _Settings) -> list[Effect]:
    metrics, names = settings.metrics, items.names
    base = cluster_sums(items.base, items.clusters.tolist())
    other = cluster_sums(items.other, items.clusters.tolist())
    intervals = difference_intervals(
        metrics, names, base, other, settings.level, settings.resamples, settings.method, settings.seed
    )
    p_values = randomisation_p(metrics, names, base, other, settings.resamples, settings.seed)
    effects = []
    for metric, interval, p in zip(metrics, intervals, p_values, strict=True):
        each_base, each_other = evaluate(metric, names, items.base), evaluate(metric, names, items.other)
        better, worse, unchanged = _directions(metric, each_base, each_other)
        effects.append(
            Effect(
                metric,
                value_of(metric, names, base),
                value_of(metric, names, other),
                interval,
                p,
                None,
                mcnemar(each_base, each_other) if _is_mean_of_items(metric, names, items) else None,
                better,
                worse,
                unchanged,
                paired_power(metric, names, base, other, len(items.base), 1 - settings.level),
            )
        )
    return effects


def _is_mean_of_items(metric: Metric, names: Sequence[str], items: _Items) -> bool:
    """Whether a metric is the mean of its items' values: only then is it a share of right items."""
    for matrix in (items.base, items.other):
        each = evaluate(metric, names, matrix)
        known = each[~np.isnan(each)]
        whole = value_of(metric, names, matrix)
        if whole is None or not known.size or abs(known.mean().item() - whole) > 1e-9 * max(1.0, abs(whole)):
            return False
    return True


def _directions(metric: Metric, base: Array, other: Array) -> tuple[int, int, int] | tuple[None, None, None]:
    """Items better, worse and unchanged; one without a value of its own in both runs is none of them.

    None where no item has a value of its own: a metric that only all items together define.
    """
    if metric.higher_is_better is None or np.isnan(base).all() or np.isnan(other).all():
        return None, None, None
    change = (other - base) if metric.higher_is_better else (base - other)
    return int(np.sum(change > 0)), int(np.sum(change < 0)), int(np.sum(change == 0))


def _holm(effects: Sequence[Effect]) -> list[Effect]:
    adjusted = holm([effect.p for effect in effects])
    return [replace(effect, p_holm=p) for effect, p in zip(effects, adjusted, strict=True)]


def _fallen_quality(effects: Sequence[Effect], fronts: Sequence[Placed]) -> list[str]:
    """A lower rate beside a quality that got worse, unless it lies beyond the base that simply stops earlier.

    The rate need not be shown to be lower: on few items a run that says nothing has a rate of 0 and no significance.
    """
    lower = [e for e in effects if e.metric.role == "rate" and e.improved()]
    shown = [e for e in lower if e.significant()]
    fallen = [e for e in effects if e.metric.role == "quality" and e.significant() and e.improved() is False]
    cut = [placed for placed in fronts if not placed.shifted]
    if not lower or not fallen or (cut and all(placed.headline.verdict == "beyond" for placed in cut)):
        return []
    changes = ", ".join(f"{e.metric.name} {e.difference.value:+.1f}" for e in (*(shown or lower), *fallen))
    reason = "; ".join(placed.sentence() for placed in cut) or "it may come from saying less"
    what = "improved" if shown else "is lower, though not significantly,"
    return [f"a hallucination rate {what} while a quality fell ({changes}): {reason}"]


def distinct_labels(runs: Sequence[RunSummary]) -> list[str]:
    """Labels of runs; those that share one get as much of their folder's name as tells them apart."""
    labels = [run.label for run in runs]
    shared = {label for label, count in Counter(labels).items() if count > 1}
    for depth in range(1, 1 + max((len(run.path.parts) for run in runs if run.path), default=0)):
        labels = [
            f"{run.label} ({'/'.join(run.path.parts[-depth:])})" if run.label in shared and run.path else run.label
            for run in runs
        ]
        if len(set(labels)) == len(labels):
            return labels
    return [f"{run.label} #{index}" if run.label in shared else run.label for index, run in enumerate(runs, 1)]


def check_alike(
    base: Run, other: Run, base_label: str, other_label: str, force: bool = False, allow: Sequence[str] = ()
) -> tuple[Difference, ...]:
    """Protocol fields in which two runs differ and may (forced or allowed).

    Raises:
        UsageError: naming the fields, if they may not.
    """
    differing = differences(base.signature, other.signature)
    formulas = [{metric.name: metric.formula for metric in run.metrics} for run in (base, other)]
    for name in formulas[0].keys() & formulas[1].keys():
        if formulas[0][name] != formulas[1][name]:
            differing.append(Difference(f"formula of {name}", formulas[0][name], formulas[1][name]))
    obstacles = [difference for difference in differing if difference.field not in allow]
    if obstacles and not force:
        shown = obstacles[:1] if obstacles[0].field == "benchmark" else obstacles  # all else differs with it
        named = "; ".join(map(str, shown))
        raise UsageError(
            f"{base_label} and {other_label} are not measured alike: {named}. Run them alike, or compare with --force: "
            "the report then says in what they differ"
        )
    return tuple(differing)
