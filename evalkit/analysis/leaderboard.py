"""Runs that were measured alike, side by side: ranked, flagged, the best marked only where it is significantly best."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from evalkit.analysis.comparison import compare, distinct_labels
from evalkit.analysis.published import PublishedRow
from evalkit.metrics import Metric
from evalkit.runs.checks import Flag
from evalkit.runs.run import Run, RunSummary
from evalkit.runs.signature import differences
from evalkit.schema import Json
from evalkit.statistics.intervals import Interval


@dataclass(frozen=True)
class Entry:
    """One run in a board.

    label   its model's, with as much of the folder's name as tells it from others of this label
    best    metrics in which it is significantly better than every other run that is not disqualified
    """

    label: str
    run: RunSummary
    best: frozenset[str] = frozenset()

    @property
    def values(self) -> Mapping[str, Interval]:
        """Metrics with intervals."""
        return self.run.values

    @property
    def flags(self) -> Sequence[Flag]:
        """Warnings of the run's checks."""
        return self.run.flags

    @property
    def groups(self) -> Mapping[str, Mapping[str, Json]]:
        """Group name -> value -> {"n", "metrics"}, as in metrics.json."""
        return self.run.groups

    @property
    def disqualified(self) -> bool:
        """Whether a flag keeps the run below the others."""
        return self.run.disqualified


ABLATION = "image_ablation"
UNSEEN = {"none": "no image", "swapped": "swapped images", "noise": "noise for images"}
BLIND_FIELDS = frozenset({ABLATION, "images"})  # in which a blind run differs from one that sees


@dataclass(frozen=True)
class Board:
    """Runs of one protocol, the best first by the headline metric, and what they are to be seen beside.

    blind  runs of the same protocol in which the model does not see the image; they are not ranked
    """

    benchmark: str
    signature: str
    metrics: Sequence[Metric]
    entries: Sequence[Entry]
    published: Sequence[PublishedRow] = ()
    blind: Sequence[Entry] = ()

    @property
    def runs(self) -> list[RunSummary]:
        """The runs, in order."""
        return [entry.run for entry in self.entries]

    @property
    def baselines(self) -> dict[str, Mapping[str, Json]]:
        """What constant answers reach: name -> metric -> value, of the first run that stored them."""
        for run in self.runs:
            stored = run.results.get("baselines")
            if isinstance(stored, dict) and all(isinstance(row, dict) for row in stored.values()):
                return {str(name): row for name, row in stored.items()}
        return {}


def boards(runs: Sequence[RunSummary], published: Sequence[PublishedRow] = (), mark_best: bool = True) -> list[Board]:
    """One board for each protocol among the runs: what was not measured alike never shares a table.

    Runs in which the model did not see the image stand below those that do and are otherwise alike, as baselines do.

    Args:
        published: rows of any benchmarks; each board takes its own.
        mark_best: find out which differences are significant, among runs that are read with their records (costs a
            paired comparison for every two).
    """
    protocols = _alike(runs)
    seeing = [alike for alike in protocols if ablation(alike[0]) is None]
    below: dict[int, list[RunSummary]] = {}
    alone = []
    for unseen in (alike for alike in protocols if ablation(alike[0]) is not None):
        hosts = (place for place, alike in enumerate(seeing) if _differ_in_sight(alike[0], unseen[0]))
        host = next(hosts, None)
        if host is None:
            alone.append(unseen)
        else:
            below.setdefault(host, []).extend(unseen)
    shown = [_board(alike, published, mark_best, below.get(place, ())) for place, alike in enumerate(seeing)]
    shown += [_board(alike, published, mark_best) for alike in alone]
    return sorted(shown, key=lambda board: board.benchmark)


def ablation(run: RunSummary) -> str | None:
    """What the model saw instead of the image, in words; None for an ordinary run."""
    kind = run.signature.protocol.get(ABLATION)
    return None if kind is None else UNSEEN.get(kind, kind)


def _differ_in_sight(first: RunSummary, second: RunSummary) -> bool:
    """Whether two runs differ in nothing but in what was shown."""
    fields = {difference.field for difference in differences(first.signature, second.signature)}
    return first.benchmark == second.benchmark and fields <= BLIND_FIELDS


def _alike(runs: Sequence[RunSummary]) -> list[list[RunSummary]]:
    """Runs by protocol, those of one benchmark beside each other, the protocol with the most runs first."""
    by_text: dict[str, list[RunSummary]] = {}
    for run in runs:
        by_text.setdefault(run.signature.short(), []).append(run)
    protocols: list[list[list[RunSummary]]] = []
    for group in by_text.values():  # signatures may differ in what is unknown to one of them
        for protocol in protocols:
            if not any(differences(other[0].signature, group[0].signature) for other in protocol):
                protocol.append(group)
                break
        else:
            protocols.append([group])
    together = [[run for group in protocol for run in group] for protocol in protocols]
    return sorted(together, key=lambda alike: (alike[0].benchmark, -len(alike)))


def _board(
    runs: Sequence[RunSummary],
    published: Sequence[PublishedRow],
    mark_best: bool,
    blind: Sequence[RunSummary] = (),
) -> Board:
    entries = [Entry(label, run) for label, run in zip(distinct_labels(runs), runs, strict=True)]
    by_label = {entry.label: entry for entry in entries}
    headline = runs[0].metrics[0]
    order = ranked(
        list(by_label),
        {entry.label: entry.values.get(headline.name, Interval(None)).value for entry in entries},
        headline,
        {entry.label: entry.disqualified for entry in entries},
    )
    best = _best(entries) if mark_best else {}
    placed = [replace(by_label[label], best=frozenset(best.get(label, ()))) for label in order]
    own = [row for row in published if row.benchmark == runs[0].benchmark]
    below = [Entry(label, run) for label, run in zip(distinct_labels(blind), blind, strict=True)]
    return Board(runs[0].benchmark, str(runs[0].signature), runs[0].metrics, placed, own, below)


def _best(entries: Sequence[Entry]) -> dict[str, set[str]]:
    """Label -> metrics in which it significantly beats every other run that is not disqualified."""
    sound = {
        entry.label: entry.run
        for entry in entries
        if isinstance(entry.run, Run) and not entry.disqualified and entry.run.scored
    }
    if len(sound) < 2:
        return {}
    names = list(sound)
    relabelled = [
        Run({**run.manifest, "label": name}, run.rows) for name, run in sound.items()
    ]  # so that pairs carry the labels of the board
    wins: dict[str, dict[str, int]] = {name: {} for name in names}
    for pair in compare(*relabelled, against="all", force=True, groups=False).pairs:
        for effect in pair.effects:
            verdict = effect.verdict()
            if verdict in ("better", "worse"):
                winner = wins[pair.other if verdict == "better" else pair.base]
                winner[effect.metric.name] = winner.get(effect.metric.name, 0) + 1
    return {name: {metric for metric, count in won.items() if count == len(names) - 1} for name, won in wins.items()}


def ranked(
    names: Sequence[str], values: Mapping[str, float | None], metric: Metric, bad: Mapping[str, bool]
) -> list[str]:
    """Names from best to worst on a metric: disqualified ones after all others, undefined values last of each part."""
    sign = -1.0 if metric.higher_is_better else 1.0

    def place(name: str) -> tuple[Any, ...]:
        value = values[name]
        return bad.get(name, False), value is None, sign * (value or 0.0)

    return sorted(names, key=place)
