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
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import combinations
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from evalkit.analysis.effects import Effect as Effect
from evalkit.analysis.effects import Frame, paired_effects
from evalkit.analysis.front_file import read_fronts
from evalkit.analysis.leakage import MAY_DIFFER, Leakage, check_roles, leakage_interval
from evalkit.analysis.standing import Placed, place
from evalkit.errors import UsageError
from evalkit.metrics import Array, Metric
from evalkit.runs.run import Run, RunSummary, cluster_of, collector_resting, load_scores
from evalkit.runs.signature import Difference, differences
from evalkit.statistics.intervals import LEVEL, METHOD, RESAMPLES, Method
from evalkit.statistics.paired import holm

PAIRS_AT_ONCE = 20  # whose counts are held together


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


@collector_resting()
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
    if len(runs) < 2:
        raise UsageError(f"compare needs at least two runs, got {len(runs)}")
    counted = _counted(runs, only_base=against == "base")
    loaded = [one.run for one in counted]
    labels = distinct_labels(loaded)
    chosen = _chosen_metrics(loaded, metrics)
    indices = list(combinations(range(len(loaded)), 2))
    if against == "base":
        indices = [(0, other) for other in range(1, len(loaded))]
    settings = _Settings(chosen, level, resamples, method, seed, groups)
    scored = [one.scored(label, settings.names) for one, label in zip(counted, labels, strict=True)]
    pairs = list(_pairs(scored, indices, settings, partial(check_alike, force=force, allow=allow)))
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
    runs = [load_scores(path) for path in (blind, seeing, text_only)]
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

    @property
    def names(self) -> list[str]:
        """Counts that the metrics read."""
        return list(dict.fromkeys(name for metric in self.metrics for name in metric.counts))

    def tests(self) -> tuple[float, int, Method, int]:
        """What every interval is made with."""
        return self.level, self.resamples, self.method, self.seed


def _chosen_metrics(runs: Sequence[Run], names: Sequence[str] | None) -> list[Metric]:
    shared = [m for m in runs[0].metrics if all(m.name in {o.name for o in run.metrics} for run in runs[1:])]
    unknown = set(names or ()) - {metric.name for metric in shared}
    if unknown or not shared:
        known = ", ".join(metric.name for metric in shared) or "none"
        raise UsageError(f"no such metric in all runs: {', '.join(sorted(unknown)) or 'none shared'}; shared: {known}")
    return [metric for metric in shared if (metric.name in names if names else not metric.detail)]


@dataclass(frozen=True, slots=True)
class _Scored:
    """A run's counts of its scored items, shape (items, names), and the ids of all its items; see `_Counted`."""

    run: Run
    label: str
    items: list[str]
    counts: Array
    ids: frozenset[str]
    flags: list[str]


@dataclass(frozen=True, slots=True)
class _Counted:
    """All that is read of a run's records, read before the next run is: later it takes twice as long.

    run    without its records where they are not read again: what they held serves the next run
    names  of the counts, which all metrics of the first run read
    flags  what the checks of the run say
    """

    run: Run
    names: list[str]
    items: list[str]
    counts: Array
    ids: frozenset[str]
    flags: list[str]

    @classmethod
    def of(cls, run: Run, names: list[str], keep: bool) -> "_Counted":
        flags = [flag["text"] for flag in run.checks["flags"]]
        items, counts = run.item_matrix(names)
        ids = frozenset(items if len(items) == len(run.rows) else [row["id"] for row in run.rows])
        return cls(run if keep else replace(run, rows=()), names, items, counts, ids, flags)

    def scored(self, label: str, names: Sequence[str]) -> _Scored:
        """The counts that the compared metrics read."""
        counts = self.counts[:, [self.names.index(name) for name in names]]
        return _Scored(self.run, label, self.items, counts, self.ids, self.flags)


