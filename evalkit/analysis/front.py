"""The truncation front: a run's own responses, cut ever later, as a curve of hallucination against recall.

Every method against hallucination also says less. Its recall is bought back for nothing by stopping the base earlier,
so the question is whether a run lies beyond its base's own front: nothing is generated, the stored responses are cut
after k sentences and after k words and scored again (`measure`), and `evalkit.analysis.standing` compares at equal
recall. For yes/no questions the same is done with a shift of the answers: the front leads from the constant answer
"No" over the base's answers to the constant "Yes", in counts that are expected if a share of them, drawn blindly, is
changed.

LeHaCE (Wei et al., NeurIPS 2024) fits hallucination against length over several instructions; here one set of
responses is cut, recall is held equal, and the comparison is paired. For yes/no answers: Yin et al. 2025, "The Mirage
of Performance Gains" (arXiv:2504.10020).

A failed response stays one: it is in no cut and in no comparison. A response cut after 0 sentences is empty, so a run
of empty responses lies at the start of every front and is beyond none.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from operator import itemgetter
from typing import TYPE_CHECKING

import numpy as np

from evalkit.errors import UsageError
from evalkit.metrics import Array, Metric
from evalkit.schema import Item, Sample
from evalkit.statistics.intervals import Interval, cluster_sums, drawn, limits
from evalkit.text.cuts import sentence_ends, word_ends

if TYPE_CHECKING:
    from evalkit.benchmark import Benchmark, Front

MOST_CUTS = 32  # of a curve, besides the empty and the whole response
WAYS: Mapping[str, tuple[Callable[[str], list[int]], int]] = {"sentences": (sentence_ends, 1), "words": (word_ends, 5)}
MIXTURES = 12  # drawn between two cuts of a blind shift
WHOLE = "all"  # the last cut of every curve

Key = tuple[str, int]  # item id, sample
Cut = int | str  # after so many sentences or words; "all"; a constant answer


@dataclass(frozen=True)
class Curve:
    """The counts of a run's responses at ever later cuts.

    name    what is counted: "sentences" or "words"; "answers" for a shift of yes/no answers
    cuts    one per point
    counts  per response, cut and count, shape (responses, cuts, counts)
    """

    name: str
    cuts: tuple[Cut, ...]
    counts: Array


@dataclass(frozen=True)
class RunFront:
    """A run cut short: one curve per way of cutting, over the same responses.

    front     what is compared at what
    metrics   `at` first, then the compared ones, then those that are only shown (length)
    names     of the counts
    keys      of the responses: item id and sample
    clusters  what the bootstrap resamples, one per response
    """

    front: "Front"
    metrics: tuple[Metric, ...]
    names: tuple[str, ...]
    keys: tuple[Key, ...]
    clusters: tuple[str, ...]
    curves: tuple[Curve, ...]

    @property
    def at(self) -> Metric:
        """What is held equal."""
        return self.metrics[0]

    @property
    def compared(self) -> tuple[Metric, ...]:
        """What is compared, the headline first."""
        return self.metrics[1 : 1 + len(self.front.metrics)]

    @cached_property
    def points(self) -> dict[str, list[dict[str, Interval]]]:
        """Curve name -> metrics with intervals at every cut; all cuts of all curves share their resamples."""
        return self._placed(drawn(self.sums))

    @cached_property
    def sums(self) -> list[Array]:
        """Counts per cluster, a matrix per curve: those of every cut side by side, shape (clusters, cuts * counts)."""
        return [cluster_sums(curve.counts.reshape(len(curve.counts), -1), self.clusters) for curve in self.curves]

    def place(self, draws: Sequence[Array | None]) -> None:
        """Set `points` from resampled `sums` that were drawn together with others."""
        vars(self)["points"] = self._placed(draws)

    def _placed(self, draws: Sequence[Array | None]) -> dict[str, list[dict[str, Interval]]]:
        return {
            curve.name: self._points(curve, own, drawn_sums)
            for curve, own, drawn_sums in zip(self.curves, self.sums, draws, strict=True)
        }

    def _points(self, curve: Curve, sums: Array, draws: Array | None) -> list[dict[str, Interval]]:
        _, cuts, names = curve.counts.shape
        columns = [slice(cut * names, (cut + 1) * names) for cut in range(cuts)]  # each a piece of memory: no copy
        return [
            {
                metric.name: limits(metric, self.names, sums[:, own], None if draws is None else draws[:, own])
                for metric in self.metrics
            }
            for own in columns
        ]


@dataclass(frozen=True, slots=True)
class CurvePoint:
    """A point of a curve as it is drawn: what is held equal, and a metric with its limits.

    cut  of the responses; None for a mixture of two cuts
    """

    cut: Cut | None
    level: float
    value: float
    low: float
    high: float


def curve_points(front: RunFront, curve: Curve, metric: Metric) -> list[CurvePoint]:
    """The defined points of a curve, in order.

    Between two cuts of descriptions the line is straight, or nearly. Between answers and a constant answer it is not:
    mixtures of their counts are put there, as the comparison mixes them, with limits as far apart as in between.
    """
    sums = curve.counts.sum(axis=0)
    points: list[CurvePoint] = []
    before: tuple[CurvePoint, Array] | None = None
    for cut, intervals, counts in zip(curve.cuts, front.points[curve.name], sums, strict=True):
        level, own = intervals[front.at.name].value, intervals[metric.name]
        if level is None or own.value is None:
            continue
        low, high = (own.value, own.value) if own.low is None or own.high is None else (own.low, own.high)
        point = CurvePoint(cut, level, own.value, low, high)
        if before is not None and front.front.answers:
            points += _mixed(front, metric, before, (point, counts))
        points.append(point)
        before = point, counts
    return points


def _mixed(
    front: RunFront, metric: Metric, first: tuple[CurvePoint, Array], second: tuple[CurvePoint, Array]
) -> Iterator[CurvePoint]:
    """Mixtures of two cuts in equal steps."""
    (start, start_counts), (end, end_counts) = first, second
    for step in range(1, MIXTURES):
        share = step / MIXTURES
        counts = dict(zip(front.names, (share * end_counts + (1 - share) * start_counts).tolist(), strict=True))
        level, value = front.at.value(counts), metric.value(counts)
        if level is not None and value is not None:
            below = share * (end.value - end.low) + (1 - share) * (start.value - start.low)
            above = share * (end.high - end.value) + (1 - share) * (start.high - start.value)
            yield CurvePoint(None, level, value, value - below, value + above)


def measure(benchmark: "Benchmark", samples: Iterable[Sample]) -> list[RunFront]:
    """Cut the responses of a run and score every cut, for each front that the benchmark declares.

    Returns:
        No front for a benchmark that declares none, and none where no response belongs to it.
    """
    scored = [sample for sample in samples if sample.score.counts is not None]
    measured = (_measure(benchmark, front, scored) for front in benchmark.fronts())
    return [front for front in measured if front is not None]


def _measure(benchmark: "Benchmark", front: "Front", scored: Sequence[Sample]) -> RunFront | None:
    own = [s for s in scored if all(s.item.groups.get(name) in values for name, values in front.groups.items())]
    if not own:
        return None
    metrics = _metrics(benchmark, front)
    names = tuple(dict.fromkeys(name for metric in metrics for name in metric.counts))
    scorer = _Scorer(benchmark, names)
    if front.answers is None:
        curves = _truncated(scorer, own)
    else:
        low, high = front.answers
        counts = [[scorer.answer(s.item, low), scorer.whole(s), scorer.answer(s.item, high)] for s in own]
        curves = [Curve("answers", (f"all {low}", WHOLE, f"all {high}"), np.array(counts, dtype=float))]
    return RunFront(
        front,
        metrics,
        names,
        tuple((s.item.id, s.response.sample) for s in own),
        tuple(s.item.cluster or s.item.id for s in own),
        tuple(curves),
    )


def _metrics(benchmark: "Benchmark", front: "Front") -> tuple[Metric, ...]:
    known = {metric.name: metric for metric in benchmark.metrics}
    if missing := [name for name in (front.at, *front.metrics) if name not in known]:
        raise UsageError(f"{benchmark.name}: a front needs the metrics {', '.join(missing)}, which it does not have")
    lengths = [metric for metric in benchmark.metrics if metric.role == "length" and metric.name != front.at]
    return (known[front.at], *(known[name] for name in front.metrics), *lengths)


class _Scorer:
    """Counts of texts, in a fixed order."""

    def __init__(self, benchmark: "Benchmark", names: Sequence[str]) -> None:
        self._benchmark, self._names = benchmark, names
        self._all = itemgetter(*names)  # of one name it is no tuple

    def answer(self, item: Item, text: str) -> Sequence[float]:
        """Of a constant answer."""
        return self._row(self._benchmark.counts_of(item, text))

    def cuts(self, sample: Sample, ends: Sequence[int]) -> list[Sequence[float]]:
        """Of a response cut after so many characters."""
        return [self._row(counts) for counts in self._benchmark.count_cuts(sample, ends)]

    def whole(self, sample: Sample) -> Sequence[float]:
        return self._row(sample.score.counts or {})

    def _row(self, counts: Mapping[str, float]) -> Sequence[float]:
        try:
            row: tuple[float, ...] | float = self._all(counts)
        except KeyError:  # an absent count is 0
            return [counts.get(name, 0.0) for name in self._names]
        return row if isinstance(row, tuple) else (row,)


def _truncated(scorer: _Scorer, samples: Sequence[Sample]) -> list[Curve]:
    """A curve per way of cutting; each response is handed over once, with the places of all its cuts."""
    ends = {name: [ends_of(sample.response.text or "") for sample in samples] for name, (ends_of, _) in WAYS.items()}
    cuts = {name: cut_points(max(map(len, ends[name])), step) for name, (_, step) in WAYS.items()}
    rows: dict[str, list[list[Sequence[float]]]] = {name: [] for name in WAYS}
    for index, sample in enumerate(samples):
        places = {name: _places(ends[name][index], cuts[name]) for name in WAYS}
        distinct = sorted({place for own in places.values() for place in own})
        counts = dict(zip(distinct, scorer.cuts(sample, distinct), strict=True))
        whole = scorer.whole(sample)
        for name, own in places.items():
            rows[name].append([counts[place] for place in own] + [whole] * (len(cuts[name]) + 1 - len(own)))
    return [Curve(name, (*cuts[name], WHOLE), np.array(rows[name], dtype=float)) for name in WAYS]


def _places(ends: Sequence[int], cuts: Sequence[int]) -> list[int]:
    """After how many characters a response is cut, for every cut that shortens it."""
    return [ends[cut - 1] if cut else 0 for cut in cuts if cut < len(ends)]


def cut_points(longest: int, step: int) -> list[int]:
    """After how many sentences or words responses are cut: 0, and at most MOST_CUTS even steps below the longest.

    >>> cut_points(4, 1), cut_points(12, 5), len(cut_points(700, 5)), cut_points(700, 5)[:3]
    ([0, 1, 2, 3], [0, 5, 10], 28, [0, 25, 50])
    """
    start = step
    while longest > step * (MOST_CUTS + 1):
        step += start
    return list(range(0, max(1, longest), step))