def _counted(runs: Sequence[Run | Path | str], only_base: bool) -> list[_Counted]:
    """The runs one after the other; of those that are no base the records are held for the base's fronts alone."""
    base = runs[0] if isinstance(runs[0], Run) else load_scores(runs[0])
    names = list(dict.fromkeys(name for metric in base.metrics for name in metric.counts))
    counted = [_Counted.of(base, names, keep=True)]
    keep = not only_base or bool(read_fronts(base))
    for run in runs[1:]:
        counted.append(_Counted.of(run if isinstance(run, Run) else load_scores(run), names, keep))
    return counted


def _pairs(
    scored: Sequence[_Scored], indices: Sequence[tuple[int, int]], settings: _Settings, alike: Callable[..., Any]
) -> Iterator[Pair]:
    """The pairs without their correction; some at a time, which share what they draw."""
    frame: Frame | None = None
    of_base = -1
    for start in range(0, len(indices), PAIRS_AT_ONCE):
        some = []
        for first, second in indices[start : start + PAIRS_AT_ONCE]:
            base, other = scored[first], scored[second]
            differing = alike(base.run, other.run, base.label, other.label)
            frame = _frame(base, other, frame if first == of_base else None, settings.groups)
            of_base = first
            some.append((base, other, differing, frame, frame.paired(base.counts, _rows_of(frame, other))))
        everything = [part for *_, parts in some for part in parts]
        effects = iter(paired_effects(settings.metrics, settings.names, everything, *settings.tests()))
        for base, other, differing, used, parts in some:
            own = [next(effects) for _ in parts]
            yield _pair(base, other, differing, used, own, settings)


def _frame(base: _Scored, other: _Scored, earlier: Frame | None, with_groups: bool) -> Frame:
    """The items that both scored; the earlier frame of this base where they are the same."""
    shared = base.items
    if other.items != base.items:
        theirs = set(other.items)
        shared = [item for item in base.items if item in theirs]
    if not shared:
        raise UsageError(f"{base.label} and {other.label} share no scored item")
    if earlier is not None and earlier.items == shared:
        return earlier
    rows = {row["id"]: row for row in base.run.scored}
    groups = [rows[item].get("groups") or {} for item in shared] if with_groups else []
    return Frame.of(shared, _rows(base.items, shared), [cluster_of(rows[item]) for item in shared], groups)


def _rows_of(frame: Frame, other: _Scored) -> Array:
    return other.counts[_rows(other.items, frame.items)]


def _rows(items: Sequence[str], shared: Sequence[str]) -> slice | NDArray[np.intp]:
    """Where some of the items lie among all."""
    if items == shared:
        return slice(None)
    places = {item: row for row, item in enumerate(items)}
    return np.array([places[item] for item in shared], dtype=np.intp)


def _pair(
    base: _Scored,
    other: _Scored,
    differing: tuple[Difference, ...],
    frame: Frame,
    effects: Sequence[Sequence[Effect]],
    settings: _Settings,
) -> Pair:
    warnings = tuple(f"{one.label}: {text}" for one in (base, other) for text in one.flags)
    placed = tuple(
        placed
        for front in read_fronts(base.run)
        for placed in place(front, base.label, {other.label: other.run}, *settings.tests())
    )
    return Pair(
        base.label,
        other.label,
        len(frame.items),
        len(base.items),
        len(other.items),
        len(base.ids | other.ids),
        tuple(effects[0]),
        _groups(frame, effects),
        differing,
        warnings,
        placed,
    )


def _groups(frame: Frame, effects: Sequence[Sequence[Effect]]) -> dict[str, dict[str, tuple[Effect, ...]]]:
    tables: dict[str, dict[str, tuple[Effect, ...]]] = {}
    for name in dict.fromkeys(part.group for part in frame.parts if part.group is not None):
        own = {part.value: list(some) for part, some in zip(frame.parts, effects, strict=True) if part.group == name}
        corrected = iter(_holm([effect for some in own.values() for effect in some]))
        tables[name] = {value: tuple(next(corrected) for _ in some) for value, some in own.items()}
    return tables


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
